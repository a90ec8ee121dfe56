"""Grafana's dashboards as the tests and the pictures read them: panels, and their queries as Prometheus takes them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.processes import ROOT

FOLDER = ROOT / "deploy" / "grafana" / "dashboards"
_VARIABLE = re.compile(r"\$\{?(\w+)(?::\w+)?\}?")


@dataclass(frozen=True)
class Query:
    """An expression, and how its series are called: `{{label}}` stands for a label's value."""

    expression: str
    legend: str

    def ready(self, interval: str) -> str:
        """As Grafana sends it: each variable at "all", rates over `interval`."""
        built_in = {"__rate_interval": interval, "__interval": interval, "__range": interval}
        return _VARIABLE.sub(lambda found: built_in.get(found[1], ".*"), self.expression)

    def called(self, labels: dict[str, str]) -> str:
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), self.legend)


@dataclass(frozen=True)
class Panel:
    title: str
    description: str
    kind: str
    unit: str
    row: str
    queries: tuple[Query, ...]


def dashboards() -> dict[str, dict[str, Any]]:
    """All of them, by file name."""
    return {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> Iterator[Panel]:
    """What shows something, in order; `row` is the heading above."""
    row = ""
    for each in dashboard["panels"]:
        if each["type"] == "row":
            row = each["title"]
            continue
        queries = tuple(Query(target["expr"], target.get("legendFormat", "")) for target in each.get("targets", ()))
        unit = each.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
        yield Panel(each["title"], each.get("description", ""), each["type"], unit, row, queries)
