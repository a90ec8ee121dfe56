"""From the streams to the database: each entry once, whatever dies in between."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from redis.asyncio import Redis

from gateway.domain.faults import StorageUnavailable
from gateway.domain.ledger import Entry
from gateway.storage.redis import consumer as stream_consumer
from gateway.storage.redis.address import Address
from gateway.storage.redis.consumer import StreamConsumer
from gateway.storage.redis.group import COUNT
from gateway.storage.redis.ledger import StreamLedger
from gateway.storage.redis.streams import Client, Streams
from gateway.storage.sql.engine import AsyncEngine, create_engine, writing
from gateway.storage.sql.entries import Stored, store
from gateway.storage.sql.migrate import upgrade
from gateway.storage.sql.tables import ledger as table
from tests.storage.redis.streams import add, calls, entries, held, messages, pending
from tests.storage.sql.rows import entry, rows
from tests.support.postgres_server import PostgresServer
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_server import RedisServer

ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""For what has nothing to do with which database it is."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(aof=True) as running:
        yield running


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    made = Address.of(server.url).client()
    assert isinstance(made, Redis)
    yield made
    await made.aclose()


@pytest.fixture
def streams() -> Streams:
    return Streams(4, most=50)


def _consumer(client: Client, streams: Streams, engine: AsyncEngine, **options: Any) -> StreamConsumer:
    given: dict[str, Any] = {"store": partial(store, engine), "idle_seconds": 0.2} | options
    return StreamConsumer(client, streams, **given)


async def _drain(consumer: StreamConsumer, *, turns: int = 3) -> None:
    """Turn until nothing has come for some turns on end."""
    quiet = 0
    async with asyncio.timeout(30):
        while quiet < turns:
            quiet = 0 if await consumer.turn() else quiet + 1


async def _until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.05)


def _ids(count: int) -> list[str]:
    return [f"{number:05}" for number in range(count)]


async def test_entries_arrive_once_and_the_streams_end_empty(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """What was added is stored, counted in the roll-ups, and then deleted; also what was there before the first member."""
    await add(client, streams, entries(1200))
    consumer = _consumer(client, streams, engine)
    await consumer.start()
    await add(client, streams, entries(300, first=1200))
    await _until(lambda: _empty(client, streams))
    await consumer.close()
    assert await calls(engine) == _ids(1500)
    assert await pending(client, streams) == 0
    assert (consumer.stored, consumer.claimed, consumer.dead, consumer.failures) == (1500, 0, 0, 0)


async def _empty(client: Redis, streams: Streams) -> bool:
    return await held(client, streams) == []


@ON_SQLITE
async def test_busy_streams_are_read_at_intervals(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """However many messages come one after the other, they are stored together, some ten times a second."""
    batches = 0

    async def counted(some: Sequence[Entry]) -> Stored:
        nonlocal batches
        batches += 1
        return await store(engine, some)

    consumer = _consumer(client, streams, engine, store=counted)
    await consumer.start()
    started = time.monotonic()
    for one in entries(200):
        await add(client, streams, [one])
        await asyncio.sleep(0.002)
    await _until(lambda: _empty(client, streams))
    assert batches <= (time.monotonic() - started) / 0.075 + 1
    await consumer.close()
    assert await calls(engine) == _ids(200)


@ON_SQLITE
async def test_a_long_stream_is_read_without_a_pause(
    client: Redis, streams: Streams, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a turn could not take is taken at once, so that what gathered in an outage is moved as fast as it can be."""
    monkeypatch.setattr(stream_consumer, "_POLL_SECONDS", 60.0)
    for one in entries(5 * COUNT):
        await add(client, streams, [one], number=2)
    consumer = _consumer(client, streams, engine)
    await consumer.turn()  # makes the groups
    await consumer.start()
    await _until(lambda: _empty(client, streams))
    await consumer.close()
    assert await calls(engine) == _ids(5 * COUNT)


