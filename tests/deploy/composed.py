"""docker-compose.yml as Docker Compose reads it, and its services as processes of this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.support import debian
from tests.support.postgres_server import PostgresServer
from tests.support.processes import ROOT, ChildProcess, free_port
from tests.support.programs import program
from tests.support.redis_server import RedisServer
from tests.support.shared_profile import FastUpstream

BALANCER = ROOT / "deploy" / "haproxy" / "haproxy.cfg"


class Compose:
    """The project in a folder of its own, where no `.env` of a developer is. `settings` is what that file is to hold."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, override: str | None = None) -> None:
        self.folder = folder
        for name in ("docker-compose.yml", "Dockerfile"):
            shutil.copy(ROOT / name, folder)
        (folder / "deploy").symlink_to(ROOT / "deploy")
        if settings is not None:
            (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        if override is not None:
            (folder / "docker-compose.override.yml").write_text(override)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
        command = [program("docker-compose"), *words]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False)

    def config(self) -> dict[str, Any]:
        """The whole as Docker Compose would use it. Raises AssertionError for a warning."""
        done = self.run("config", "--format", "json")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        read: dict[str, Any] = json.loads(done.stdout)
        return read


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """What the service's container is given."""
    return {name: value for name, value in service["environment"].items() if value is not None}


def redis_settings(command: Sequence[str]) -> dict[str, str]:
    """The settings of a Redis that is started with this command."""
    name, *words = command
    assert name == "redis-server"
    pairs = zip(words[::2], words[1::2], strict=True)
    return {option.removeprefix("--"): value or '""' for option, value in pairs}


def _redis(command: Sequence[str]) -> RedisServer:
    settings = redis_settings(command)
    return RedisServer(aof=settings.pop("appendonly") == "yes", port=None, **settings)


class ComposedGateway(ChildProcess):
    """A service's gateway on this machine: its environment and command, but for addresses and folders."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.env = dict(env)
        self.address = f"http://127.0.0.1:{env['GATEWAY_PORT']}"
        super().__init__([sys.executable, "-m", "gateway", "serve"], env=self.env, cwd=folder)

    def is_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.address}/readyz", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False


class Balancer(ChildProcess):
    """Debian's HAProxy with the real configuration, but for addresses. `address` is where calls go, `own` where it is watched."""

    def __init__(self, gateways: Mapping[str, int], folder: Path, trusted: str) -> None:
        haproxy = debian.require("haproxy")
        ports = free_port(), free_port()
        text = BALANCER.read_text(encoding="utf-8")
        changes = {f"{name}:8080": f"127.0.0.1:{port}" for name, port in gateways.items()}
        changes |= {"bind :8080": f"bind 127.0.0.1:{ports[0]}", "bind :8404": f"bind 127.0.0.1:{ports[1]}"}
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        file = folder / "haproxy.cfg"
        file.write_text(text)
        self.address = f"http://127.0.0.1:{ports[0]}"
        self.own = f"http://127.0.0.1:{ports[1]}"
        super().__init__([haproxy, "-W", "-db", "-f", file], env={**os.environ, "TRUSTED_PROXIES": trusted})

    def is_well(self) -> bool:
        try:
            return httpx2.get(f"{self.own}/health", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    def ready(self) -> set[str]:
        """The gateways that it takes for ready."""
        metrics = httpx2.get(f"{self.own}/metrics", trust_env=False).text.splitlines()
        up = [line for line in metrics if line.startswith('haproxy_server_status{proxy="ready"') and 'state="UP"' in line]
        return {line.split('server="')[1].split('"')[0] for line in up if line.endswith(" 1")}


class Stack:
    """The services of docker-compose.yml that calls go through: PostgreSQL, Redis, two gateways, the load balancer.

    Model `m` is served by an upstream that answers at once, and streams as the call asks; the model `slow` at port `slow_port`,
    where a test may listen.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.gateways: dict[str, ComposedGateway] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gw-compose-")))
            project = self.folder / "project"
            project.mkdir()
            self.services = Compose(project).config()["services"]
            self.postgres = stack.enter_context(PostgresServer())
            self.redis = stack.enter_context(_redis(self.services["redis"]["command"]))
            self.upstream = stack.enter_context(FastUpstream())
            (self.folder / "data").mkdir(mode=0o700)
            self._ports = {name: free_port() for name in ("gateway-1", "gateway-2")}
            migrated = self.command("migrate", *self.services["migrate"]["command"])
            assert migrated.returncode == 0, migrated.stderr
            self.slow_port = free_port()
            self.json(
                "gateway-1", "upstreams", "add", f"http://127.0.0.1:{self.slow_port}/v1", "--models", "slow", "--name", "slow"
            )
            for name in self._ports:
                self.gateways[name] = self.started(name)
            stack.callback(self._end)
            self.balancer = stack.enter_context(Balancer(self._ports, self.folder, trusted="127.0.0.3"))
            self.balancer.wait_until(self.balancer.is_well, "the load balancer reaches a gateway")
            self.whole()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def _end(self) -> None:
        for each in self.gateways.values():
            each.signal(signal.SIGTERM)  # each drains for some seconds
        for each in self.gateways.values():
            each.close()

    def environment(self, service: str) -> dict[str, str]:
        """What the service is given, with this machine's addresses and folders in the place of the containers'."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        env = {
            name: value.replace("/data/", f"{self.folder}/data/") for name, value in environment(self.services[service]).items()
        }
        env |= {
            "PYTHONPATH": str(ROOT),
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self._ports.get(service, 0)),
            "GATEWAY_DATA_DIR": str(self.folder / service),
            "GATEWAY_DATABASE_URL": self.postgres.url,
            "GATEWAY_REDIS_URL": self.redis.url,
            "GATEWAY_UPSTREAM_BASE_URL": self.upstream.base_url,
            "GATEWAY_UPSTREAM_MODELS": "m",
            "GATEWAY_LIMITS_REDIS_TIMEOUT_MS": "300",
            # Here the load balancer has an address of the loopback, as no container has.
            "GATEWAY_SERVER_TRUSTED_PROXIES": f"{env['GATEWAY_SERVER_TRUSTED_PROXIES']},127.0.0.1",
        }
        return {name: value for name, value in (kept | env).items() if "proxy" not in name.lower()}

    def command(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `gateway` as `docker compose exec SERVICE gateway …` does."""
        command = [sys.executable, "-m", "gateway", *words]
        env = self.environment(service)
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False)

    def json(self, service: str, *words: str) -> Any:
        done = self.command(service, *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def started(self, name: str) -> ComposedGateway:
        """A gateway of that service, which may not be ready yet."""
        return ComposedGateway(self.environment(name), self.folder)

    def restart(self, name: str) -> None:
        """Start a gateway that has ended again, and return once the load balancer sends calls to both."""
        self.gateways[name].close()
        self.gateways[name] = self.started(name)
        self.whole()

    def whole(self) -> None:
        """Return once both gateways are ready, and the load balancer takes them for it."""
        for each in self.gateways.values():
            each.wait_until(each.is_ready, "the gateway is ready")
        self.balancer.wait_until(lambda: len(self.balancer.ready()) == 2, "both gateways are seen to be ready")
