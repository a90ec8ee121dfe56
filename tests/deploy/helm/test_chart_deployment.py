"""The pods that take calls: how they are found, started, asked, spread, replaced and ended."""

import shlex
import tomllib
from typing import Any

import click
import pytest

from gateway.cli import main
from gateway.config import Settings
from gateway.control.health import Access, health_routes
from tests.deploy.helm.conftest import Render
from tests.deploy.helm.manifests import selects
from tests.deploy.helm.value_sets import AUTOSCALED, CUSTOM_METRIC, EVERYTHING, INGRESS, MINIMAL, ONE_POD, SETS, Values
from tests.support.processes import ROOT

EVERY_SET = pytest.mark.parametrize("values", SETS.values(), ids=SETS)
MIB = 1 << 20


def memory(text: str) -> int:
    """A quantity of memory in bytes."""
    return int(text[:-2]) * {"Mi": MIB, "Gi": MIB << 10}[text[-2:]]


@EVERY_SET
def test_selectors_find_the_gateways_pods_alone(render: Render, values: Values) -> None:
    """Deployment, service, disruption budget, spread and monitor find the pods that take calls, and no pod of a hook."""
    manifests = render(values)
    selectors = [manifests.one("Deployment")["spec"]["selector"]["matchLabels"], manifests.one("Service")["spec"]["selector"]]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in manifests.of_kind("PodDisruptionBudget")]
    spread = manifests.pod()["spec"].get("topologySpreadConstraints", [])
    selectors += [each["labelSelector"]["matchLabels"] for each in spread]
    for component, pod in manifests.pods():
        labels = pod["metadata"]["labels"]
        assert [selects(selector, labels) for selector in selectors] == [component == "gateway"] * len(selectors)
    for monitor in manifests.of_kind("ServiceMonitor"):
        assert selects(monitor["spec"]["selector"]["matchLabels"], manifests.one("Service")["metadata"]["labels"])


@EVERY_SET
def test_ports_agree(render: Render, values: Values) -> None:
    """The service leads to the container's port, which is the one that the gateway is told to listen on, on all addresses."""
    manifests = render(values)
    (port,) = manifests.container()["ports"]
    (service,) = manifests.one("Service")["spec"]["ports"]
    server = manifests.config["server"]
    assert service["targetPort"] == port["name"]
    assert port["containerPort"] == server["port"]
    assert server["host"] == manifests.env()["GATEWAY_HOST"]
    assert server["host"] in {"0.0.0.0", "::"}


@EVERY_SET
def test_probes_ask_for_what_there_is(render: Render, values: Values) -> None:
    """Each probe asks, on the container's port, for a path that the gateway serves: whether it is alive, or takes calls."""

    async def fine() -> list[str]:
        return []

    served = {route.path for route in health_routes(problems=fine, metrics=bytes, access=Access(()))}  # type: ignore[attr-defined]
    container = render(values).container()
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in asked.values()} == {container["ports"][0]["name"]}
    assert {probe["path"] for probe in asked.values()} <= served
    assert [asked[name]["path"] for name in ("startup", "liveness", "readiness")] == ["/livez", "/livez", "/readyz"]


@EVERY_SET
def test_commands_are_the_gateways(render: Render, values: Values) -> None:
    """What the pods run is the program that the wheel brings, with commands and options that it has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ran = []
    for component, pod in render(values).pods():
        (container,) = pod["spec"]["containers"]
        if component == "test":
            continue
        assert container["command"] == ["gateway"] == list(project["scripts"])
        name, *options = container["args"]
        command = main.get_command(click.Context(main), name)
        assert command is not None
        command.make_context(name, list(options))  # raises on an option that there is not
        ran.append(shlex.join([name, *options]))
    assert ran[0] == "serve --json"  # `--json`: no first key and no greeting in a log that others collect
    assert ran[1:] == ([] if values is ONE_POD else ["migrate"])


@EVERY_SET
def test_pods_have_time_to_end(render: Render, values: Values) -> None:
    """A pod is killed no sooner than its wait, the gateway's own times and the 15 seconds that it needs to settle have passed."""
    manifests = render(values)
    server = Settings.model_validate({"server": manifests.config["server"]}).server
    slept = manifests.container().get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = slept + server.drain_seconds + server.graceful_timeout_seconds + 15
    given = manifests.pod()["spec"]["terminationGracePeriodSeconds"]
    assert needed <= given
    if values is not ONE_POD:  # which names a number of its own
        assert given < needed + 1
        assert slept > 0


