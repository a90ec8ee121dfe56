"""The dashboard, held against a real Prometheus that scrapes a gateway under load."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from loadtests.trouble import Phases, trouble
from tests.support.dashboards import Panel, dashboards, panels
from tests.support.processes import ROOT
from tests.support.prometheus import PrometheusServer

_ALL = [(name, panel) for name, dashboard in dashboards().items() for panel in panels(dashboard)]
_RATES = "20s"
_RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
_BRIEFLY = Phases(calm=4, refused=4, redis_away=6, slow=4)
# What shows something only while something is wrong that this run does not do.
_NOTHING_WRONG = {"Errors of upstreams"}


@pytest.mark.parametrize(("name", "dashboard"), dashboards().items(), ids=list(dashboards()))
def test_a_dashboard_is_one_that_grafana_takes_from_a_file(name: str, dashboard: dict[str, Any]) -> None:
    """It has an identity, panels with identities of their own that do not overlap, and a choice of the data source."""
    assert dashboard["uid"]
    assert dashboard["title"]
    assert "id" not in dashboard, f"{name}: an id of one Grafana's database means nothing to another"
    assert dashboard["templating"]["list"][0]["name"] == "datasource"
    ids = [each["id"] for each in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for each in dashboard["panels"]:
        place = each["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, each["title"]
        taken |= cells


@pytest.mark.parametrize(("name", "panel"), _ALL, ids=[panel.title for _, panel in _ALL])
def test_a_panel_says_what_it_shows(name: str, panel: Panel) -> None:
    """A title that is there once, a unit, a query with a legend, and the choice of gateways in each query."""
    assert [other.title for where, other in _ALL if where == name].count(panel.title) == 1
    assert panel.unit
    assert panel.queries
    for query in panel.queries:
        assert query.legend
        assert "$job" in query.expression
        assert "$instance" in query.expression


def _expressions() -> Iterator[tuple[str, str]]:
    for _, panel in _ALL:
        for query in panel.queries:
            yield panel.title, query.ready(_RATES)


async def test_each_panel_shows_a_gateway_under_load() -> None:
    """A real Prometheus scrapes a gateway that is refused calls, loses Redis and has a slow upstream: each query has data."""
    async with trouble() as ran:
        place = f"127.0.0.1:{ran.gateway.port}"
        with PrometheusServer({"gateway": [place]}, rules=[_RULES]) as prometheus:
            await ran.run(_BRIEFLY)
            assert [target["health"] for target in prometheus.targets()] == ["up"]
            begun = ran.begun
            found = {
                (title, expression): await asyncio.to_thread(prometheus.over, expression, begun, begun + 60)
                for title, expression in _expressions()
            }
    empty = {title for (title, _), series in found.items() if not any(_is_number(points) for _, points in series)}
    assert empty <= _NOTHING_WRONG
    refused = next(series for (title, _), series in found.items() if title == "Refused for a limit")
    assert {(labels["level"], labels["kind"]) for labels, _ in refused} >= {("workspace", "requests")}


def _is_number(points: list[tuple[float, float]]) -> bool:
    return any(value == value for _, value in points)  # noqa: PLR0124 — a NaN is not itself


def test_no_panel_asks_for_a_metric_that_does_not_exist() -> None:
    """What panels ask for is documented, and so, by another test, exists."""
    documented = set(re.findall(r"`((?:gateway|gen_ai|process)_\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    asked = {found for _, text in _expressions() for found in re.findall(r"\b((?:gateway|gen_ai|process)_\w+)(?=[{\[])", text)}
    assert asked
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} <= documented
