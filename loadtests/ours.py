"""This gateway as it is measured, in its two profiles: embedded, and shared with a real PostgreSQL and a real Redis."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests import many_keys
from loadtests.peers import BOTH_CORES, MEASURED_CORE, OTHER_CORE, ROOT, Missing, Peer, process, wait_for
from loadtests.upstream import MODELS

TOKEN, PEPPER = "token-of-the-benchmark", "pepper-of-the-benchmark-which-nobody-has-to-guess"
ENOUGH = 100_000_000  # a limit that is counted and never met
_ONE_KEY = "one key calls there, as with the others"
_LIMITS = {"rpm": ENOUGH, "tpm": ENOUGH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is special about one: how many keys there are, how many it remembers (None: the default), and its workers.

    With one worker it has one core; with `spread` both, and so has its load.
    """

    keys: int = 1
    remembered: int | None = None
    workers: int = 1
    spread: bool = False


USUAL = Kind()


@contextmanager
def embedded(port: int, upstream_port: int, kind: Kind = USUAL) -> Iterator[Peer]:
    """On its embedded default: SQLite, limits in the process, ledger on."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = _settings(Path(folder), port, upstream_port, kind)
        with _gateway("embedded", kind, settings, f"sqlite+aiosqlite:///{folder}/data/gateway.db") as peer:
            yield peer


@contextmanager
def shared(port: int, upstream_port: int, kind: Kind = USUAL) -> Iterator[Peer]:
    """On PostgreSQL and Redis: limits of account and workspace, epochs, ledger through streams."""
    try:
        from tests.support.postgres_server import PostgresServer  # noqa: PLC0415 — brings servers that only this needs
        from tests.support.redis_server import RedisServer  # noqa: PLC0415 — as above
    except ImportError as error:
        raise Missing(f"{error.name} is missing: pip install -r requirements-dev.lock") from None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        with _on_both_cores() if kind.spread else nullcontext():  # both servers run where the process runs that starts them
            database, redis = stack.enter_context(PostgresServer()), stack.enter_context(RedisServer())
        more = {"GATEWAY_DATABASE_URL": database.url, "GATEWAY_REDIS_URL": redis.url, "GATEWAY_WORKERS": str(kind.workers)}
        settings = _settings(Path(folder), port, upstream_port, kind) | more
        yield stack.enter_context(_gateway("shared", kind, settings, database.url))


@contextmanager
def _on_both_cores() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(MEASURED_CORE), int(OTHER_CORE)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _settings(folder: Path, port: int, upstream_port: int, kind: Kind) -> dict[str, str]:
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
        **({} if kind.remembered is None else {"GATEWAY_CACHE_MAX_KEYS": str(kind.remembered)}),
    }


@contextmanager
def _gateway(profile: str, kind: Kind, settings: Mapping[str, str], database: str) -> Iterator[Peer]:
    """A gateway with these settings, its database migrated and filled. Raises Missing."""
    command, folder, port = (
        [sys.executable, "-m", "gateway"],
        Path(settings["GATEWAY_DATA_DIR"]).parent,
        int(settings["GATEWAY_PORT"]),
    )
    env = {**os.environ, **settings}
    migrated = subprocess.run([*command, "migrate", "--quiet"], env=env, cwd=folder, capture_output=True, text=True, check=False)
    if migrated.returncode:
        raise Missing(f"its database cannot be migrated:\n    {migrated.stderr.strip()[-1000:]}")
    keys = many_keys.fill(database, PEPPER, kind.keys, MODELS, ENOUGH) if kind.keys > 1 else []
    with process([*command, "serve", "--json"], BOTH_CORES if kind.spread else MEASURED_CORE, settings, folder, port) as pid:
        wait_for(pid, port, "/readyz")
        usual = kind.keys == 1 or kind.remembered is not None
        yield Peer(
            _name(profile, kind),
            port,
            keys or [_first_key(port)],
            [pid],
            limited=(_limited_key(port), Peer.path),
            cannot={} if usual else dict.fromkeys(("refused", "limited", "latency", "streams"), _ONE_KEY),
            load_cores=BOTH_CORES if kind.spread else OTHER_CORE,
        )


def _name(profile: str, kind: Kind) -> str:
    if kind.spread:
        return f"{profile}, {kind.workers} worker{'s' if kind.workers > 1 else ''}"
    return profile if kind.keys == 1 or kind.remembered is not None else f"{profile}, {kind.keys:,} accounts"


def _admin(port: int, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/admin/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)
    except OSError as error:
        raise Missing(f"{method} {path} is answered {error}") from error


def _first_key(port: int) -> str:
    """A key in a sub-workspace of a new account, held to limits on both levels that are never met."""
    account = _admin(port, "POST", "/accounts", {"name": "account"})["id"]
    return _key(port, account, "team", dict.fromkeys(MODELS, _LIMITS))


def _limited_key(port: int) -> str:
    """A key that may make one call a minute."""
    account = _admin(port, "POST", "/accounts", {"name": "limited"})["id"]
    return _key(port, account, "limited", {"small": {"rpm": 1, "tpm": ENOUGH}})


def _key(port: int, account: str, workspace: str, granted: Mapping[str, Mapping[str, int]]) -> str:
    made = _admin(port, "POST", "/workspaces", {"name": workspace, "account_id": account})["id"]
    for model, limits in granted.items():
        _admin(port, "PUT", f"/workspaces/{made}/grants/{model}", limits)
    return str(_admin(port, "POST", f"/workspaces/{made}/api-keys", {})["key"])
