"""The whole gateway on PostgreSQL: while it is away, once it is back, and through PgBouncer."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from gateway.domain.credentials import KeyKind, generate
from gateway.storage.sql.engine import writing
from gateway.storage.sql.migrate import SchemaOutdated, check_revision
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres_server import PostgresServer
from tests.system.conftest import Running, Start

pytestmark = pytest.mark.xdist_group("postgres")
_BACK_SECONDS = 20.0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


async def ledger_of(running: Running) -> int:
    """Calls that the ledger holds."""
    reply = await running.admin.get("/admin/v1/usage")
    assert reply.status_code == 200, reply.text
    return sum(int(row["calls"]) for row in reply.json()["data"])


async def once_back(call: Any) -> httpx2.Response:
    """The first answer that is no 503."""
    async with asyncio.timeout(_BACK_SECONDS):
        while True:
            reply: httpx2.Response = await call()
            if reply.status_code != 503:
                return reply
            await asyncio.sleep(0.05)


async def test_postgres_stops_and_comes_back(start: Start, server: PostgresServer) -> None:
    """Known keys go on; unknown ones and changes get 503, never 401; then all works again without a restart, nothing is lost."""
    async with start(GATEWAY_DATABASE_URL=server.url) as running:
        workspace = await running.default_workspace()
        _, known = await running.key(workspace)
        _, unseen = await running.key(workspace)
        wrong = generate(KeyKind.STANDARD, b"pepper").text
        assert (await running.chat(known)).status_code == 200

        server.stop()
        answers = await asyncio.gather(*(running.chat(key) for key in [known] * 20 + [unseen] * 10))
        assert [reply.status_code for reply in answers] == [200] * 20 + [503] * 10
        assert all(int(reply.headers["retry-after-ms"]) > 0 for reply in answers[20:])
        assert (await running.chat(wrong)).status_code == 503
        refused = await running.admin.post(f"/admin/v1/workspaces/{workspace}/api-keys", json={"description": "no"})
        assert refused.status_code == 503
        assert (await running.client.get("/livez")).status_code == 200

        server.start()
        assert (await once_back(lambda: running.chat(unseen))).status_code == 200
        assert (await once_back(lambda: running.client.get("/readyz"))).status_code == 200
        key_id, new = await running.key(workspace)
        assert (await running.chat(new)).status_code == 200
        assert (await running.admin.delete(f"/admin/v1/api-keys/{key_id}")).status_code == 204
        assert (await running.chat(new)).status_code == 401
        assert (await running.chat(wrong)).status_code == 401
        assert (await running.chat(known)).status_code == 200
        async with asyncio.timeout(_BACK_SECONDS):
            while await ledger_of(running) < 24:
                await asyncio.sleep(0.05)
        assert await ledger_of(running) == 24


async def test_a_restart_between_two_calls(start: Start, server: PostgresServer) -> None:
    """A restart that nobody met costs nobody an answer: every connection of the pool is old, and all are replaced."""
    async with start(GATEWAY_DATABASE_URL=server.url) as running:
        workspace = await running.default_workspace()
        keys = [(await running.key(workspace))[1] for _ in range(3)]
        await asyncio.gather(*(running.admin.get("/admin/v1/workspaces") for _ in range(8)))
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(1.3)  # a sweep may have met the stop; the pause after it is over by now
        assert [(await running.chat(key)).status_code for key in keys] == [200, 200, 200]
        assert (await running.admin.post("/admin/v1/workspaces", json={"name": "more"})).status_code == 201


async def test_a_schema_of_the_next_release(start: Start, server: PostgresServer) -> None:
    """Once the next release has migrated, processes of this one stay ready and go on, until they are replaced."""
    async with start(GATEWAY_DATABASE_URL=server.url) as running:
        _, key = await running.key(await running.default_workspace())
        engine = running.gateway._engine
        async with writing(engine) as connection:
            await connection.execute(sa.text("ALTER TABLE api_keys ADD COLUMN owner text"))
            await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        assert (await running.chat(key)).status_code == 200
        assert (await running.client.get("/readyz")).status_code == 200
        assert (await running.key(await running.workspace()))[1] != key
        with pytest.raises(SchemaOutdated, match="newer than this program"):
            await check_revision(engine)


async def test_the_gateway_through_pgbouncer(start: Start, server: PostgresServer) -> None:
    """Migrated directly and served through PgBouncer in transaction mode: keys, changes, calls and the ledger work."""
    with PgBouncer(server.folder) as bouncer:
        settings = {
            "GATEWAY_DATABASE_URL": bouncer.url("gateway"),
            "GATEWAY_MIGRATE_DATABASE_URL": server.url,
            "GATEWAY_STORAGE_PGBOUNCER": "true",
            "GATEWAY_STORAGE_STATEMENT_SECONDS": "1",  # PgBouncer lets its clients wait for a server that is away
        }
        async with start(**settings) as running:
            workspace = await running.workspace()
            key_id, key = await running.key(workspace)
            assert (await running.chat(key)).status_code == 403
            grant = f"/admin/v1/workspaces/{workspace}/grants/{running.upstream.model}"
            assert (await running.admin.put(grant, json={"rpm": None, "tpm": None})).status_code in {200, 201}
            replies = await asyncio.gather(*(running.chat(key) for _ in range(20)))
            assert {reply.status_code for reply in replies} == {200}
            assert (await running.admin.delete(f"/admin/v1/api-keys/{key_id}")).status_code == 204
            assert (await running.chat(key)).status_code == 401
            async with asyncio.timeout(_BACK_SECONDS):
                while await ledger_of(running) < 20:
                    await asyncio.sleep(0.05)
            assert await ledger_of(running) == 20

            server.stop()
            assert (await running.admin.get("/admin/v1/workspaces")).status_code == 503
            server.start()
            reply = await once_back(lambda: running.admin.post("/admin/v1/workspaces", json={"name": "again"}))
            assert reply.status_code == 201
