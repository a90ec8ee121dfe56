"""docs/security.md names tests that there are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))


def rows() -> list[list[str]]:
    """The cells of every row of the document's tables."""
    found = [line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found if row[0].strip() != "Threat"]


@pytest.mark.parametrize(("module", "test"), NAMED)
def test_a_named_test_exists(module: str, test: str) -> None:
    """Every test that shows a protection is one that runs under this very name."""
    tree = ast.parse((ROOT / "tests" / module).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert test in functions


def test_every_threat_has_a_test() -> None:
    """No protection is claimed without a test; whatever looks like the name of one is one."""
    assert len(rows()) > 30
    assert [row[0] for row in rows() if len(row) != 3 or not re.fullmatch(r"(`[\w/]+\.py::test_\w+`(, )?)+", row[2])] == []
    assert TEXT.count("::") == len(re.findall(r"`[\w/]+\.py::\w+`", TEXT))


@pytest.mark.parametrize(
    "threat",
    [
        "csrf",
        "cookie",
        "clickjacking",
        "session fixation",
        "open redirect",
        "who has an account",
        "mass assignment",
        "stored and reflected xss",
        "csv injection",
        "guessing passwords",
        "one-time links",
        "last operator",
    ],
)
def test_the_document_speaks_of_it(threat: str) -> None:
    """What one would ask about is there."""
    assert threat in TEXT.lower()
