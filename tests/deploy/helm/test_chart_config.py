"""What the chart hands to the gateway are settings that it has, and no secret is where it can be read."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.config import OTHER_NAMES, Settings, known_settings, load, unknown_names, upstreams_of
from tests.deploy.helm.config_schema import OWN_VARIABLES, is_secret
from tests.deploy.helm.conftest import Render
from tests.deploy.helm.value_sets import EVERYTHING, MINIMAL, SETS, SEVERAL_SECRETS, Values
from tests.support.helm import Chart, Refused

EVERY_SET = pytest.mark.parametrize("values", SETS.values(), ids=SETS)
STAND_INS = {
    "GATEWAY_DATABASE_URL": "postgresql://gateway:s3cret@postgres/gateway",
    "GATEWAY_MIGRATE_DATABASE_URL": "postgresql://owner:s3cret@postgres/gateway",
    "GATEWAY_REDIS_URL": "redis://:s3cret@redis:6379/0",
}


def as_in_the_pod(render: Render, values: Values, component: str = "gateway") -> dict[str, str]:
    """The environment of a container, each secret with some value that it could have."""
    variables = render(values).env(component)
    return {name: value if isinstance(value, str) else STAND_INS.get(name, "x" * 32) for name, value in variables.items()}


def loaded(render: Render, values: Values, folder: Path) -> Settings:
    """The gateway's settings from what the pod is given."""
    file = folder / "gateway.toml"
    file.write_text(render(values).toml)
    return load(as_in_the_pod(render, values), file)


@EVERY_SET
def test_the_gateway_takes_its_settings(render: Render, values: Values, tmp_path: Path) -> None:
    """The gateway reads file and environment of its pod without a complaint: PostgreSQL, Redis, secrets, the ports and times."""
    found = loaded(render, values, tmp_path)
    assert not found.embedded
    assert found.storage.redis_url is not None
    assert found.secrets.key_pepper is not None
    assert found.secrets.admin_token is not None
    assert str(found.storage.data_dir) == "/data/gateway"
    assert found.server.host == values.get("config", {}).get("server", {}).get("host", "0.0.0.0")
    assert found.server.port == values.get("config", {}).get("server", {}).get("port", 8080)


@EVERY_SET
def test_every_variable_is_a_setting(render: Render, values: Values) -> None:
    """Each variable of the gateway's in any pod is a setting that it has, so that none goes unread."""
    known = {setting.env for setting in known_settings()} | set(OTHER_NAMES)
    for component, _ in render(values).pods():
        if component == "test":
            continue
        ours = {name for name in render(values).env(component) if name.startswith("GATEWAY_")}
        assert ours <= known
        assert ours
        assert unknown_names(as_in_the_pod(render, values, component)) == []


def test_the_charts_own_variables(render: Render) -> None:
    """Exactly those variables that the chart sets itself are refused in `extraEnv`, where they would stand a second time."""
    own = {
        name
        for each in ("gateway", "migration")
        for values in SETS.values()
        if values.get("migration") != {"enabled": False}
        for name in render(values).env(each)
    }
    assert {name for name in own if name.startswith("GATEWAY_")} == OWN_VARIABLES


def test_settings_arrive_as_they_were_written(render: Render, tmp_path: Path) -> None:
    """Whole numbers stay whole however large, fractions, switches, sizes, lists and texts come through."""
    found = loaded(render, EVERYTHING, tmp_path)
    assert found.limits.default_rpm == 1_000_000
    assert found.server.max_body_bytes == 1_000_000
    assert found.server.max_body_bytes_total == 512 << 20
    assert found.server.drain_seconds == 2.5
    assert found.upstream.connect_seconds == 0.5
    assert found.storage.pgbouncer is True
    assert found.ledger.strict is True
    assert found.server.trusted_proxies == ("10.0.0.0/8",)
    assert found.limits.when_unavailable == "deny"


def test_upstreams_arrive_with_their_credentials(render: Render, tmp_path: Path) -> None:
    """Each upstream has its address, models, weight and its own credential, taken from its own Secret."""
    found = {each.name: each for each in upstreams_of(loaded(render, EVERYTHING, tmp_path))}
    assert found["local"].base_url == "http://vllm.models.svc:8000/v1"
    assert found["local"].models == {"small": "small", "large": '"own" name'}
    assert (found["local"].weight, found["local"].api_key, found["local"].lists_models) == (3, None, False)
    assert (found["hosted.eu-1"].api_key, found["hosted.eu-1"].lists_models) == ("x" * 32, True)
    secrets = render(EVERYTHING).secrets()
    assert secrets["UPSTREAM_API_KEY_HOSTED_EU_1"] == ("gateway", "hosted-api-key")
    assert secrets["UPSTREAM_API_KEY_OTHER"] == ("other-upstream", "token")
    by_name = {each["name"]: each.get("api_key_env") for each in render(EVERYTHING).config["upstreams"]}
    assert by_name == {"local": None, "hosted.eu-1": "UPSTREAM_API_KEY_HOSTED_EU_1", "other": "UPSTREAM_API_KEY_OTHER"}


