"""The network policies let through what the pods need, and what is listed, and nothing else."""

from typing import Any

import pytest

from tests.deploy.helm.conftest import Render
from tests.deploy.helm.manifests import Manifests, selects
from tests.deploy.helm.value_sets import EVERYTHING, MINIMAL, SETS, Values

ON: Values = {**MINIMAL, "networkPolicy": {"enabled": True}}
UPSTREAM_PORTS = {
    "http://vllm:8000/v1": 8000,
    "http://plain.example/v1": 80,
    "https://hosted.example/v1": 443,
    "https://[2001:db8::1]/v1": 443,
    "https://[2001:db8::1]:9443/v1": 9443,
}
WITH_UPSTREAMS: Values = {
    **MINIMAL,
    "networkPolicy": {"enabled": True, "upstreams": {"ports": []}},
    "upstreams": [{"name": f"u{number}", "baseUrl": url} for number, url in enumerate(UPSTREAM_PORTS)],
}


def egress(manifests: Manifests, component: str = "gateway") -> dict[tuple[str, int], Any]:
    """The ports that a component's pods may reach, each with its peers; None is any peer."""
    rules = manifests.one("NetworkPolicy", component)["spec"]["egress"]
    return {(port["protocol"], port["port"]): rule.get("to") for rule in rules for port in rule["ports"]}


def test_there_is_none_unless_it_is_wanted(render: Render) -> None:
    """Nothing is restricted until that is asked for."""
    assert render(MINIMAL).of_kind("NetworkPolicy") == []


@pytest.mark.parametrize("values", [ON, WITH_UPSTREAMS, EVERYTHING], ids=["on", "upstreams", "everything"])
def test_each_policy_is_for_its_own_pods(render: Render, values: Values) -> None:
    """The gateway's pods, the migration's and the test's each have their policy, in both directions."""
    manifests = render(values)
    for component, pod in manifests.pods():
        fitting = [
            each
            for each in manifests.of_kind("NetworkPolicy")
            if selects(each["spec"]["podSelector"]["matchLabels"], pod["metadata"]["labels"])
        ]
        assert fitting == [manifests.one("NetworkPolicy", component)]
        assert fitting[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_the_gateway_reaches_what_it_needs(render: Render) -> None:
    """Names, PostgreSQL, Redis, and the usual port of model servers, since some are added later."""
    assert set(egress(render(ON))) == {("UDP", 53), ("TCP", 53), ("TCP", 5432), ("TCP", 6379), ("TCP", 443)}


@pytest.mark.parametrize(("url", "port"), UPSTREAM_PORTS.items())
def test_the_gateway_reaches_its_upstreams(render: Render, url: str, port: int) -> None:
    """The port of each upstream, told in its address or usual for its scheme, is open without being listed."""
    alone = {**WITH_UPSTREAMS, "upstreams": [{"name": "a", "baseUrl": url}]}
    assert {found for protocol, found in egress(render(alone)) if protocol == "TCP"} == {53, 5432, 6379, port}
    together = {found for protocol, found in egress(render(WITH_UPSTREAMS)) if protocol == "TCP"}
    assert together == {53, 5432, 6379, *UPSTREAM_PORTS.values()}


def test_peers_can_be_named(render: Render) -> None:
    """Where peers are named, a port leads to these alone."""
    found = egress(render(EVERYTHING))
    policy = EVERYTHING["networkPolicy"]
    assert found["UDP", 53] == found["TCP", 53] == policy["dns"]["to"]
    assert found["TCP", 5432] == found["TCP", 6432] == policy["postgresql"]["to"]
    assert found["TCP", 6379] == found["TCP", 26379] == policy["redis"]["to"]
    assert found["TCP", 8000] == found["TCP", 443] == found["TCP", 80] == found["TCP", 8443] == policy["upstreams"]["to"]
    assert ("TCP", 4317) in found


def test_the_migration_reaches_the_database_alone(render: Render) -> None:
    """The job may ask for names and reach PostgreSQL; nobody may reach it."""
    for values in (ON, EVERYTHING):
        every = egress(render(values))
        found = egress(render(values), "migration")
        assert found == {port: peers for port, peers in every.items() if port[1] in {53, 5432, 6432}}
        assert "ingress" not in render(values).one("NetworkPolicy", "migration")["spec"]


def test_who_reaches_the_gateway(render: Render) -> None:
    """The ingress controller, Prometheus, the clients that are named, and `helm test`; on the container's port alone."""
    manifests = render(EVERYTHING)
    (rule,) = manifests.one("NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": manifests.container()["ports"][0]["containerPort"]}]
    *peers, test = rule["from"]
    spaces = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in peers if "namespaceSelector" in peer
    ]
    assert spaces == ["ingress-nginx", "monitoring"]
    assert EVERYTHING["networkPolicy"]["clients"][0] in peers
    assert len(peers) == 3
    assert selects(test["podSelector"]["matchLabels"], manifests.pod("test")["metadata"]["labels"])


def test_nobody_listed_is_nobody(render: Render) -> None:
    """Without peers the policy admits `helm test` alone, and not, as an empty list would, everybody."""
    values = {**MINIMAL, "networkPolicy": {"enabled": True, "ingressController": [], "prometheus": []}}
    (rule,) = render(values).one("NetworkPolicy")["spec"]["ingress"]
    assert [list(peer) for peer in rule["from"]] == [["podSelector"]]


def test_helm_test_reaches_the_gateway(render: Render) -> None:
    """The test's pod may ask for names and reach the gateway's pods on their port, where the service sends it."""
    manifests = render(EVERYTHING)
    found = egress(manifests, "test")
    port = manifests.config["server"]["port"]
    assert set(found) == {("UDP", 53), ("TCP", 53), ("TCP", port)}
    (peer,) = found["TCP", port]
    assert selects(peer["podSelector"]["matchLabels"], manifests.pod()["metadata"]["labels"])


def test_every_set_that_restricts_restricts_all(render: Render) -> None:
    """No set of values leaves a pod without a policy while others have one."""
    for values in SETS.values():
        manifests = render(values)
        policies = manifests.of_kind("NetworkPolicy")
        assert len(policies) in {0, len(list(manifests.pods()))}
