"""The text that a scrape is answered with: Prometheus's text format, version 0.0.4.

Written here since Prometheus's client takes several times as long for the same text.
"""

import math
from collections.abc import Iterator

from gateway.ops.snapshots import Family, Labels, Snapshot, shown

_IN_LABELS = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


def rendered(snapshot: Snapshot) -> bytes:
    """All families, each with its help, its type and its samples."""
    return "".join([part for family in snapshot for part in _lines(family)]).encode()


def _lines(family: Family) -> Iterator[str]:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    yield f"# HELP {name} {family.text.translate(_IN_HELP)}\n# TYPE {name} {family.kind}\n"
    for sample, labels, value in shown(family):
        inner = _inner(labels)
        yield f"{sample}{{{inner}}} {_number(value)}\n" if inner else f"{sample} {_number(value)}\n"
    for labels, counts, total in family.rows:
        inner = _inner(labels)
        before, behind = (f"{inner},", f"{{{inner}}}") if inner else ("", "")
        so_far = 0
        for bound, count in zip((*family.bounds, math.inf), counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{{before}le="{_number(bound)}"}} {so_far}.0\n'
        yield f"{name}_sum{behind} {_number(total)}\n{name}_count{behind} {so_far}.0\n"


def _inner(labels: Labels) -> str:
    return ",".join([f'{name}="{value.translate(_IN_LABELS)}"' for name, value in labels])


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return "NaN" if value != value else repr(float(value))  # noqa: PLR0124 — how a NaN is known