async def test_a_repeated_delivery_counts_once(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """Entries that were sent twice, in other company and even to another stream, are stored and summed once."""
    some = entries(200)
    await add(client, streams, some)
    await add(client, streams, random.sample(some, 200))
    await add(client, streams, some[:50], number=3)
    consumer = _consumer(client, streams, engine)
    await _drain(consumer)
    assert await calls(engine) == _ids(200)
    assert consumer.stored == 200
    assert await held(client, streams) == []


async def test_a_member_killed_between_store_and_end(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """What a member had stored, but not ended, when it died is taken over by another, and not counted again."""

    async def store_and_die(some: Sequence[Entry]) -> Stored:
        await store(engine, some)
        raise asyncio.CancelledError

    await add(client, streams, entries(100))
    dying = _consumer(client, streams, engine, store=store_and_die)
    await client.flushall()
    await dying.turn()
    await add(client, streams, entries(100))
    with pytest.raises(asyncio.CancelledError):
        await dying.turn()
    assert await calls(engine) == _ids(100)
    assert len(await held(client, streams)) == 100
    assert await pending(client, streams) == 4
    other = _consumer(client, streams, engine, idle_seconds=600.0)
    await _drain(other)
    assert len(await held(client, streams)) == 100
    other._idle_ms, other._claim_at = 1, 0
    await asyncio.sleep(0.01)
    await _drain(other)
    assert await calls(engine) == _ids(100)
    assert (other.claimed, other.stored) == (4, 0)
    assert await held(client, streams) == []
    assert await pending(client, streams) == 0


async def test_several_members_at_once(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """However many processes share the work, and take over from each other all the time, each entry is stored once."""
    members = [_consumer(client, streams, engine, idle_seconds=0.001) for _ in range(3)]
    for member in members:
        await member.start()
    for first in range(0, 2000, 40):
        some = entries(40, first=first)
        await add(client, streams, some)
        await add(client, streams, some[::3])
    await _until(lambda: _empty(client, streams))
    for member in members:
        await member.close()
    assert await calls(engine) == _ids(2000)
    assert sum(member.stored for member in members) == 2000
    assert await pending(client, streams) == 0


@ON_SQLITE
async def test_nothing_is_deleted_before_it_is_stored(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """A member deletes what it has stored and nothing else: neither what another has read nor what came later."""
    slow = _consumer(client, streams, engine)
    quick = _consumer(client, streams, engine, idle_seconds=600.0)
    await slow.turn()
    await add(client, streams, entries(10))
    read = await slow.group.read([0, 1, 2, 3])
    await add(client, streams, entries(10, first=10))
    await _drain(quick)
    assert await calls(engine) == [f"{number:05}" for number in range(10, 20)]
    assert [one.call_id for one in await held(client, streams)] == _ids(10)
    await slow._move(read)
    assert await calls(engine) == _ids(20)
    assert await held(client, streams) == []


async def test_the_database_is_away_for_a_while(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """Entries wait in the streams, those that were read as well as new ones, and all are stored when it is back."""
    consumer = _consumer(client, streams, engine, idle_seconds=600.0)
    async with writing(engine) as conn:
        await conn.execute(sa.text("ALTER TABLE ledger RENAME TO elsewhere"))
    await add(client, streams, entries(100))
    await consumer.start()
    await _until(lambda: consumer.failures >= 2)
    await add(client, streams, entries(100, first=100))
    assert len(await held(client, streams)) == 200
    async with writing(engine) as conn:
        await conn.execute(sa.text("ALTER TABLE elsewhere RENAME TO ledger"))
    await _until(lambda: _empty(client, streams))
    await consumer.close()
    assert await calls(engine) == _ids(200)
    assert await pending(client, streams) == 0


@ON_SQLITE
@pytest.mark.parametrize("aof", [True, False])
async def test_redis_is_killed_and_back(streams: Streams, engine: AsyncEngine, *, aof: bool) -> None:
    """With its file Redis loses nothing. Without, it loses what was in the streams, and whatever comes later arrives."""
    with RedisServer(aof=aof) as server:
        client = Address.of(server.url).client()
        assert isinstance(client, Redis)
        consumer = _consumer(client, streams, engine)
        assert await consumer.group.read([0, 1, 2, 3]) == []
        await add(client, streams, entries(50))
        assert await consumer.group.read([0, 1, 2, 3])
        await add(client, streams, entries(50, first=50))
        server.kill()
        await consumer.start()
        await _until(lambda: consumer.failures >= 1)
        server.start()
        await add(client, streams, entries(50, first=100))
        await _until(lambda: _empty(client, streams))
        await consumer.close()
        assert await calls(engine) == (_ids(150) if aof else _ids(150)[100:])
        assert await pending(client, streams) == 0
        await client.aclose()


@ON_SQLITE
async def test_an_emptied_redis(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """The groups are made anew, and deliver what was added before they were."""
    consumer = _consumer(client, streams, engine)
    await _drain(consumer)
    await client.flushall()
    await add(client, streams, entries(30))
    await _drain(consumer)
    assert await calls(engine) == _ids(30)
    assert consumer.failures == 0


@ON_SQLITE
async def test_messages_that_cannot_be_read(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """They are put aside as they are, with the reason, and hold up nothing."""
    wrong: list[dict[Any, Any]] = [{b"e": b"\xc1"}, {b"f": b"1", b"g": b"2"}, {b"e": b"\x91\x81\xa1a\x01"}]
    for fields in wrong:
        await client.xadd(streams.names[1], fields)
    await add(client, streams, entries(10))
    consumer = _consumer(client, streams, engine)
    await _drain(consumer)
    assert await calls(engine) == _ids(10)
    dead = await messages(client, streams.dead(1))
    assert [{name: value for name, value in fields.items() if name != b"reason"} for fields in dead] == wrong
    assert all(fields[b"reason"] for fields in dead)
    assert consumer.dead == 3
    assert await held(client, streams) == []


async def test_entries_that_cannot_be_stored(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """An entry with a value that the database refuses is put aside by itself; those beside it are stored."""
    bad = entry(call_id="bad", account_id="acc-1", input_tokens=2**63)
    await add(client, streams, [*entries(10), bad])
    consumer = _consumer(client, streams, engine)
    await _drain(consumer)
    assert await calls(engine) == _ids(10)
    assert len(await messages(client, streams.dead(streams.of("acc-1")))) == consumer.dead == 1
    assert await held(client, streams) == []


@ON_SQLITE
async def test_members_that_are_gone(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """A member's name goes when it leaves, or died long ago with nothing pending; never while something is."""
    gone, dead, alive = (_consumer(client, streams, engine, dead_seconds=0.2, idle_seconds=30) for _ in range(3))
    for consumer in (gone, dead, alive):
        await add(client, streams, entries(10))
        await _drain(consumer)  # a member's name is known once it has read something
        if consumer is not alive:
            assert await _members(client, streams) == [(number, consumer.group.name) for number in range(4)]
        if consumer is gone:
            await gone.close()
            assert await _members(client, streams) == []
        if consumer is dead:
            await add(client, streams, entries(10))
            assert await dead.group.read([2])
            await asyncio.sleep(0.3)
    mine, its = alive.group.name, dead.group.name
    assert set(await _members(client, streams)) == {(0, mine), (1, mine), (2, its), (2, mine), (3, mine)}


async def _members(client: Redis, streams: Streams) -> list[tuple[int, str]]:
    """The members that each stream knows, by the stream's number."""
    found = []
    for number, name in enumerate(streams.names):
        members: Any = await client.xinfo_consumers(name, "gateway")
        found += [(number, member["name"].decode()) for member in members]
    return found


@ON_SQLITE
async def test_a_member_removed_while_it_reads(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """Should a member come back to life just when it is removed, what it had read is delivered to others."""
    slow, other = (_consumer(client, streams, engine) for _ in range(2))
    await slow.turn()
    await add(client, streams, entries(10))
    read = await slow.group.read([0, 1, 2, 3])
    assert read
    await other.group._remove([(number, slow.group.name.encode()) for number in range(4)])
    await _drain(other)
    assert await calls(engine) == _ids(10)
    await slow._move(read)
    assert await calls(engine) == _ids(10)
    assert await held(client, streams) == []


@ON_SQLITE
async def test_deleted_messages_do_not_stay_pending(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """A member that died between the deletion and its end leaves nothing behind that is looked at for ever."""
    dying, other = (_consumer(client, streams, engine) for _ in range(2))
    await dying.turn()
    await add(client, streams, entries(10))
    for message in await dying.group.read([0, 1, 2, 3]):
        await client.xdel(streams.names[message.stream], message.id)
    await asyncio.sleep(0.3)
    await _drain(other)
    assert await pending(client, streams) == 0
    assert (other.failures, other.dead, other.stored) == (0, 0, 0)


@ON_SQLITE
async def test_the_lengths_of_the_streams(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """While nobody can store anything the streams grow, and the numbers show it; they sink when it is over."""
    away = True

    async def perhaps(some: Sequence[Entry]) -> Stored:
        if away:
            raise StorageUnavailable("away")
        return await store(engine, some)

    consumer = _consumer(client, streams, engine, store=perhaps, sample_seconds=0.05)
    await consumer.start()
    number = streams.of("acc-1")
    for one in entries(60):
        await add(client, streams, [one], number=number)
    await _until(lambda: consumer.lag == 60)
    assert (streams.overfull, streams.crowded(number)) == (1, True)
    away = False
    await _until(lambda: consumer.lag == 0)
    assert streams.overfull == 0
    await consumer.close()
    assert await calls(engine) == _ids(60)


@ON_SQLITE
async def test_closing_moves_what_is_there(client: Redis, streams: Streams, engine: AsyncEngine) -> None:
    """A process that stops moves what it finds before it goes."""
    consumer = _consumer(client, streams, engine)
    await consumer.start()
    await asyncio.sleep(0.1)
    await add(client, streams, entries(1000))
    await consumer.close()
    assert await calls(engine) == _ids(1000)
    assert await held(client, streams) == []


@ON_SQLITE
async def test_closing_without_redis(client: Redis, streams: Streams, engine: AsyncEngine, server: RedisServer) -> None:
    """A process that stops while Redis is away does not wait for it for ever, and does not fail."""
    consumer = _consumer(client, streams, engine, close_seconds=0.5)
    await consumer.start()
    await asyncio.sleep(0.1)
    server.kill()
    async with asyncio.timeout(5):
        await consumer.close()


async def test_a_cluster(tmp_path: Path) -> None:
    """The streams are spread over the nodes. While one master is away the others' entries arrive, and its own afterwards."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}"
    await asyncio.to_thread(upgrade, url)
    engine = create_engine(url)
    streams = Streams(16)
    with RedisCluster(aof=True) as cluster:
        client = Address.of(cluster.url).client()
        ledger = StreamLedger(client, streams, _never, patience_seconds=60)
        consumer = _consumer(client, streams, engine)
        await ledger.start()
        await consumer.start()
        for one in entries(300):
            ledger.append(one)
        await ledger.acknowledged()
        assert len(streams.lanes(client)) == 3
        cluster.kill(cluster.masters()[0])
        for one in entries(300, first=300):
            ledger.append(one)
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await ledger.acknowledged()
        await _until(lambda: _stored(engine, 600))
        await ledger.close()
        await consumer.close()
        assert await calls(engine) == _ids(600)
        assert ledger.lost == 0
        await client.aclose()
    await engine.dispose()


async def _never(some: Sequence[Entry]) -> Stored:
    raise StorageUnavailable("not in this test")


async def _stored(engine: AsyncEngine, count: int) -> bool:
    return len(await rows(engine, table, "call_id")) >= count


@pytest.mark.xdist_group("postgres")
def test_postgresql_is_stopped_and_back(server: RedisServer) -> None:
    """A real server that is away: no entry is lost, none is doubled, and nothing needs a restart."""
    with PostgresServer() as postgres:
        upgrade(postgres.url)
        asyncio.run(_through_an_outage(server, postgres))


async def _through_an_outage(server: RedisServer, postgres: PostgresServer) -> None:
    streams = Streams(4)
    client = Address.of(server.url).client()
    engine = create_engine(postgres.url)
    ledger = StreamLedger(client, streams, partial(store, engine))
    consumer = _consumer(client, streams, engine)
    await ledger.start()
    await consumer.start()
    for number, one in enumerate(entries(600)):
        ledger.append(one)
        await asyncio.sleep(0.002)
        if number == 200:
            await asyncio.to_thread(postgres.stop, "immediate")
        if number == 400:
            await asyncio.to_thread(postgres.start)
    await ledger.close()
    await _until(lambda: _stored(engine, 600))
    await consumer.close()
    assert await calls(engine) == _ids(600)
    assert consumer.failures >= 1
    assert (ledger.lost, ledger.direct) == (0, 0)
    await client.aclose()
    await engine.dispose()
