"""The chart, and what Helm makes of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.helm.manifests import Manifests
from tests.support.helm import Chart
from tests.support.processes import ROOT

Render = Callable[..., Manifests]

# The alert rules and the dashboards are links to files that another branch brings. Once they are there, `_stand_in` goes, and
# `chart` is ROOT / "deploy/helm/gateway" itself.
_STAND_INS = {
    "prometheus/alerts.yml": 'groups:\n  - name: gateway\n    rules:\n      - alert: Gone\n        expr: up == 0\n        annotations: {summary: "{{ $labels.instance }} is gone"}\n',  # noqa: E501 — a file's text
    "grafana/dashboards/stand-in.json": '{"title": "Gateway", "panels": [{"legendFormat": "{{model}}"}]}\n',
}


def _stand_in(deploy: Path) -> None:
    for name, text in _STAND_INS.items():
        file = deploy / name
        if not list(file.parent.glob(f"*{file.suffix}")):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    folder = tmp_path_factory.mktemp("chart") / "deploy"
    shutil.copytree(ROOT / "deploy", folder, symlinks=True)
    _stand_in(folder)
    return Chart(folder / "helm" / "gateway")


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
