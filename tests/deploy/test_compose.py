"""docker-compose.yml and the files it mounts, as Docker Compose reads them: whole, closed to the outside, in the right order."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import known_settings, load, unknown_names
from tests.deploy.composed import BALANCER, Compose, environment, redis_settings
from tests.support import debian
from tests.support.processes import ROOT

Services = Mapping[str, Any]
DOC = (ROOT / "docs" / "deploy" / "compose.md").read_text(encoding="utf-8")
GATEWAYS = ("gateway-1", "gateway-2")
LASTING = {"load-balancer", *GATEWAYS, "postgres", "redis", "prometheus", "grafana"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Docker Compose makes of the file, with nothing set."""
    return Compose(tmp_path_factory.mktemp("compose")).config()


@pytest.fixture(scope="module")
def services(whole: dict[str, Any]) -> Services:
    found: Services = whole["services"]
    return found


@cache
def _seconds(duration: str) -> float:
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|m|s|ms)(?![a-z])", duration)
    assert "".join(number + unit for number, unit in parts) == duration
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts)


def _balancer(name: str) -> str:
    """The value of a line of HAProxy's configuration."""
    (found,) = set(re.findall(rf"^ +{name} (.+)$", BALANCER.read_text(encoding="utf-8"), re.MULTILINE))
    return str(found)


def test_every_service_is_there(services: Services) -> None:
    """Two gateways, a load balancer, both stores, the migration and both who watch; every image but ours has a fixed version."""
    assert set(services) == {*LASTING, "migrate"}
    ours = {name for name, each in services.items() if "build" in each}
    assert ours == {*GATEWAYS, "migrate"}
    assert {services[name]["image"] for name in ours} == {"workspace-gateway:0.1.0"}
    unpinned = [
        services[name]["image"] for name in set(services) - ours if not re.search(r":v?\d+\.\d+", services[name]["image"])
    ]
    assert unpinned == []


@pytest.mark.parametrize("name", sorted({*LASTING, "migrate"}))
def test_no_service_may_do_more_than_it_needs(services: Services, name: str) -> None:
    """Each runs without capabilities or a way to any, on a root that cannot be written to, with its log bounded."""
    each = services[name]
    assert each["read_only"] is True
    assert each["cap_drop"] == ["ALL"]
    assert not each.get("cap_add")
    assert not each.get("privileged")
    assert each["security_opt"] == ["no-new-privileges:true"]
    assert {"max-size", "max-file"} <= set(each["logging"]["options"])


@pytest.mark.parametrize("name", sorted(LASTING))
def test_what_lasts_is_watched_and_started_again(services: Services, name: str) -> None:
    """Each service that lasts has a health check, a bound on its memory and processes, and comes back after a crash."""
    each = services[name]
    assert each["restart"] == "unless-stopped"
    assert each["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert _seconds(each["healthcheck"]["timeout"]) <= _seconds(each["healthcheck"]["interval"])
    assert {"memory", "pids"} <= set(each["deploy"]["resources"]["limits"])


def test_nothing_can_be_reached_from_elsewhere(whole: dict[str, Any], services: Services) -> None:
    """Ports are published on loopback alone; PostgreSQL and Redis, whose passwords have defaults, have their own network."""
    published = {name: each["ports"] for name, each in services.items() if each.get("ports")}
    assert set(published) == {"load-balancer", "prometheus", "grafana"}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}
    assert whole["networks"]["stores"]["internal"] is True
    for name in ("postgres", "redis"):
        assert set(services[name]["networks"]) == {"stores"}
    assert {name for name, each in services.items() if "stores" in each["networks"]} == {
        "postgres",
        "redis",
        "migrate",
        *GATEWAYS,
    }


def test_they_start_in_order(services: Services) -> None:
    """The migration waits for PostgreSQL, the gateways for its success and for Redis, the load balancer for both gateways."""
    waits = {
        name: {other: each["condition"] for other, each in service["depends_on"].items()}
        for name, service in services.items()
        if service.get("depends_on")
    }
    healthy = "service_healthy"
    assert waits["migrate"] == {"postgres": healthy}
    for name in GATEWAYS:
        assert waits[name] == {"migrate": "service_completed_successfully", "redis": healthy}
    assert waits["load-balancer"] == dict.fromkeys(GATEWAYS, healthy)
    assert services["migrate"]["command"] == ["migrate"]
    assert services["migrate"]["restart"] == "no"
    assert services["migrate"]["healthcheck"]["disable"] is True


def test_what_is_mounted_exists(whole: dict[str, Any], services: Services) -> None:
    """Files of this repository are there, and can only be read; all that is to last lies in volumes with names."""
    mounts = [mount for each in services.values() for mount in each.get("volumes") or ()]
    files = [mount for mount in mounts if mount["type"] == "bind"]
    assert len(files) == 6
    assert [mount["source"] for mount in files if not Path(mount["source"]).exists() or not mount.get("read_only")] == []
    volumes = {mount["source"]: mount["target"] for mount in mounts if mount["type"] == "volume"}
    assert set(volumes) == set(whole["volumes"]) == {"secrets", "postgres", "redis", "prometheus", "grafana"}
    assert len(files) + len([mount for mount in mounts if mount["type"] == "volume"]) == len(mounts)
    assert volumes["postgres"] == "/var/lib/postgresql/data"
    assert volumes["redis"] == "/data"


