"""The chart, and what Helm makes of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.helm.manifests import Manifests
from tests.support.helm import Chart
from tests.support.processes import ROOT

Render = Callable[..., Manifests]


@pytest.fixture(scope="session")
def chart() -> Chart:
    return Chart(ROOT / "deploy" / "helm" / "gateway")


@pytest.fixture(scope="session")
def render(chart: Chart) -> Render:
    """Manifests by values; those of the same values are rendered once."""
    known: dict[str, Manifests] = {}

    def rendered(values: dict[str, Any], *options: str) -> Manifests:
        key = json.dumps([values, options])
        if key not in known:
            known[key] = Manifests(chart.render(values, *options))
        return known[key]

    return rendered
