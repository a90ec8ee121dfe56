"""The whole gateway in this process, on a real uvicorn server and a real SQLite file, in front of a scripted upstream."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from gateway import config
from gateway.app import Gateway
from gateway.config import Secrets
from gateway.dataplane.uvicorn_protocol import EdgeProtocol
from gateway.storage.sql.migrate import upgrade
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.scripted_upstream import ScriptedUpstream

TOKEN = "operator-token"


@dataclass
class Running:
    """A gateway that takes calls; `admin` speaks to its admin API, `client` has no credential of its own."""

    gateway: Gateway
    upstream: ScriptedUpstream
    url: str
    client: httpx2.AsyncClient
    admin: httpx2.AsyncClient

    @property
    def admissions(self) -> Any:
        return self.gateway._admissions

    async def workspace(self, name: str = "team") -> str:
        reply = await self.admin.post("/admin/v1/workspaces", json={"name": name})
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    async def default_workspace(self) -> str:
        rows = (await self.admin.get("/admin/v1/workspaces")).json()["data"]
        return next(str(row["id"]) for row in rows if row["is_default"])

    async def account(self) -> str:
        return str((await self.admin.get("/admin/v1/accounts")).json()["data"][0]["id"])

    async def key(self, workspace: str) -> tuple[str, str]:
        """ID and plaintext of a new key."""
        reply = await self.admin.post(f"/admin/v1/workspaces/{workspace}/api-keys", json={"description": "a test's"})
        assert reply.status_code == 201, reply.text
        return reply.json()["id"], reply.json()["key"]

    async def chat(self, key: str, **fields: Any) -> httpx2.Response:
        body = {"model": self.upstream.model, "messages": [{"role": "user", "content": "hi"}], **fields}
        headers = {"authorization": f"Bearer {key}"}
        return await self.client.post("/compatible-mode/v1/chat/completions", json=body, headers=headers)


Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a gateway; keyword arguments are environment settings."""

    @asynccontextmanager
    async def started(**env: str) -> AsyncIterator[Running]:
        async with ScriptedUpstream().running() as upstream:
            environment = {"GATEWAY_DATA_DIR": str(tmp_path), "GATEWAY_UPSTREAM_BASE_URL": upstream.base_url} | env
            settings = config.load(environment, None)
            await asyncio.to_thread(upgrade, settings.migrate_database_url)
            gateway = Gateway(settings, Secrets(admin_token=TOKEN, key_pepper=b"pepper"), config.upstreams_of(settings))
            server = uvicorn.Server(
                uvicorn.Config(
                    gateway,
                    host="127.0.0.1",
                    port=0,
                    log_config=None,
                    access_log=False,
                    http=EdgeProtocol.configured(serve=gateway.answer),
                )
            )
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            limits = httpx2.Limits(max_connections=300)
            async with (
                httpx2.AsyncClient(base_url=url, limits=limits, timeout=60) as client,
                httpx2.AsyncClient(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as admin,
            ):
                yield Running(gateway, upstream, url, client, admin)
            server.should_exit = True
            await serving

    return started


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgresServer, RedisServer]]:
    with PostgresServer() as postgres, RedisServer() as redis:
        yield postgres, redis


@pytest.fixture(params=["embedded", pytest.param("shared", marks=pytest.mark.xdist_group("changes"))])
def start_on_each_profile(request: pytest.FixtureRequest, start: Start) -> Start:
    """Starts a gateway on the profile, whose stores are empty."""
    if request.param == "embedded":
        return start
    postgres, redis = request.getfixturevalue("servers")
    numbers = itertools.count(1)

    def shared(**env: str) -> AbstractAsyncContextManager[Running]:
        name = f"{request.node.name.partition('[')[0]}_{next(numbers)}"
        postgres.psql(f"CREATE DATABASE {name}")
        redis.ask("FLUSHALL")
        return start(GATEWAY_DATABASE_URL=postgres.url_of(name), GATEWAY_REDIS_URL=redis.url, **env)

    return shared
