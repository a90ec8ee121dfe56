"""Transactions, and how a database that is away shows."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.domain.faults import KeyStoreUnavailable, StorageUnavailable
from gateway.storage.sql.engine import AsyncEngine, create_engine, reading, writing
from gateway.storage.sql.tables import accounts, meta
from tests.storage.sql.rows import add_account, add_workspace, rows

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
postgres_only = pytest.mark.parametrize(
    "url", [pytest.param("postgresql", marks=pytest.mark.xdist_group("postgres"))], indirect=True
)


async def _pragma(engine: AsyncEngine, name: str) -> object:
    async with reading(engine) as conn:
        return (await conn.execute(sa.text(f"PRAGMA {name}"))).scalar_one()


@sqlite_only
async def test_how_sqlite_is_opened(engine: AsyncEngine) -> None:
    """Every connection checks foreign keys, waits for other writers, and lets readers and a writer work side by side."""
    found = [await _pragma(engine, name) for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")]
    assert found == ["wal", 1, 5000, 2]


async def test_what_a_block_writes_stands_or_falls_together(engine: AsyncEngine) -> None:
    """A write transaction commits at its end and leaves nothing when it raises; wrong data is not taken for a lost database."""
    async with writing(engine) as conn:
        await add_account(conn, "acc-1")

    async def write_nonsense() -> None:
        async with writing(engine) as conn:
            await add_account(conn, "acc-2")
            await add_workspace(conn, "acc-none", "llm-1")

    with pytest.raises(sa.exc.IntegrityError):
        await write_nonsense()
    assert await rows(engine, accounts, "id") == [("acc-1",)]


async def test_writers_that_read_first(url: str) -> None:
    """What a write transaction reads still holds when it writes, and no writer is refused because another was quicker."""
    engines = [create_engine(url) for _ in range(3)]
    async with writing(engines[0]) as conn:
        await add_account(conn, "acc-1", epoch=0)

    async def count_up(engine: AsyncEngine) -> None:
        for _ in range(10):
            async with writing(engine) as conn:
                query = sa.select(accounts.c.epoch).with_for_update()
                epoch = (await conn.execute(query)).scalar_one()
                await asyncio.sleep(0)
                await conn.execute(sa.update(accounts).values(epoch=epoch + 1))

    await asyncio.gather(*(count_up(engine) for engine in engines))
    assert await rows(engines[0], accounts, "epoch") == [(30,)]
    for engine in engines:
        await engine.dispose()


@sqlite_only
async def test_readers_do_not_wait_for_a_writer(engine: AsyncEngine) -> None:
    """A long write transaction holds up no key look-up, and shows it nothing that is not committed."""
    async with writing(engine) as conn:
        await add_account(conn, "acc-1")
        assert await rows(engine, accounts, "id") == []


@sqlite_only
async def test_a_locked_file_is_unavailable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that keeps the file locked gives StorageUnavailable for writes, without the statement in its text."""
    monkeypatch.setattr("gateway.storage.sql.engine._LOCK_SECONDS", 0.05)
    engine = create_engine(url)
    other = sqlite3.connect(url.removeprefix("sqlite+aiosqlite:///"), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageUnavailable, match=r"^OperationalError: database is locked$"):
        async with writing(engine) as conn:
            await add_account(conn, "acc-1")
    other.execute("ROLLBACK")
    other.close()
    async with writing(engine) as conn:
        await add_account(conn, "acc-1")
    await engine.dispose()


@sqlite_only
async def test_a_writer_inside_a_writer_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write transaction opened within another by mistake fails soon, instead of standing still for ever."""
    monkeypatch.setattr("gateway.storage.sql.engine._LOCK_SECONDS", 0.05)
    engine = create_engine(url)
    with pytest.raises(StorageUnavailable):
        async with writing(engine), writing(engine):
            pytest.fail("the inner block must not be entered")
    async with writing(engine) as conn:
        await add_account(conn, "acc-1")
    await engine.dispose()


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A damaged file is a database that is away, not a crash."""
    path = tmp_path / "gateway.db"
    path.write_bytes(b"nothing of the kind " * 1000)
    engine = create_engine(f"sqlite+aiosqlite:///{path}")
    with pytest.raises(KeyStoreUnavailable):
        await rows(engine, accounts, "id")
    await engine.dispose()


async def test_a_server_that_is_not_there() -> None:
    """A refused connection is KeyStoreUnavailable for a reader and StorageUnavailable for a writer."""
    engine = create_engine("postgresql+asyncpg://postgres@127.0.0.1:1/gateway")
    with pytest.raises(KeyStoreUnavailable):
        await rows(engine, accounts, "id")
    with pytest.raises(StorageUnavailable) as caught:
        async with writing(engine):
            pytest.fail("the block must not be entered")
    assert not isinstance(caught.value, KeyStoreUnavailable)
    await engine.dispose()


@postgres_only
async def test_a_statement_that_takes_too_long(url: str) -> None:
    """A statement past its time is broken off by the server, and counts as a database that is away."""
    engine = create_engine(url, statement_seconds=0.1)
    with pytest.raises(KeyStoreUnavailable, match="statement timeout"):
        async with reading(engine) as conn:
            await conn.execute(sa.select(sa.func.pg_sleep(30)))
    assert await rows(engine, meta, "name") == []
    await engine.dispose()


@postgres_only
async def test_connections_that_the_server_closed(engine: AsyncEngine) -> None:
    """After a restart of the server, calls get fresh connections instead of one error for each old one."""
    async with reading(engine) as first, reading(engine) as second:
        for conn in (first, second):
            await conn.execute(sa.select(1))
    killer = create_engine(engine.url.render_as_string(hide_password=False))
    async with reading(killer) as conn:
        closed = sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert len((await conn.execute(closed)).all()) == 2
        async with asyncio.timeout(10):
            while (await conn.execute(closed)).all():  # asked to end, they need a moment
                await asyncio.sleep(0.02)
    await asyncio.sleep(0.05)
    await killer.dispose()
    assert await rows(engine, meta, "name") == []


@postgres_only
async def test_a_connection_that_breaks_inside_a_transaction(engine: AsyncEngine) -> None:
    """A connection that breaks in mid-transaction is StorageUnavailable, and saves nothing."""

    async def break_off() -> None:
        async with writing(engine) as conn:
            await add_account(conn, "acc-1")
            await conn.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
            await add_account(conn, "acc-2")

    with pytest.raises(StorageUnavailable):
        await break_off()
    assert await rows(engine, accounts, "id") == []
