"""Items in one turn of the event loop become few script calls, each answered to its own caller."""

import asyncio

import pytest

from gateway.domain.faults import LimitsUnavailable
from gateway.storage.redis.address import Address
from gateway.storage.redis.store import Store
from tests.storage.redis.redis_scripts import ECHO, eventually, opened
from tests.support.redis_server import RedisServer


async def test_one_turn_is_one_call(redis_server: RedisServer) -> None:
    """All admissions of one turn, of whichever accounts, go out in one script call, and each caller gets its own answer."""
    async with opened(redis_server.url) as store:
        before = (await store.ask("a", "x"))[3]
        answers = await asyncio.gather(*(store.ask(f"account-{i}", ["item", i]) for i in range(40)))
        assert [answer[0] for answer in answers] == [["item", i] for i in range(40)]
        assert {answer[2] for answer in answers} == {40}
        assert {answer[3] for answer in answers} == {before + 1}
        assert {answer[1] for answer in answers} == {redis_server.ask("INFO", "server")["run_id"]}


async def test_a_large_turn_is_split(redis_server: RedisServer) -> None:
    """No call carries more than 64 items; the order stays."""
    async with opened(redis_server.url) as store:
        answers = await asyncio.gather(*(store.ask("a", i) for i in range(300)))
        assert [answer[0] for answer in answers] == list(range(300))
        assert [answer[2] for answer in answers] == [64] * 256 + [44] * 44
        (node,) = store.nodes()
        assert (node.batches, node.items, node.failures) == (5, 300, 0)
        assert node.seconds > 0
        sizes, times = store.batches.items, store.batches.seconds
        assert (sizes.count, sizes.sum, sizes.counts[sizes.bounds.index(64)]) == (5, 300, 5)
        assert (times.count, times.sum) == (5, node.seconds)


async def test_at_most_four_calls_are_under_way(redis_server: RedisServer) -> None:
    """While a server does not answer, four batches are on the wire and the rest waits; then all are answered in order."""
    async with opened(redis_server.url, deadline_seconds=20) as store:
        redis_server.hang()
        futures = [store.ask("a", i) for i in range(64 * 7)]
        await asyncio.sleep(0.05)
        (node,) = store.nodes()
        assert (node.in_flight, node.queued) == (4, 64 * 3)
        redis_server.resume()
        assert [answer[0] for answer in await asyncio.gather(*futures)] == list(range(64 * 7))


async def test_rides_go_behind_admissions(redis_server: RedisServer) -> None:
    """A settlement goes in the same call as the next admissions, behind them; without any, it goes by itself."""
    async with opened(redis_server.url, ride_seconds=30) as store:
        ride = store.ride("a", "settled")
        await asyncio.sleep(0.05)
        assert not ride.done()
        asked = await store.ask("b", "admitted")
        assert asked[2] == 2
        assert (await ride)[3] == asked[3]
    async with opened(redis_server.url) as store:
        assert (await store.ride("a", "settled"))[:1] == ["settled"]


async def test_overdue_rides_are_not_starved(redis_server: RedisServer) -> None:
    """However many admissions wait, some room of each batch goes to settlements that have waited long enough."""
    async with opened(redis_server.url, deadline_seconds=20, ride_seconds=0.001) as store:
        redis_server.hang()
        asks = [store.ask("a", i) for i in range(64 * 12)]
        await asyncio.sleep(0)
        ride = store.ride("a", "settled")
        await asyncio.sleep(0.05)
        redis_server.resume()
        settled = (await ride)[3]
        assert settled < (await asyncio.gather(*asks))[-1][3]


async def test_a_cancelled_caller_costs_nothing(redis_server: RedisServer) -> None:
    """An item whose caller gave up is not sent, if it was not yet; one that was sent harms nobody."""
    async with opened(redis_server.url, deadline_seconds=20) as store:
        first, second, third = (store.ask("a", i) for i in range(3))
        second.cancel()
        assert (await first)[2] == 2
        assert (await third)[0] == 2
        redis_server.hang()
        sent, other = store.ask("a", "sent"), store.ask("a", "other")
        await asyncio.sleep(0.02)
        sent.cancel()
        redis_server.resume()
        assert (await other)[0] == "other"


async def test_an_item_that_cannot_be_packed_fails_alone(redis_server: RedisServer) -> None:
    """What msgpack cannot pack fails for its caller; the others of its batch are answered."""
    async with opened(redis_server.url) as store:
        good, bad, better = store.ask("a", 1), store.ask("a", object()), store.ask("a", 2)
        with pytest.raises(TypeError):
            await bad
        assert [(await good)[0], (await better)[0]] == [1, 2]
        with pytest.raises(TypeError):
            await store.ask("a", object())


async def test_the_queue_of_rides_is_bounded(redis_server: RedisServer) -> None:
    """Settlements beyond the bound fail at once and are counted; the others are sent, also after an outage."""
    async with opened(redis_server.url, ride_limit=100, ride_seconds=30) as store:
        rides = [store.ride("a", i) for i in range(103)]
        assert [ride.done() for ride in rides] == [False] * 100 + [True] * 3
        with pytest.raises(LimitsUnavailable, match="100 settlements wait already"):
            await rides[-1]
        assert store.nodes()[0].turned_away == 3
        await store.ask("a", "go")
        await store.ask("a", "go")
        assert [(await ride)[0] for ride in rides[:100]] == list(range(100))


async def test_closing_sends_what_waits(redis_server: RedisServer) -> None:
    """What was handed in before the end is sent; what comes later fails."""
    store = Store(Address.of(redis_server.url), ECHO, ride_seconds=0.05)
    await store.open()
    await eventually(lambda: store.nodes()[0].up, "the store to connect")
    ride = store.ride("a", "last")
    await store.close()
    assert (await ride)[0] == "last"
    with pytest.raises(LimitsUnavailable, match="the gateway stops"):
        await store.ask("a", "later")
    with pytest.raises(LimitsUnavailable, match="the gateway stops"):
        await store.ride("a", "later")
