"""The ledger's way out of the process: nothing is lost while Redis or the database is up."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway.domain.faults import StorageUnavailable
from gateway.domain.ledger import Entry
from gateway.storage.redis import ledger as stream_ledger
from gateway.storage.redis.address import Address
from gateway.storage.redis.ledger import StreamLedger
from gateway.storage.redis.streams import Streams, decode
from gateway.storage.sql.entries import Stored
from tests.storage.redis.streams import entries, held, messages
from tests.support.redis_server import RedisServer


class Database:
    """Stores in a list, or fails while it is `away`; it refuses calls that are named so."""

    def __init__(self) -> None:
        self.rows: dict[str, Entry] = {}
        self.away = False

    async def store(self, some: Sequence[Entry]) -> Stored:
        await asyncio.sleep(0)
        if self.away:
            raise StorageUnavailable("away")
        before = len(self.rows)
        self.rows = {one.call_id: one for one in some if one.outcome != "refused"} | self.rows
        return Stored(len(self.rows) - before, [one for one in some if one.outcome == "refused"])


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


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def ledger(client: Redis, streams: Streams, database: Database) -> AsyncIterator[StreamLedger]:
    made = StreamLedger(client, streams, database.store, timeout_seconds=0.3, patience_seconds=0.5, close_seconds=0.5)
    await made.start()
    yield made
    await made.close()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_turn_leaves_together(ledger: StreamLedger, client: Redis, streams: Streams) -> None:
    """Entries of one turn are one message for each stream, whatever account they are of, and arrive as they were."""
    some = entries(100)
    for one in some:
        ledger.append(one)
    assert ledger.waiting == 100
    await ledger.acknowledged()
    assert await held(client, streams) == some
    lengths = [len(await messages(client, name)) for name in streams.names]
    assert max(lengths) == 1
    assert sum(lengths) == len({streams.of(one.account_id) for one in some})
    assert (ledger.written, ledger.waiting, ledger.lost, ledger.failures, ledger.direct) == (100, 0, 0, 0, 0)


async def test_an_account_has_one_stream(streams: Streams) -> None:
    """All processes agree on an account's stream, and the accounts are spread over all of them."""
    assert [streams.of(f"acc-{number}") for number in range(4)] == [Streams(4).of(f"acc-{number}") for number in range(4)]
    assert {streams.of(f"acc-{number}") for number in range(100)} == {0, 1, 2, 3}


