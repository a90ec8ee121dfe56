"""The table of values in docs/deploy/kubernetes.md, made from values.yaml and its comments.

    python -m tests.deploy.helm.values_docs

writes it into the file anew; a test compares them.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.processes import ROOT

VALUES = ROOT / "deploy" / "helm" / "gateway" / "values.yaml"
DOCS = ROOT / "docs" / "deploy" / "kubernetes.md"
HEAD = "| Value | Default | What it is |\n|---|---|---|\n"
_LINE = re.compile(r"( *)(?:# ?(.*)|(\w+):.*)")

Path = tuple[str, ...]


def comments(text: str) -> dict[Path, str]:
    """The comment right above each key that has one; keys within lists are none."""
    found: dict[Path, str] = {}
    above: list[str] = []
    place: list[tuple[int, str]] = []
    for line in text.splitlines():
        matched = _LINE.fullmatch(line)
        if matched is None:
            above = []
        elif matched[3] is None:
            above.append(matched[2])
        else:
            place = [(depth, key) for depth, key in place if depth < len(matched[1])] + [(len(matched[1]), matched[3])]
            if above:
                found[tuple(key for _, key in place)] = " ".join(above)
            above = []
    return found


def leaves(values: Any, known: dict[Path, str], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The values that stand for themselves: what is no mapping, is empty, or has a comment and none below it."""
    below = any(other[: len(path)] == path and len(other) > len(path) for other in known)
    if isinstance(values, dict) and values and (below or not path):
        for key, value in values.items():
            yield from leaves(value, known, (*path, key))
    else:
        yield path, values


def rows() -> list[str]:
    """A row of the table for each value, in the order of the file. Raises KeyError for a value without a comment."""
    text = VALUES.read_text(encoding="utf-8")
    known = comments(text)
    return [
        f"| `{'.'.join(path)}` | `{json.dumps(value, ensure_ascii=False)}` | {known[path]} |"
        for path, value in leaves(yaml.safe_load(text), known)
    ]


def main() -> None:
    before, _, _ = DOCS.read_text(encoding="utf-8").partition(HEAD)
    DOCS.write_text(before + HEAD + "\n".join(rows()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