def test_credentials_go_by_name(render: Render) -> None:
    """An upstream's variable stays the same in another order, so that no old pod sends it another one's credential."""
    turned = {**EVERYTHING, "upstreams": EVERYTHING["upstreams"][::-1]}
    assert render(turned).secrets() == render(EVERYTHING).secrets()


def test_upstreams_whose_variables_would_be_one(chart: Chart) -> None:
    """Two names that differ in punctuation alone are refused: they would share a credential."""
    upstreams = [{"name": name, "baseUrl": "https://a.example/v1", "apiKey": {"key": "k"}} for name in ("eu.one", "EU-one")]
    with pytest.raises(Refused, match=r"Two upstreams are called EU-one and eu\.one"):
        chart.render({**MINIMAL, "upstreams": upstreams})


def test_secrets_are_found(render: Render) -> None:
    """Each secret comes from the Secret and the key that the values name, one for all or one each."""
    assert render(MINIMAL).secrets() == {
        "GATEWAY_DATABASE_URL": ("gateway", "database-url"),
        "GATEWAY_REDIS_URL": ("gateway", "redis-url"),
        "GATEWAY_KEY_PEPPER": ("gateway", "key-pepper"),
        "GATEWAY_ADMIN_TOKEN": ("gateway", "admin-token"),
    }
    assert render(SEVERAL_SECRETS).secrets() == {
        "GATEWAY_DATABASE_URL": ("postgres-app", "uri"),
        "GATEWAY_REDIS_URL": ("redis", "url"),
        "GATEWAY_KEY_PEPPER": ("pepper", "value"),
        "GATEWAY_ADMIN_TOKEN": ("admin", "token"),
        "GATEWAY_METRICS_TOKEN": ("scrape", "token"),
    }


@EVERY_SET
def test_no_secret_can_be_read(render: Render, values: Values) -> None:
    """A setting that is a secret comes from a Secret alone, in every pod: it stands in no ConfigMap and as no variable's text."""
    secret = [setting for setting in known_settings() if is_secret(setting)]
    config = render(values).config
    for setting in secret:
        table, _, key = setting.key.partition(".")
        assert key not in config.get(table, {})
    assert all("api_key" not in upstream for upstream in config.get("upstreams", []))
    for component, pod in render(values).pods():
        for each in pod["spec"]["containers"][0].get("env", []):
            if each["name"] in {setting.env for setting in secret} or each["name"].startswith("UPSTREAM_API_KEY_"):
                assert set(each) == {"name", "valueFrom"}, component
                assert set(each["valueFrom"]) == {"secretKeyRef"}
    assert render(values).of_kind("Secret") == []


@pytest.mark.parametrize(
    ("value", "variable"),
    [
        ("databaseUrl", "GATEWAY_DATABASE_URL"),
        ("redisUrl", "GATEWAY_REDIS_URL"),
        ("keyPepper", "GATEWAY_KEY_PEPPER"),
        ("adminToken", "GATEWAY_ADMIN_TOKEN"),
        ("metricsToken", "GATEWAY_METRICS_TOKEN"),
    ],
)
def test_a_secret_without_a_place_is_told(chart: Chart, value: str, variable: str) -> None:
    """A secret that no Secret holds keeps the chart from being rendered, and the message says which, and what to set."""
    secrets: dict[str, Any] = {name: dict(each) for name, each in SEVERAL_SECRETS["secrets"].items()}
    secrets[value]["secret"] = ""
    with pytest.raises(Refused, match=rf"No Secret holds {variable}\..*set secrets\.existingSecret.*or secrets\.{value}\.secret"):
        chart.render({"secrets": secrets})


def test_further_environment(render: Render) -> None:
    """Variables and volumes of one's own reach the gateway and its migration, which may both need certificates."""
    for component in ("gateway", "migration"):
        env = render(EVERYTHING).env(component)
        assert env["PGSSLMODE"] == "verify-full"
        assert env["PROXY_PASSWORD"] == {"secretKeyRef": {"name": "proxy", "key": "password"}}
        mounts = render(EVERYTHING).container(component)["volumeMounts"]
        assert EVERYTHING["extraVolumeMounts"][0] in mounts
        assert EVERYTHING["extraVolumes"][0] in render(EVERYTHING).pod(component)["spec"]["volumes"]


def test_the_file_is_toml_whatever_stands_in_it(render: Render) -> None:
    """Quotes, backslashes, line ends and signs that JSON escapes stay what they are."""
    odd = 'a"b\\c\n<&>\u2028é'
    values = {**MINIMAL, "upstreams": [{"name": "a", "baseUrl": "http://a/v1", "models": [f"x={odd}"]}]}
    assert tomllib.loads(render(values).toml)["upstreams"][0]["models"] == [f"x={odd}"]