@pytest.mark.parametrize("name", [*GATEWAYS, "migrate"])
def test_the_gateway_knows_its_settings(services: Services, name: str) -> None:
    """The gateway takes every variable that it is given, and does not wonder about any."""
    env = environment(services[name])
    settings = load(env, None)
    assert not unknown_names(env)
    assert not settings.embedded
    assert settings.storage.redis_url is not None
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"):
        assert network in settings.server.trusted_proxies
    assert all(ip_network(each).is_private for each in env["GATEWAY_METRICS_ALLOW_NETWORKS"].split(","))


def test_the_gateways_share_their_secrets_and_nothing_else(services: Services) -> None:
    """Both have the same volume for what is made once; each has a data folder of its own, in memory and closed to others."""
    for name in GATEWAYS:
        env = environment(services[name])
        (volume,) = services[name]["volumes"]
        (folder,) = services[name]["tmpfs"]
        assert volume["source"] == "secrets"
        assert {env["GATEWAY_KEY_PEPPER_FILE"], env["GATEWAY_ADMIN_TOKEN_FILE"]} == {
            f"{volume['target']}/key-pepper",
            f"{volume['target']}/admin-token",
        }
        assert folder.startswith(f"{env['GATEWAY_DATA_DIR']}:uid=10001,gid=10001,mode=0700")
    # The volume begins as what the image has there: a folder of the gateway's user.
    assert f"--mode 0700 {volume['target']}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert services["gateway-1"] == services["gateway-2"]


def test_times_fit_each_other(services: Services) -> None:
    """Nobody is killed before its calls have ended; the load balancer notices what drains, and outwaits the gateways."""
    settings = load(environment(services["gateway-1"]), None)
    ends = settings.server.drain_seconds + settings.server.graceful_timeout_seconds + 15
    assert _seconds(services["gateway-1"]["stop_grace_period"]) >= ends
    assert _seconds(services["load-balancer"]["stop_grace_period"]) > _seconds(_balancer("hard-stop-after"))
    check = re.search(r"inter (\S+) fall (\d+)", _balancer("default-server check"))
    assert check
    assert settings.server.drain_seconds > _seconds(check[1]) * int(check[2])
    assert _seconds(_balancer("timeout http-keep-alive")) < settings.server.keep_alive_seconds
    waits = settings.limits.max_wait_seconds + settings.upstream.first_byte_seconds + settings.server.body_timeout_seconds
    assert _seconds(_balancer("timeout server")) > waits
    assert int(_balancer("tune.bufsize")) > settings.server.max_header_bytes


def test_redis_keeps_what_it_is_given(services: Services) -> None:
    """Redis has an append-only file and evicts nothing, and its container has room to rewrite that file."""
    settings = redis_settings(services["redis"]["command"])
    assert settings["appendonly"] == "yes"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["maxmemory"] == "512mb"
    assert int(services["redis"]["deploy"]["resources"]["limits"]["memory"]) >= 2 * 512 << 20
    assert services["redis"]["environment"]["REDISCLI_AUTH"] == settings["requirepass"]