def test_an_upgrade_takes_no_pod_away_first(render: Render) -> None:
    """New pods are ready before old ones end, in every upgrade."""
    for values in SETS.values():
        strategy = render(values).one("Deployment")["spec"]["strategy"]
        assert strategy["type"] == "RollingUpdate"
        assert strategy["rollingUpdate"]["maxUnavailable"] == 0
        assert strategy["rollingUpdate"]["maxSurge"] not in {0, "0%"}


@EVERY_SET
def test_pods_may_do_nothing_but_run(render: Render, values: Values) -> None:
    """Every pod, hooks' as well, has no root, no rights, no writable image, no token of Kubernetes, no variables of services."""
    for _, pod in render(values).pods():
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert all(each.get("automountServiceAccountToken") is False for each in render(values).of_kind("ServiceAccount"))


@EVERY_SET
def test_what_is_written_has_a_place(render: Render, values: Values) -> None:
    """The data folder, which the gateway makes itself, and the folder for temporary files lie in volumes that can be written."""
    manifests = render(values)
    container, volumes = manifests.container(), {each["name"]: each for each in manifests.pod()["spec"]["volumes"]}
    mounts = {each["mountPath"]: volumes[each["name"]] for each in container["volumeMounts"]}
    assert "emptyDir" in mounts["/tmp"]
    data = manifests.env()["GATEWAY_DATA_DIR"]
    assert "emptyDir" in mounts[data.rpartition("/")[0]]
    config = manifests.env()["GATEWAY_CONFIG"]
    folder, _, file = config.rpartition("/")
    name = mounts[folder]["configMap"]["name"]
    assert any(each["metadata"]["name"] == name and file in each["data"] for each in manifests.of_kind("ConfigMap"))


@EVERY_SET
def test_memory_is_enough(render: Render, values: Values) -> None:
    """The memory limit holds, for each worker, all bodies that it may hold and what it was measured to need besides (309 MiB)."""
    manifests = render(values)
    server = Settings.model_validate({"server": manifests.config["server"]}).server
    needed = server.workers * (server.max_body_bytes_total + 309 * MIB)
    assert memory(manifests.container()["resources"]["limits"]["memory"]) >= needed


def test_the_number_of_pods_has_one_owner(render: Render) -> None:
    """With an autoscaler the deployment names no number of pods, which every upgrade would set back; without one it does."""
    fixed = render(MINIMAL)
    assert fixed.one("Deployment")["spec"]["replicas"] == 2
    assert fixed.of_kind("HorizontalPodAutoscaler") == []
    for values in (AUTOSCALED, CUSTOM_METRIC, EVERYTHING):
        scaled = render(values)
        assert "replicas" not in scaled.one("Deployment")["spec"]
        target = scaled.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        deployment = scaled.one("Deployment")
        assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}


def metrics_of(render: Render, values: Values) -> dict[str, Any]:
    found = render(values).one("HorizontalPodAutoscaler")["spec"]["metrics"]
    return {each.get("resource", {}).get("name") or each["pods"]["metric"]["name"]: each for each in found}


def test_what_the_autoscaler_goes_by(render: Render) -> None:
    """The CPU, a metric that the gateway has, or both; the CPU only where pods ask for some."""
    documented = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert list(metrics_of(render, AUTOSCALED)) == ["cpu"]
    assert "cpu" in render(AUTOSCALED).container()["resources"]["requests"]
    assert list(metrics_of(render, CUSTOM_METRIC)) == ["gateway_open_calls"]
    both = metrics_of(render, EVERYTHING)
    assert list(both) == ["cpu", "gateway_open_streams"]
    assert both["gateway_open_streams"]["pods"]["target"] == {"type": "AverageValue", "averageValue": "1500"}
    assert all(f"| `{name}` | gauge |" in documented for name in ("gateway_open_calls", "gateway_open_streams"))


