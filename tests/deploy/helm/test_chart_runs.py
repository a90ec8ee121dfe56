"""The chart's pods, run on this machine as they stand in the manifests: commands, environment, settings, probes, end.

There is no cluster here, so a pod is a process: its container's command, with the environment that Kubernetes would give it, and
the mounted files and folders at places of the test's own.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from gateway.config import ConfigError, load
from gateway.storage.sql.engine import create_engine, writing
from tests.deploy.helm.manifests import Manifests
from tests.support.helm import Chart
from tests.support.postgres_server import PostgresServer
from tests.support.processes import ROOT, ChildProcess, free_port
from tests.support.redis_server import RedisServer
from tests.support.shared_profile import FastUpstream

pytestmark = pytest.mark.xdist_group("helm-pods")


class Cluster:
    """What a release needs, and its pods."""

    def __init__(self, manifests: Manifests, secrets: dict[tuple[str, str], str], folder: Path) -> None:
        self.manifests = manifests
        self._secrets = secrets
        self.work = folder / "work"
        self.work.mkdir()
        self.config = folder / "gateway.toml"
        self.config.write_text(manifests.toml)
        self.data = folder / "data"

    def command(self, component: str) -> list[str]:
        container = self.manifests.container(component)
        assert container["command"] == ["gateway"]
        return [sys.executable, "-m", "gateway", *container["args"]]

    def env(self, component: str) -> dict[str, str]:
        """As in the pod; the program, which the image has installed, is that of the checkout."""
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"PYTHONPATH": str(ROOT)}
        for name, value in self.manifests.env(component).items():
            env[name] = value if isinstance(value, str) else self._secrets[self.manifests.secrets(component)[name]]
        moved = {"GATEWAY_CONFIG": str(self.config), "GATEWAY_DATA_DIR": str(self.data)}
        return env | {name: place for name, place in moved.items() if name in env}

    def run(self, component: str, command: list[str]) -> str:
        """What a command prints that is run in a pod to its end."""
        done = subprocess.run(
            command, env=self.env(component), cwd=self.work, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout


@pytest.fixture
def cluster(chart: Chart, tmp_path: Path) -> Iterator[Cluster]:
    with PostgresServer() as postgres, RedisServer(aof=True) as redis, FastUpstream() as upstream:
        values: dict[str, Any] = {
            "secrets": {"existingSecret": "gateway", "databaseUrl": {"secret": "postgres", "key": "uri"}},
            "config": {"server": {"host": "127.0.0.1", "port": free_port(), "drain_seconds": 0, "graceful_timeout_seconds": 5}},
            "upstreams": [{"name": "fast", "baseUrl": upstream.base_url, "models": ["m"], "apiKey": {"key": "fast"}}],
        }
        secrets = {
            ("postgres", "uri"): postgres.url,
            ("gateway", "redis-url"): redis.url,
            ("gateway", "key-pepper"): "p" * 40,
            ("gateway", "admin-token"): "t" * 40,
            ("gateway", "fast"): "sk-of-the-upstream",
        }
        yield Cluster(Manifests(chart.render(values)), secrets, tmp_path)


def probe(manifests: Manifests, name: str) -> int:
    """The status that a probe of the gateway's container gets; 0 where nobody answers."""
    container = manifests.container()
    path, port = container[f"{name}Probe"]["httpGet"]["path"], container["ports"][0]["containerPort"]
    try:
        return httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=container[f"{name}Probe"]["timeoutSeconds"]).status_code
    except httpx2.TransportError:
        return 0


def test_a_release_from_its_migration_to_its_end(cluster: Cluster) -> None:
    """An empty database is migrated, a pod starts, passes its probes and `helm test`, is managed and called, and ends in time."""
    assert "The database is up to date." in cluster.run("migration", cluster.command("migration"))
    with ChildProcess(cluster.command("gateway"), env=cluster.env("gateway"), cwd=cluster.work) as pod:
        for name in ("startup", "readiness", "liveness"):
            pod.wait_until(lambda name=name: probe(cluster.manifests, name) == 200, f"the {name} probe passes")  # type: ignore[misc]
        port = cluster.manifests.config["server"]["port"]
        _, option, script, url = cluster.manifests.container("test")["command"]
        said = cluster.run("migration", [sys.executable, option, script, f"http://127.0.0.1:{port}{url[url.rindex('/') :]}"])
        assert said.startswith("200 ")

        gateway = cluster.command("gateway")[:3]  # as `kubectl exec` runs it, without the arguments
        found = json.loads(cluster.run("gateway", [*gateway, "check", "--json"]))
        assert found["problems"] == []
        key = json.loads(cluster.run("gateway", [*gateway, "keys", "create", "--json"]))["key"]
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
        headers = {"authorization": f"Bearer {key}"}
        called = httpx2.post(f"http://127.0.0.1:{port}/compatible-mode/v1/chat/completions", json=body, headers=headers)
        assert called.status_code == 200

        assert cluster.data.stat().st_mode & 0o077 == 0  # nobody else's, although the volume around it is open
        pod.signal(signal.SIGTERM)
        assert pod.wait(cluster.manifests.pod()["spec"]["terminationGracePeriodSeconds"]) == 0
        logged = pod.output()
    assert key not in logged
    assert "t" * 40 not in logged


def test_a_rollback_past_a_migration_is_refused(cluster: Cluster) -> None:
    """The job of a former version finds the schema of a newer one, says so and fails, and with it the rollback."""
    cluster.run("migration", cluster.command("migration"))
    assert "The database is up to date." in cluster.run("migration", cluster.command("migration"))
    asyncio.run(_become_newer(cluster.env("migration")["GATEWAY_DATABASE_URL"]))
    done = subprocess.run(
        cluster.command("migration"),
        env=cluster.env("migration"),
        cwd=cluster.work,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "schema is newer than this program" in done.stderr


async def _become_newer(url: str) -> None:
    """Let the database have the migration of a release to come."""
    engine = create_engine(url)
    async with writing(engine) as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = 'of a release to come'"))
    await engine.dispose()


def test_variables_of_services_would_be_taken_for_settings() -> None:
    """Why pods have no variables of other services: those of a service called "gateway" would set the gateway's port to a URL."""
    with pytest.raises(ConfigError, match="GATEWAY_PORT"):
        load({"GATEWAY_PORT": "tcp://10.0.0.1:80"}, None)