def test_what_is_set_arrives(tmp_path: Path) -> None:
    """Passwords, ports and any setting of the gateway can be set in .env; what has to stay as it is stays."""
    given = {
        "POSTGRES_PASSWORD": "one",
        "REDIS_PASSWORD": "two",
        "LISTEN_ADDRESS": "0.0.0.0",
        "LISTEN_PORT": "9000",
        "TRUSTED_PROXIES": '"172.16.0.0/12 192.168.0.0/16"',
        "GATEWAY_WORKERS": "2",
        "GATEWAY_LEDGER_STRICT": "true",
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_DATA_DIR": "/elsewhere",
        "GATEWAY_KEY_PEPPER": "a-pepper-of-ones-own",
    }
    services = Compose(tmp_path, given).config()["services"]
    env = environment(services["gateway-2"])
    assert env["GATEWAY_DATABASE_URL"] == "postgresql://gateway:one@postgres:5432/gateway"
    assert env["GATEWAY_REDIS_URL"] == "redis://:two@redis:6379/0"
    assert (services["postgres"]["environment"]["POSTGRES_PASSWORD"], services["redis"]["command"][-1]) == ("one", "two")
    assert env["GATEWAY_PUBLIC_URL"] == "http://127.0.0.1:9000"
    (port,) = services["load-balancer"]["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("0.0.0.0", "9000", 8080)
    assert services["load-balancer"]["environment"]["TRUSTED_PROXIES"] == "172.16.0.0/12 192.168.0.0/16"
    assert (env["GATEWAY_WORKERS"], env["GATEWAY_LEDGER_STRICT"]) == ("2", "true")
    assert (env["GATEWAY_HOST"], env["GATEWAY_DATA_DIR"]) == ("0.0.0.0", "/run/gateway")
    assert env["GATEWAY_KEY_PEPPER"] == "a-pepper-of-ones-own"


@pytest.mark.parametrize("password", [None, "hard-to-guess"])
def test_grafana_has_no_password_that_everybody_knows(tmp_path: Path, password: str | None) -> None:
    """Without a password there is no account and no way to sign in; with one, the admin is made with it."""
    services = Compose(tmp_path, {"GRAFANA_ADMIN_PASSWORD": password} if password else None).config()["services"]
    given = services["grafana"]["environment"]
    file = (ROOT / "deploy" / "grafana" / "grafana.ini").read_text(encoding="utf-8")
    for line in ("disable_initial_admin_creation = true", "disable_login_form = true", "[auth.basic]\nenabled = false"):
        assert line in file
    # Grafana passes over variables that are empty.
    assert given["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == ("false" if password else "")
    assert given["GF_AUTH_DISABLE_LOGIN_FORM"] == ("false" if password else "")
    assert given["GF_AUTH_BASIC_ENABLED"] == ("true" if password else "")
    assert given["GF_SECURITY_ADMIN_PASSWORD"] == (password or "")


def test_the_document_names_every_variable(tmp_path: Path) -> None:
    """docs/deploy/compose.md has each variable that docker-compose.yml takes, with its default, and no other."""
    taken = {line.split()[0] for line in Compose(tmp_path).run("config", "--variables").stdout.splitlines()[1:]}
    rows = [line.split("|") for line in DOC.split("\n## Settings\n")[1].split("\n## ")[0].splitlines() if line.startswith("| `")]
    documented = {name: row[2] for row in rows for name in re.findall(r"`([A-Z_]+)`", row[1])}
    assert set(documented) == taken
    known = {each.env for each in known_settings()}
    assert {name for name in taken if name.startswith("GATEWAY_")} <= known
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([\w.:-]+)\}", text)) | {"TRUSTED_PROXIES": "none"}  # itself, which asks nothing
    assert len(defaults) > 10
    assert {name: value for name, value in defaults.items() if value not in documented[name]} == {}


def test_a_third_gateway(tmp_path: Path) -> None:
    """The override that the document shows for one more gateway gives one that is like the others."""
    services = Compose(tmp_path, override=DOC.split("```yaml\n")[1].split("```")[0]).config()["services"]
    assert services["gateway-3"] == services["gateway-1"]
    assert BALANCER.read_text(encoding="utf-8").count("server gateway-1 gateway-1:8080") == 2


def test_prometheus_asks_every_gateway(services: Services) -> None:
    """Prometheus takes its configuration, and asks both gateways and the load balancer, in a network that it shares."""
    folder = ROOT / "deploy" / "prometheus"
    rules = [] if (folder / "alerts.yml").exists() else ["--syntax-only"]
    command = [debian.require("prometheus", "promtool"), "check", "config", *rules, str(folder / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    assert config["rule_files"] == ["alerts.yml"]
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs["gateway"] == [f"{name}:{environment(services[name])['GATEWAY_PORT']}" for name in GATEWAYS]
    assert jobs["load-balancer"] == ["load-balancer:8404"]
    for name in (*GATEWAYS, "load-balancer"):
        assert set(services[name]["networks"]) & set(services["prometheus"]["networks"])
    flags = dict(word.split("=", 1) for word in services["prometheus"]["command"])
    mounted = {mount["target"]: Path(mount["source"]) for mount in services["prometheus"]["volumes"] if mount["type"] == "bind"}
    file = Path(flags["--config.file"])
    assert (mounted[str(file.parent)] / file.name).resolve() == folder / "prometheus.yml"


def test_grafana_finds_prometheus_and_the_dashboards(services: Services) -> None:
    """Grafana's data source is the Prometheus of the same network, and it reads dashboards from the folder that is mounted."""
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))["datasources"]
    assert (source["type"], source["uid"], source["url"]) == ("prometheus", "prometheus", "http://prometheus:9090")
    assert set(services["grafana"]["networks"]) & set(services["prometheus"]["networks"])
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "gateway.yml").read_text(encoding="utf-8"))["providers"]
    mounted = {mount["target"]: Path(mount["source"]).resolve() for mount in services["grafana"]["volumes"]}
    assert mounted[provider["options"]["path"]] == ROOT / "deploy" / "grafana" / "dashboards"
    for part in ("datasources", "dashboards"):
        assert mounted[f"/etc/grafana/provisioning/{part}"] == provisioning / part


def test_the_whole_can_be_had_from_a_checkout() -> None:
    """Everything that docker-compose.yml names is in the repository, not only on somebody's machine."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = [git, "ls-files", "--cached", "--others", "--exclude-standard"]
    kept = set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
    named = {
        "Dockerfile",
        ".dockerignore",
        "docker-compose.yml",
        "deploy/haproxy/haproxy.cfg",
        "deploy/prometheus/prometheus.yml",
    }
    assert {*named, "deploy/grafana/grafana.ini", "deploy/grafana/provisioning/dashboards/gateway.yml"} <= kept
    assert any(name.startswith("deploy/grafana/dashboards/") for name in kept)
    assert ".env" not in kept
