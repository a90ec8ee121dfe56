"""The documentation names what the code can do: no error, and no metric, goes without an entry."""

import re
from pathlib import Path

import pytest

from gateway.control.problems import Problem
from gateway.domain import errors
from gateway.domain.errors import Refusal
from gateway.ops.metrics import Metrics

DOCS = Path(__file__).parent.parent / "docs"

# Refusals whose text holds what the client sent, with the placeholder that the table shows.
PLACED: dict[type[Refusal], Refusal] = {
    errors.ModelNotFound: errors.ModelNotFound("X"),
    errors.ModelNotSupported: errors.ModelNotSupported("X"),
    errors.NotFound: errors.NotFound("X", "X"),
    errors.MethodNotAllowed: errors.MethodNotAllowed("X", "X"),
}


def rows(title: str) -> list[list[str]]:
    """The cells of each table row in the section of docs/errors.md that is called `title`."""
    section = (DOCS / "errors.md").read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found[2:]]


def every_problem(kind: type[Problem] = Problem) -> list[type[Problem]]:
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in every_problem(below))]


@pytest.mark.parametrize("kind", errors.all_refusals(), ids=lambda kind: kind.__name__)
def test_each_refusal_is_documented(kind: type[Refusal]) -> None:
    """Whoever meets a refusal finds its status, code, type and text in docs/errors.md, with a cause and a remedy."""
    refusal = PLACED.get(kind) or kind()
    code = f"`{refusal.code or 'null'}`"
    type_ = "as code" if refusal.type == refusal.code else f"`{refusal.type}`"
    matching = [row for row in rows("On the data plane") if row[:4] == [str(refusal.status), code, type_, refusal.message]]
    assert len(matching) == 1
    assert all(len(cell) > 10 and cell.endswith(".") for cell in matching[0][4:])


def test_no_refusal_is_documented_that_is_not() -> None:
    """The table of the data plane has no row for a refusal that the code does not know."""
    assert len(rows("On the data plane")) == len(errors.all_refusals())


def test_each_problem_of_the_admin_api_is_documented() -> None:
    """Each status and code of the admin API stands in docs/errors.md, and none else."""
    documented = [(row[0], row[1]) for row in rows("On the admin API")]
    assert sorted(documented) == sorted({(str(kind.status), f"`{kind.code}`") for kind in every_problem()})


def test_each_metric_is_documented() -> None:
    """Whoever sees a metric of the gateway at /metrics finds its full name in docs/metrics.md."""
    names = re.findall(r"^# HELP (\S+)", Metrics().render().decode(), re.MULTILINE)
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert names
    assert [name for name in names if f"`{name}`" not in text] == []
