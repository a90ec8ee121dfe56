"""What values there are: each is known to the schema, and what is wrong is refused before anything is installed."""

import json
from typing import Any

import pytest
import yaml

from gateway.config import known_settings
from tests.deploy.helm.config_schema import SCHEMA, config_schema, in_config, is_secret, variable_schema
from tests.deploy.helm.value_sets import MINIMAL, Values
from tests.support.helm import Chart, Refused
from tests.support.processes import ROOT

VALUES = ROOT / "deploy" / "helm" / "gateway" / "values.yaml"
WRITE = "run: python -m tests.deploy.helm.config_schema"


def schema() -> dict[str, Any]:
    return dict(json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_the_schema_knows_the_settings() -> None:
    """`config` takes each setting of the gateway with its bounds, and nothing else."""
    assert schema()["properties"]["config"] == config_schema(), WRITE


def test_the_schema_keeps_secrets_out() -> None:
    """No secret has a place in `config`, and the schema knows those that `extraEnv` takes from a Secret alone."""
    secret = [setting for setting in known_settings() if is_secret(setting)]
    tables = schema()["properties"]["config"]["properties"]
    for setting in secret:
        table, _, key = setting.key.partition(".")
        assert key not in tables.get(table, {}).get("properties", {})
    assert schema()["properties"]["extraEnv"]["items"]["allOf"] == variable_schema(), WRITE


def test_the_schema_knows_the_values() -> None:
    """Each value of values.yaml has a place in the schema, and the schema has none that values.yaml does not show."""

    def compare(values: Any, known: dict[str, Any], place: str) -> None:
        if "properties" not in known:
            return
        assert known["additionalProperties"] is False, place
        if place != "config" and not place.startswith("config."):
            assert set(values) == set(known["properties"]) - {"global"}, place
        for key, value in values.items():
            compare(value, known["properties"][key], f"{place}.{key}".lstrip("."))

    compare(yaml.safe_load(VALUES.read_text(encoding="utf-8")), schema(), "")


def with_value(path: str, value: Any) -> Values:
    """The minimal values with one more, at a dotted path."""
    values: Values = json.loads(json.dumps(MINIMAL))
    *tables, key = path.split(".")
    place = values
    for table in tables:
        place = place.setdefault(table, {})
    place[key] = value
    return values


UPSTREAM = {"name": "a", "baseUrl": "https://a.example/v1"}

WRONG: list[tuple[str, Any, str]] = [
    ("replicas", 3, r"additional properties 'replicas' not allowed"),
    ("replicaCount", -1, r"at '/replicaCount': minimum: got -1, want 0"),
    ("replicaCount", "3", r"at '/replicaCount': got string, want integer"),
    ("image.pullPolicy", "Sometimes", r"at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"),
    ("image.digest", "abc", r"at '/image/digest'"),
    ("config.server.prot", 1, r"at '/config/server': additional properties 'prot' not allowed"),
    ("config.server.port", 70000, r"at '/config/server/port': maximum: got 70,000, want 65,535"),
    ("config.server.port", "http", r"at '/config/server/port': got string, want integer"),
    ("config.server.port", None, r"at '/config/server': missing property 'port'"),
    ("config.server.max_body_bytes", "32 megabytes", r"at '/config/server/max_body_bytes'"),
    ("config.limits.when_unavailable", "open", r"value must be one of 'local', 'deny', 'allow'"),
    ("config.storage.database_url", "postgresql://u:p@h/d", r"additional properties 'database_url' not allowed"),
    ("config.storage.data_dir", "/data", r"additional properties 'data_dir' not allowed"),
    ("config.secrets", {"key_pepper": "x"}, r"at '/config': additional properties 'secrets' not allowed"),
    ("config.secrets", {"admin_token_file": "x"}, r"at '/config': additional properties 'secrets' not allowed"),
    ("config.upstream.api_key", "sk-1", r"additional properties 'api_key' not allowed"),
    ("secrets.databaseUrl.value", "postgresql://u:p@h/d", r"additional properties 'value' not allowed"),
    ("secrets.databaseUrl.key", "", r"at '/secrets/databaseUrl/key'"),
    ("upstreams", [{**UPSTREAM, "apiKey": "sk-1"}], r"at '/upstreams/0/apiKey': got string, want object"),
    ("upstreams", [{**UPSTREAM, "baseUrl": "https://me:pw@a.example/v1"}], r"at '/upstreams/0/baseUrl'"),
    ("upstreams", [{**UPSTREAM, "baseUrl": "a.example"}], r"at '/upstreams/0/baseUrl'"),
    ("upstreams", [{"name": "a"}], r"at '/upstreams/0': missing property 'baseUrl'"),
    ("extraEnv", [{"name": "GATEWAY_KEY_PEPPER", "value": "x"}], r"at '/extraEnv/0/name': 'not' failed"),
    ("extraEnv", [{"name": "GATEWAY_UPSTREAM_API_KEY", "value": "x"}], r"at '/extraEnv/0/value': false schema"),
    ("extraEnv", [{"name": "GATEWAY_UPSTREAM_API_KEY"}], r"at '/extraEnv/0': missing property 'valueFrom'"),
    ("podLabels", {"app.kubernetes.io/name": "other"}, r"invalid propertyName 'app\.kubernetes\.io/name'"),
    ("probes.readiness.path", "/metrics", r"at '/probes/readiness/path': value must be one of '/readyz', '/livez'"),
    ("service.type", "ExternalName", r"at '/service/type'"),
    ("ingress.controller", "apache", r"at '/ingress/controller'"),
    ("ingress.paths", [], r"at '/ingress/paths'"),
    ("autoscaling.maxReplicas", 0, r"at '/autoscaling/maxReplicas': minimum: got 0, want 1"),
    ("podDisruptionBudget.maxUnavailable", 0, r"at '/podDisruptionBudget/maxUnavailable'"),
    ("maxSurge", 0, r"at '/maxSurge'"),
    ("topologySpread.whenUnsatisfiable", "Never", r"at '/topologySpread/whenUnsatisfiable'"),
    ("networkPolicy.redis.ports", [], r"at '/networkPolicy/redis/ports'"),
    ("serviceMonitor.interval", "soon", r"at '/serviceMonitor/interval'"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{path}={value}" for path, value, _ in WRONG])
def test_wrong_values_are_refused(chart: Chart, path: str, value: Any, message: str) -> None:
    """A wrong value is refused, with its place and what is wrong."""
    with pytest.raises(Refused, match=message):
        chart.render(with_value(path, value))


IN_CONFLICT: list[tuple[Values, str]] = [
    ({"autoscaling": {"enabled": True, "minReplicas": 11}}, r"autoscaling\.minReplicas is more than autoscaling\.maxReplicas"),
    ({"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}, r"autoscaling has nothing to go by"),
    ({"serviceMonitor": {"enabled": True}}, r"Prometheus would be refused: set secrets\.metricsToken\.key"),
]


@pytest.mark.parametrize(("values", "message"), IN_CONFLICT, ids=["bounds", "nothing to go by", "no token"])
def test_values_that_do_not_go_together_are_refused(chart: Chart, values: Values, message: str) -> None:
    """Values that are each right by themselves and cannot work together are refused in words."""
    with pytest.raises(Refused, match=message):
        chart.render({**MINIMAL, **values})


def test_settings_have_one_place() -> None:
    """Each setting is one of `config`, or a secret, or among the few that the chart has another place for."""
    elsewhere = {setting.key for setting in known_settings() if setting.env and not is_secret(setting) and not in_config(setting)}
    assert {key for key in elsewhere if not key.endswith("_file")} == {"storage.data_dir", "upstream.base_url", "upstream.models"}