async def test_more_than_one_batch(
    ledger: StreamLedger, client: Redis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many entries one turn brings, all of them arrive, as fast as those before them do."""
    monkeypatch.setattr(stream_ledger, "_GATHER_SECONDS", 60.0)
    for one in entries(5000):
        ledger.append(one)
    async with asyncio.timeout(20):
        await ledger.acknowledged()
    assert [one.call_id for one in await held(client, streams)] == [f"{number:05}" for number in range(5000)]


async def test_turns_that_follow_each_other_leave_together(
    ledger: StreamLedger, client: Redis, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first entry leaves at once; those of the time after it gather, and leave as soon as somebody waits for them."""
    monkeypatch.setattr(stream_ledger, "_GATHER_SECONDS", 1.5)
    some = [replace(one, account_id="acc-1") for one in entries(8)]
    ledger.append(some[0])
    await asyncio.sleep(0)  # now it is on its way
    for one in some[1:5]:
        ledger.append(one)
        await asyncio.sleep(0.01)
    assert ledger.written == 1
    assert await held(client, streams) == some[:1]
    async with asyncio.timeout(1):
        await ledger.acknowledged()
    for one in some[5:]:
        ledger.append(one)
        await asyncio.sleep(0.01)
    assert await held(client, streams) == some[:5]
    await _until(lambda: ledger.written == 8)
    found = await messages(client, streams.names[streams.of("acc-1")])
    assert [decode(fields) for fields in found] == [some[:1], some[1:5], some[5:]]


async def test_redis_hangs_for_a_while(ledger: StreamLedger, client: Redis, streams: Streams, server: RedisServer) -> None:
    """What is not acknowledged is sent again; what arrived twice by that is the consumer's to tell."""
    server.hang()
    ledger.append(entries(1)[0])
    acknowledged = asyncio.create_task(ledger.acknowledged())
    await _until(lambda: ledger.failures >= 1)
    assert not acknowledged.done()
    server.resume()
    await acknowledged
    assert {one.call_id for one in await held(client, streams)} == {"00000"}
    assert (ledger.waiting, ledger.lost, ledger.direct) == (0, 0, 0)


async def test_redis_is_away_and_back(
    ledger: StreamLedger, client: Redis, server: RedisServer, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Entries go straight to the database once Redis has been away for long enough, and to Redis again when it is back."""
    caplog.set_level(logging.INFO)
    streams = ledger.streams
    server.kill()
    for one in entries(20):
        ledger.append(one)
        await asyncio.sleep(0)
    await ledger.acknowledged()
    assert len(database.rows) == ledger.direct == ledger.written == 20
    ledger.append(entries(1, first=20)[0])
    await ledger.acknowledged()
    server.start()
    number = 21
    async with asyncio.timeout(20):
        while not await held(client, streams):
            ledger.append(entries(1, first=number)[0])
            number += 1
            await ledger.acknowledged()
            await asyncio.sleep(0.05)
    stored = {*database.rows, *(one.call_id for one in await held(client, streams))}
    assert stored == {f"{n:05}" for n in range(number)}
    assert ledger.lost == 0
    said = [record.message for record in caplog.records if record.name.endswith("redis.ledger")]
    assert len(said) == 2
    assert said[1] == "Redis takes ledger entries again"


async def test_redis_is_full(ledger: StreamLedger, client: Redis, database: Database) -> None:
    """A Redis that is out of memory refuses entries; they go to the database."""
    await client.config_set("maxmemory", "1")
    ledger.append(entries(1)[0])
    await ledger.acknowledged()
    assert list(database.rows) == ["00000"]


async def test_both_are_away(
    client: Redis, streams: Streams, server: RedisServer, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory is bounded: the oldest of those that wait are lost, counted and told of once; a stop does not wait for ever."""
    ledger = StreamLedger(
        client, streams, database.store, capacity=100, timeout_seconds=0.2, patience_seconds=0, close_seconds=0.2
    )
    server.kill()
    database.away = True
    for one in entries(2500):
        ledger.append(one)
        if one.call_id == "01999":
            await _until(lambda: ledger.failures >= 4)
            assert ledger.waiting == 100
    assert ledger.waiting + ledger.lost == 2500
    await ledger.close()
    assert (ledger.lost, ledger.waiting, ledger.written) == (2500, 0, 0)
    assert sum("the oldest are lost" in record.message for record in caplog.records) == 1
    await ledger.acknowledged()


async def test_a_crowded_stream_is_passed_by(ledger: StreamLedger, client: Redis, streams: Streams, database: Database) -> None:
    """While a stream is too long its entries go to the database, and wait here should that be away."""
    streams.lengths[streams.of("acc-1")] = 51
    assert streams.overfull == 1
    crowded = replace(entries(1)[0], account_id="acc-1")
    ledger.append(crowded)
    await ledger.acknowledged()
    assert list(database.rows) == ["00000"]
    database.away = True
    ledger.append(replace(crowded, call_id="later"))
    await _until(lambda: ledger.failures >= 3)
    assert await held(client, streams) == []
    database.away = False
    await ledger.acknowledged()
    assert set(database.rows) == {"later", "00000"}
    streams.lengths[streams.of("acc-1")] = 50
    ledger.append(replace(crowded, call_id="last"))
    await ledger.acknowledged()
    assert [one.call_id for one in await held(client, streams)] == ["last"]


async def test_a_crowded_stream_is_better_than_a_loss(client: Redis, streams: Streams, database: Database) -> None:
    """Entries that would be lost otherwise go to a crowded stream all the same."""
    ledger = StreamLedger(client, streams, database.store, capacity=600)
    streams.lengths = [51] * 4
    database.away = True
    for turn in range(50):
        for one in entries(20, first=20 * turn):
            ledger.append(one)
        await asyncio.sleep(0.04)
    assert ledger.lost == 0
    database.away = False
    await ledger.close()
    stored = {*database.rows, *(one.call_id for one in await held(client, streams))}
    assert len(stored) == 1000


async def test_what_no_message_can_hold(ledger: StreamLedger, client: Redis, streams: Streams) -> None:
    """An entry that cannot be written down is lost by itself, counted, and told of."""
    some = entries(10)
    for one in [*some[:3], replace(some[3], model="\ud800"), replace(some[4], account_id="\ud800"), *some[5:]]:
        ledger.append(one)
    await ledger.acknowledged()
    assert await held(client, streams) == some[:3] + some[5:]
    assert (ledger.lost, ledger.written) == (2, 8)


async def test_the_database_refuses_a_value(ledger: StreamLedger, server: RedisServer, database: Database) -> None:
    """An entry that went to the database and was refused there is counted as lost, and not tried for ever."""
    server.kill()
    for one in (*entries(2), entries(3)[2]):
        ledger.append(replace(one, outcome="refused") if one.call_id == "00001" else one)
    await ledger.acknowledged()
    assert (ledger.lost, ledger.written) == (1, 2)


async def test_acknowledged_waits_for_what_came_before_alone(client: Redis, streams: Streams, server: RedisServer) -> None:
    """Whoever waits for an entry is not held up by those that come after it."""
    ledger = StreamLedger(client, streams, Database().store)
    ledger.append(entries(1)[0])
    await ledger.acknowledged()
    server.hang()
    waiting = asyncio.create_task(ledger.acknowledged())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ledger.append(entries(2)[1])
    async with asyncio.timeout(5):
        await waiting
    assert ledger.waiting == 1
    server.resume()
    await ledger.close()
    assert ledger.written == 2