def test_one_pod_at_a_time_is_taken_from_a_drained_node(render: Render) -> None:
    """The disruption budget lets one pod go, whatever their number, so that neither service nor drain is stuck."""
    spec = render(MINIMAL).one("PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert "minAvailable" not in spec
    assert render(EVERYTHING).one("PodDisruptionBudget")["spec"]["maxUnavailable"] == "20%"
    assert render(ONE_POD).of_kind("PodDisruptionBudget") == []


def test_pods_are_spread(render: Render) -> None:
    """Pods of one release of the program are evened out over nodes and over zones."""
    spread = render(MINIMAL).pod()["spec"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert {each["whenUnsatisfiable"] for each in spread} == {"ScheduleAnyway"}
    assert all(each["matchLabelKeys"] == ["pod-template-hash"] for each in spread)


def test_pods_are_replaced_when_settings_change(render: Render) -> None:
    """Another setting is another pod, since the file is read at the start; other values leave the pods as they are."""

    def checksum(values: Values) -> str:
        return str(render(values).pod()["metadata"]["annotations"]["checksum/config"])

    changed = {**MINIMAL, "config": {"limits": {"default_rpm": 10}}}
    upstreams = {**MINIMAL, "upstreams": [{"name": "a", "baseUrl": "http://a/v1"}]}
    assert len({checksum(each) for each in (MINIMAL, changed, upstreams)}) == 3
    assert checksum(MINIMAL) == checksum(AUTOSCALED)


def test_the_image(render: Render) -> None:
    """The image is the chart's own version unless a tag or a digest says otherwise, in every pod."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    def images(values: Values) -> set[str]:
        return {pod["spec"]["containers"][0]["image"] for _, pod in render(values).pods()}

    assert images(MINIMAL) == {f"workspace-gateway:{version}"}
    assert images(EVERYTHING) == {"images.example.com/llm/gateway:0.1.0-custom"}
    assert images(ONE_POD) == {f"workspace-gateway@{ONE_POD['image']['digest']}"}


def test_where_pods_run(render: Render) -> None:
    """Nodes, taints, priority and the registry's secrets are those of every pod, further labels those of the gateway's."""
    for component, pod in render(EVERYTHING).pods():
        assert pod["spec"]["nodeSelector"] == EVERYTHING["nodeSelector"]
        assert pod["spec"]["tolerations"] == EVERYTHING["tolerations"]
        assert pod["spec"]["priorityClassName"] == "important"
        assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
        assert ("team" in pod["metadata"]["labels"]) == (component == "gateway")


def test_ingress_shows_what_is_for_the_outside(render: Render) -> None:
    """Each host leads to the service, by paths under which the gateway has something; its metrics and probes stay inside."""
    manifests = render(INGRESS)
    spec = manifests.one("Ingress")["spec"]
    assert [rule["host"] for rule in spec["rules"]] == INGRESS["ingress"]["hosts"]
    assert spec["tls"] == INGRESS["ingress"]["tls"]
    assert spec["ingressClassName"] == "nginx"
    service = manifests.one("Service")
    for rule in spec["rules"]:
        for path in rule["http"]["paths"]:
            assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}
            assert path["pathType"] == "Prefix"
        paths = [path["path"] for path in rule["http"]["paths"]]
        assert "/compatible-mode" in paths
        assert not any(inner.startswith(tuple(paths)) for inner in ("/metrics", "/livez", "/readyz"))
    anywhere = render({**MINIMAL, "ingress": {"enabled": True}}).one("Ingress")
    assert "host" not in anywhere["spec"]["rules"][0]
    assert "annotations" not in anywhere["metadata"]


def test_ingress_lets_streams_pass(render: Render) -> None:
    """The controller holds no event back, takes the bodies that the gateway takes, and waits longer than the gateway does."""
    found = render(INGRESS).one("Ingress")["metadata"]["annotations"]
    own = {name.removeprefix("nginx.ingress.kubernetes.io/"): value for name, value in found.items() if name.startswith("nginx.")}
    assert own == {
        "proxy-buffering": "off",
        "proxy-request-buffering": "off",
        "proxy-body-size": str(32 * MIB),
        "proxy-read-timeout": "310",
        "proxy-send-timeout": "310",
    }
    assert found["cert-manager.io/cluster-issuer"] == "letsencrypt"
    found = render(EVERYTHING).one("Ingress")["metadata"]["annotations"]
    assert found["nginx.org/proxy-buffering"] == "False"
    assert found["nginx.org/client-max-body-size"] == "1000000"
    assert found["nginx.org/proxy-read-timeout"] == "610s"


def test_ingress_annotations_can_be_ones_own(render: Render) -> None:
    """An annotation of one's own counts before the chart's of the same name."""
    values = {
        **MINIMAL,
        "ingress": {"enabled": True, "controller": "haproxy", "annotations": {"haproxy.org/timeout-server": "1h"}},
    }
    assert render(values).one("Ingress")["metadata"]["annotations"] == {"haproxy.org/timeout-server": "1h"}
    values["ingress"]["annotations"] = {}
    assert render(values).one("Ingress")["metadata"]["annotations"] == {"haproxy.org/timeout-server": "310s"}
