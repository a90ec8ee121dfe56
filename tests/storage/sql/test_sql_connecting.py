"""Connections to PostgreSQL: when one is opened, and what is done about one that broke."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.dataplane.authenticate import Keys
from gateway.domain.faults import KeyStoreUnavailable, StorageUnavailable
from gateway.storage.sql.engine import AsyncConnection, AsyncEngine, create_engine, read, reading, writing
from gateway.storage.sql.postgres import Connector, NotTriedYet
from gateway.storage.sql.principals import SqlKeyStore
from tests.storage.sql.rows import add_account, add_key, add_workspace

postgres_only = pytest.mark.parametrize(
    "url", [pytest.param("postgresql", marks=pytest.mark.xdist_group("postgres"))], indirect=True
)


class Server:
    """What connects: it fails while `away`, and counts how often and how many at once it is asked."""

    def __init__(self) -> None:
        self.away = True
        self.asked = self.under_way = self.most = 0

    async def connect(self, *_args: Any, **_kwargs: Any) -> object:
        self.asked += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if self.away:
            raise ConnectionRefusedError("nobody there")
        return object()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def refused(connector: Connector) -> str:
    """The kind of error that a connection is refused with."""
    with pytest.raises(OSError, match="nobody there") as caught:
        await connector()
    return type(caught.value).__name__


async def test_a_server_that_is_away_is_asked_once() -> None:
    """However many wait for a connection, one asks; the others get its answer at once and do not storm the server."""
    server = Server()
    connector = Connector(connect=server.connect, clock=Clock())
    kinds = await asyncio.gather(*(refused(connector) for _ in range(50)))
    assert server.asked == 1
    assert kinds.count("NotTriedYet") == 49


async def test_the_pauses_between_tries_grow_and_spread() -> None:
    """The pauses double to a second; each is drawn between half and whole, so that processes do not come back in step."""
    server, clock = Server(), Clock()
    asked: list[tuple[float, float]] = []

    def spread(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.75

    connector = Connector(connect=server.connect, clock=clock, spread=spread)
    pauses = []
    for _ in range(8):
        await refused(connector)
        started = clock.now
        while await refused(connector) == "NotTriedYet":
            clock.now += 0.0125
        pauses.append(round(clock.now - started, 4))
        clock.now += 10
    assert pauses[0] < pauses[2] < pauses[-1] <= 0.7625
    assert set(asked) == {(0.5, 1.0)}


async def test_a_server_that_is_back_is_noticed() -> None:
    """After the pause the next connection succeeds, and from then on there is no pause; they are opened one at a time."""
    server, clock = Server(), Clock()
    connector = Connector(connect=server.connect, clock=clock)
    await refused(connector)
    server.away = False
    with pytest.raises(NotTriedYet):
        await connector()
    clock.now = 1.0
    assert len(await asyncio.gather(*(connector() for _ in range(20)))) == 20
    assert server.most == 1


@postgres_only
async def test_a_read_whose_connection_breaks_is_repeated(engine: AsyncEngine) -> None:
    """A connection that is closed in the middle of a read costs nobody an answer."""
    turns = 0

    async def work(connection: AsyncConnection) -> int:
        nonlocal turns
        turns += 1
        if turns == 1:
            await connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return int((await connection.execute(sa.text("SELECT 7"))).scalar_one())

    assert await read(engine, work) == 7
    assert turns == 2


@postgres_only
async def test_a_read_that_breaks_twice_is_given_up(engine: AsyncEngine) -> None:
    """A read is repeated once and no more, and one that took too long is not repeated at all."""
    turns = 0

    async def break_off(connection: AsyncConnection) -> None:
        nonlocal turns
        turns += 1
        await connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        await connection.execute(sa.select(1))

    with pytest.raises(KeyStoreUnavailable):
        await read(engine, break_off)
    assert turns == 2

    async def sleep(connection: AsyncConnection) -> None:
        nonlocal turns
        turns += 1
        await connection.execute(sa.text("SET statement_timeout = 10"))
        await connection.execute(sa.select(sa.func.pg_sleep(30)))

    with pytest.raises(KeyStoreUnavailable, match="statement timeout"):
        await read(engine, sleep)
    assert turns == 3


@postgres_only
async def test_the_pool_is_bounded(url: str) -> None:
    """A process never has more connections than it was given; who waits too long for one is told that the database is away."""
    engine = create_engine(url, pool_size=2, connect_seconds=0.1)
    async with reading(engine), reading(engine):
        with pytest.raises(StorageUnavailable):
            async with writing(engine):
                pytest.fail("there must be no third connection")
    async with writing(engine) as connection:
        await add_account(connection, "acc-1")
    await engine.dispose()


class NewEnough:
    """A catalogue that is as new as anybody asks."""

    async def at_least(self, _version: int) -> None:
        return


@postgres_only
async def test_processes_that_start_cold_do_not_storm_the_database(url: str, engine: AsyncEngine) -> None:
    """Eight empty key caches that are asked for 100 keys at once, thrice each, open a connection and send two statements each."""
    digests = [b"%032d" % number for number in range(100)]
    async with writing(engine) as connection:
        await add_account(connection, "acc-1")
        await add_workspace(connection, "acc-1", "llm-1", is_default=True)
        for digest in digests:
            await add_key(connection, "acc-1", "llm-1", digest)
    engines = [create_engine(url) for _ in range(8)]
    catalogue: Any = NewEnough()
    caches = [
        Keys(SqlKeyStore(each), catalogue, pepper=b"", max_keys=1000, miss_seconds=5, clock=lambda: 0.0) for each in engines
    ]
    found = await asyncio.gather(*(cache.find(digest) for cache in caches for digest in 3 * digests))
    assert {principal.account_id for principal in found} == {"acc-1"}
    assert all(cache.reads <= 2 for cache in caches)
    count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    async with reading(engine) as connection:
        assert (await connection.execute(count)).scalar_one() == 8
    for each in engines:
        await each.dispose()
