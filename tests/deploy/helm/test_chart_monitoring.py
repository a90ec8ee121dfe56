"""What the chart brings for Prometheus and Grafana is what deploy/ has, and Prometheus may read the metrics."""

import os
from pathlib import Path

import pytest
import yaml

from tests.deploy.helm.conftest import Render
from tests.deploy.helm.manifests import Manifests
from tests.deploy.helm.value_sets import EVERYTHING, MINIMAL, SEVERAL_SECRETS, Values
from tests.support.helm import Chart
from tests.support.processes import ROOT

FILES = ROOT / "deploy" / "helm" / "gateway" / "files"
MONITORED: Values = {**SEVERAL_SECRETS, "serviceMonitor": {"enabled": True}}


def endpoint(manifests: Manifests) -> dict[str, object]:
    (found,) = manifests.one("ServiceMonitor")["spec"]["endpoints"]
    return dict(found)


def test_off_unless_wanted(render: Render) -> None:
    """A cluster without the operator, or without Grafana's side-car, gets none of it."""
    assert {each["kind"] for each in render(MINIMAL).every}.isdisjoint({"ServiceMonitor", "PrometheusRule"})
    assert len(render(MINIMAL).of_kind("ConfigMap")) == 1


def test_the_monitor_reads_the_service(render: Render) -> None:
    """Prometheus reads `/metrics` of every pod behind the service's port, with the token that the gateway was given."""
    for values in (MONITORED, EVERYTHING):
        manifests = render(values)
        found = endpoint(manifests)
        assert found["path"] == "/metrics"
        assert found["port"] in {port["name"] for port in manifests.one("Service")["spec"]["ports"]}
        secret, key = manifests.secrets()["GATEWAY_METRICS_TOKEN"]
        assert found["authorization"] == {"type": "Bearer", "credentials": {"name": secret, "key": key}}
    assert render(EVERYTHING).one("ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"


def test_the_job_is_called_gateway(render: Render) -> None:
    """`job` is "gateway" in every release, so that rules and dashboards fit."""
    manifests = render(MONITORED)
    label = manifests.one("ServiceMonitor")["spec"]["jobLabel"]
    assert manifests.one("Service")["metadata"]["labels"][label] == "gateway"


def test_networks_may_stand_in_for_the_token(render: Render) -> None:
    """Without a token the monitor is there where the gateway lets networks read its metrics, and sends none."""
    values = {**MINIMAL, "config": {"metrics": {"allow_networks": "10.0.0.0/8"}}, "serviceMonitor": {"enabled": True}}
    assert "authorization" not in endpoint(render(values))
    assert render(values).config["metrics"] == {"allow_networks": "10.0.0.0/8"}


@pytest.mark.parametrize(("link", "target"), [("alerts.yml", "prometheus/alerts.yml"), ("dashboards", "grafana/dashboards")])
def test_there_is_no_second_copy(link: str, target: str) -> None:
    """The chart's rules and dashboards are links into deploy/, relative ones, so that they cannot differ from what is there."""
    assert (FILES / link).is_symlink()
    named = Path(os.path.normpath(FILES / (FILES / link).readlink()))
    assert not (FILES / link).readlink().is_absolute()
    assert named == ROOT / "deploy" / target


def test_the_rules_are_those_of_deploy(render: Render, chart: Chart) -> None:
    """The alert rules reach the cluster as they stand in deploy/prometheus, templates in their texts included."""
    rule = render(EVERYTHING).one("PrometheusRule")
    file = chart.folder.parents[1] / "prometheus" / "alerts.yml"
    assert rule["spec"] == yaml.safe_load(file.read_text(encoding="utf-8"))
    assert rule["spec"]["groups"]
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_the_dashboards_are_those_of_deploy(render: Render, chart: Chart) -> None:
    """Each dashboard of deploy/grafana has a ConfigMap of its own with the file as it is, labelled for Grafana's side-car."""
    files = sorted((chart.folder.parents[1] / "grafana" / "dashboards").glob("*.json"))
    found = [each for each in render(EVERYTHING).of_kind("ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]]
    assert files
    assert len(found) == len(files)
    texts = {name: text for each in found for name, text in each["data"].items()}
    assert {name: text.rstrip("\n") for name, text in texts.items()} == {
        file.name: file.read_text(encoding="utf-8").rstrip("\n") for file in files
    }
    for each in found:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {"grafana_folder": "LLM"}
        assert sum(map(len, each["data"].values())) < 1_000_000  # what a ConfigMap holds
