"""What Helm makes of the chart is what Kubernetes takes."""

import copy
import tarfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.helm.conftest import Render
from tests.deploy.helm.value_sets import EVERYTHING, MINIMAL, SETS, Values
from tests.support.helm import Chart, Refused

OLDEST, NEWEST = "1.30", "1.37"

# The kinds of the Prometheus operator have no schema here, so what the chart says in them is spelt out.
OPERATOR_KEYS: dict[str, Any] = {
    "ServiceMonitor": {
        "jobLabel": str,
        "selector": {"matchLabels": dict},
        "endpoints": [
            {
                "port": str,
                "path": str,
                "interval": str,
                "scrapeTimeout": str,
                "authorization": {"type": str, "credentials": {"name": str, "key": str}},
            }
        ],
    },
    "PrometheusRule": {"groups": list},
}


def misfits(value: Any, expected: Any, place: str = "spec") -> list[str]:
    """Where a value has a key that is not expected, or something of another type."""
    if isinstance(expected, type):
        return [] if isinstance(value, expected) else [place]
    if isinstance(expected, list):
        return [bad for each in value for bad in misfits(each, expected[0], place)] if isinstance(value, list) else [place]
    unknown = [f"{place}.{key}" for key in value if key not in expected]
    return unknown + [bad for key in value if key in expected for bad in misfits(value[key], expected[key], f"{place}.{key}")]


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_lint(chart: Chart, values: Values) -> None:
    """Helm's own linter finds no fault and no warning, whatever is switched on."""
    assert "1 chart(s) linted, 0 chart(s) failed" in chart.run("lint", "--strict", values=values)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_kubernetes_takes_every_manifest(render: Render, values: Values, version: str) -> None:
    """Each manifest fits the strict schema of Kubernetes, of the oldest version that the chart allows and of the newest known."""
    manifests = render(values, "--kube-version", version).every
    for each in manifests:
        if each["kind"] in OPERATOR_KEYS:
            assert each["apiVersion"] == "monitoring.coreos.com/v1"
            assert misfits(each["spec"], OPERATOR_KEYS[each["kind"]]) == []
        else:
            assert kubernetes_validate.validate(each, version, strict=True) == version
    assert {"Deployment", "Service", "ConfigMap"} <= {each["kind"] for each in manifests}


def test_a_manifest_that_does_not_fit_is_noticed(render: Render) -> None:
    """The validation above refuses a misspelt key, deep down as well."""
    deployment = copy.deepcopy(render(MINIMAL).one("Deployment"))
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


def test_older_clusters_are_refused(chart: Chart) -> None:
    """A cluster that does not know a pod's `sleep` before its end is refused by Helm, with both versions."""
    with pytest.raises(Refused, match=r"requires kubeVersion: >=1\.30\.0-0 which is incompatible with Kubernetes v1\.29\.0"):
        chart.render(MINIMAL, "--kube-version", "1.29.0")


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_names_are_of_the_release(render: Render, values: Values) -> None:
    """No two manifests of a kind share a name, and each has its release's label: two releases fit into a namespace."""
    manifests = render(values).every
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(set(names)) == len(names)
    assert {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in manifests} == {"prod"}
    expected = values.get("fullnameOverride", "prod-gateway")
    assert [name for _, name in names if name != expected and not name.startswith(f"{expected}-")] == []


@pytest.mark.parametrize("name", ["gateway", "a" * 53], ids=["the chart's own name", "as long as Helm allows"])
def test_names_are_short_enough(chart: Chart, name: str) -> None:
    """A release may have the chart's own name, or one as long as Helm allows; no name or label is too long for Kubernetes."""
    manifests = Chart(chart.folder, name=name).render(EVERYTHING)
    assert all(len(each["metadata"]["name"]) <= 63 for each in manifests if each["kind"] != "ConfigMap")
    assert all(len(value) <= 63 for each in manifests for value in each["metadata"]["labels"].values())
    assert next(each["metadata"]["name"] for each in manifests if each["kind"] == "Service") == name[:52]


def test_the_package_is_whole(chart: Chart, tmp_path: Path) -> None:
    """`helm package` puts the rules and dashboards themselves into the archive, where the chart has links to them."""
    chart.run("package", "--destination", str(tmp_path))
    (package,) = tmp_path.glob("gateway-*.tgz")
    with tarfile.open(package) as archive:
        members = {member.name: member for member in archive.getmembers()}
    assert members["gateway/files/alerts.yml"].isfile()
    assert any(name.startswith("gateway/files/dashboards/") and member.isfile() for name, member in members.items())


def test_notes_say_what_is_missing(chart: Chart) -> None:
    """After an install Helm says how to go on, how many connections PostgreSQL needs, and what is not for production."""
    bare = chart.run(f"install {chart.name}", "--dry-run=client", values=MINIMAL).partition("NOTES:")[2]
    assert "PostgreSQL has to allow 20 connections" in bare
    assert "`upstreams` is empty" in bare
    whole = chart.run(f"install {chart.name}", "--dry-run=client", values=EVERYTHING).partition("NOTES:")[2]
    assert "PostgreSQL has to allow 100 connections" in whole
    assert "https://llm.example.com/compatible-mode/v1" in whole
    assert "NOTE:" not in whole
