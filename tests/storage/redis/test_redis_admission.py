"""Admission through Redis, and without it: real servers that hang, die and come back."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis

from gateway.domain.admission import Answer, Ask, Decision, Levels
from gateway.domain.buckets import Claim, Kind, Level
from gateway.domain.faults import KeyStoreUnavailable, LimitsUnavailable
from gateway.storage import failover
from gateway.storage.failover import SharedAdmissions, WhenUnavailable
from gateway.storage.memory.admission import MemoryAdmissions
from gateway.storage.redis import script
from gateway.storage.redis.address import Address
from gateway.storage.redis.admission import RedisAdmissions
from gateway.storage.redis.store import Store
from tests.support.redis_server import RedisServer

REQUESTS = Claim(Level.ACCOUNT, Kind.REQUESTS, "acc", "m", 60, 60, 1)
TOKENS = Claim(Level.ACCOUNT, Kind.TOKENS, "acc", "m", 600, 600, 100)


class Process:
    """One gateway process's way to limits; `database` is the epoch of the account "acc" as the database has it."""

    def __init__(self, url: str, *, mode: WhenUnavailable = "local", hold: float = 0.0) -> None:
        self.store = Store(Address.of(url), script.SOURCE)
        self.redis = RedisAdmissions(self.store, lease_us=60_000_000, hold_seconds=hold, clock=time.monotonic)
        self.processes = 1
        self.database: int | None = 1
        self.database_away = False
        self.limits = SharedAdmissions(
            self.redis,
            MemoryAdmissions(clock=lambda: time.monotonic_ns() // 1000, lease_us=60_000_000),
            self.store,
            epoch_of=self._epoch,
            processes=lambda: self.processes,
            when_unavailable=mode,
            clock=time.monotonic,
        )
        self._ids = itertools.count(1)

    async def _epoch(self, _account: str) -> int | None:
        if self.database_away:
            raise KeyStoreUnavailable("the database is away")
        return self.database

    def ask(self, *claims: Claim, epoch: int = 1, nonce: str = "") -> Ask:
        return Ask(f"{id(self)}-{next(self._ids)}", "acc", epoch, claims, nonce)

    async def call(self, *claims: Claim, epoch: int = 1) -> tuple[Ask, Decision]:
        """Ask as the data plane does: a stale answer has the principal read again, which is of `epoch`."""
        ask = self.ask(*claims, epoch=epoch)
        decision = await self.limits.admit(ask)
        if decision.answer is Answer.STALE and decision.nonce:
            decision = await self.limits.admit(Ask(ask.call_id, "acc", epoch, claims, decision.nonce))
        return ask, decision

    async def recovered(self) -> None:
        async with asyncio.timeout(10):
            while not self.store.available("acc"):
                await asyncio.sleep(0.02)


@asynccontextmanager
async def process(url: str, *, mode: WhenUnavailable = "local", hold: float = 0.0) -> AsyncIterator[Process]:
    one = Process(url, mode=mode, hold=hold)
    await one.store.open()
    one.redis.start()
    try:
        await one.recovered()
        yield one
    finally:
        await one.redis.close()
        await one.store.close()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def test_what_is_reserved_is_settled_once(server: RedisServer) -> None:
    """Reserved, settled and given back add up; a second settlement does nothing."""
    async with process(server.url) as one:
        ask, decision = await one.call(REQUESTS, TOKENS)
        assert decision.answer is Answer.ADMITTED
        assert [gauge.remaining for gauge in decision.gauges] == [59, 500]
        one.limits.settle("acc", ask.call_id, 30)
        one.limits.settle("acc", ask.call_id, 99)
        await asyncio.sleep(0.05)
        _, decision = await one.call(REQUESTS, TOKENS)
        assert decision.gauges[1].remaining in (470, 471)
        await one.redis._look_at_sums()
        sums = one.limits.conservation()
        assert (sums.reserved, sums.settled, sums.given_back, sums.live, sums.imbalance) == (200, 30, 70, 100, 0)


async def test_two_processes_hold_one_limit(server: RedisServer) -> None:
    """Calls of two processes at once are admitted as often as the limit allows together."""
    async with process(server.url) as one, process(server.url) as two:
        await one.call()
        found = await asyncio.gather(*(each.limits.admit(each.ask(REQUESTS)) for each in (one, two) for _ in range(60)))
        admitted = [each for each in found if each.answer is Answer.ADMITTED]
        last = max(each.decided_at for each in found)
        first = min(each.decided_at for each in found)
        assert len(admitted) == 60 + (last - first) // 1_000_000


async def test_a_raise_by_one_process_makes_the_other_stale(server: RedisServer) -> None:
    """A change that one process acknowledged holds for the very next call of another."""
    async with process(server.url) as one, process(server.url) as two:
        assert (await one.call())[1].answer is Answer.ADMITTED
        ask, _ = await two.call(TOKENS)
        await one.limits.raise_epochs({"acc": 2})
        assert (await two.call(TOKENS))[1].answer is Answer.STALE
        assert await two.limits.renew([("acc", ask.call_id, 1)]) == [ask.call_id]
        assert (await two.call(TOKENS, epoch=2))[1].answer is Answer.ADMITTED
        assert await two.limits.renew([("acc", ask.call_id, 2)]) == []


async def test_a_server_that_came_back_empty_is_asked_anew(server: RedisServer) -> None:
    """Nothing that was read before the loss is believed after it, and all of it works again without a restart."""
    async with process(server.url) as one:
        assert (await one.call(REQUESTS))[1].answer is Answer.ADMITTED
        server.kill()
        server.start()
        await one.recovered()
        one.limits._away.clear()
        decision = await one.limits.admit(one.ask(REQUESTS))
        assert decision.answer is Answer.STALE
        assert decision.nonce
        assert (await one.call(REQUESTS))[1].answer is Answer.ADMITTED


async def test_a_hung_server_is_done_without(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `local`, calls go on by this process's share, from what was left; the epoch comes from the database."""
    monkeypatch.setattr(failover, "_LEAST_SECONDS", 0.3)
    async with process(server.url) as one:
        one.processes = 4
        for _ in range(20):
            _, decision = await one.call(REQUESTS)
        assert decision.gauges[0].remaining == 40
        server.hang()
        decisions = [(await one.call(REQUESTS))[1] for _ in range(14)]
        assert sum(each.answer is Answer.ADMITTED for each in decisions) in (10, 11)
        assert (decision.mode, {each.mode for each in decisions}) == ("redis", {"local"})
        assert one.limits.nodes_away == 1
        one.database = 2
        assert (await one.call(REQUESTS))[1].answer is Answer.STALE
        with pytest.raises(LimitsUnavailable):
            await one.limits.raise_epochs({"acc": 2})
        server.resume()
        await one.recovered()
        await asyncio.sleep(0.3)
        await one.limits.raise_epochs({"acc": 2})
        assert (await one.call(REQUESTS, epoch=2))[1].answer is Answer.ADMITTED
        assert (one.limits.nodes_away, one.limits.fallen_back) == (0, 1)


async def test_a_bucket_that_was_never_seen_begins_with_half_a_share(server: RedisServer) -> None:
    """Never full: other processes may have used it."""
    async with process(server.url) as one:
        one.processes = 2
        server.kill()
        answers = [(await one.call(REQUESTS))[1].answer for _ in range(20)]
        assert answers.count(Answer.ADMITTED) == 15


async def test_settlements_follow_their_reservation(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was reserved in Redis is settled there, when it is back; what was reserved here, here."""
    monkeypatch.setattr(failover, "_LEAST_SECONDS", 0.1)
    async with process(server.url) as one:
        there, _ = await one.call(TOKENS)
        server.hang()
        here, decision = await one.call(TOKENS)
        assert decision.answer is Answer.ADMITTED
        one.limits.settle("acc", there.call_id, 7)
        one.limits.settle("acc", here.call_id, 8)
        assert one.limits._local.conservation().settled == 8
        server.resume()
        await one.recovered()
        async with asyncio.timeout(10):
            while one.redis.conservation().settled != 7:
                await asyncio.sleep(0.05)
        sums = one.limits.conservation()
        # The call that was decided here was asked there as well, and given back.
        assert (sums.live, sums.imbalance, sums.settled) == (0, 0, 15)


@pytest.mark.parametrize("mode", ["deny", "allow"])
async def test_the_other_modes(server: RedisServer, mode: WhenUnavailable) -> None:
    """`deny` answers nobody; `allow` lets all in whom the database does."""
    async with process(server.url, mode=mode) as one:
        await one.call(REQUESTS)
        server.kill()
        if mode == "deny":
            with pytest.raises(LimitsUnavailable):
                await one.call(REQUESTS)
            return
        decisions = [(await one.call(REQUESTS))[1] for _ in range(100)]
        assert {(each.answer, each.mode) for each in decisions} == {(Answer.ADMITTED, "allow")}
        one.database = 2
        assert (await one.call(REQUESTS))[1].answer is Answer.STALE


async def test_without_redis_and_database_nobody_is_let_in(server: RedisServer) -> None:
    """An epoch that cannot be compared with anything admits nobody."""
    async with process(server.url) as one:
        await one.call(REQUESTS)
        server.kill()
        one.database_away = True
        with pytest.raises(KeyStoreUnavailable):
            await one.call(REQUESTS)


async def test_changes_are_held_after_a_fail_over(server: RedisServer) -> None:
    """While an old master may still answer, a change is not acknowledged; then it is raised once more."""
    async with process(server.url, hold=0.5) as one:
        await one.call()
        one.redis._store = _Replicated(one.store)
        one.redis._on_new_server("node", "another")
        began = time.monotonic()
        await one.limits.raise_epochs({"acc": 2})
        assert time.monotonic() - began >= 0.5
        assert (await one.call())[1].answer is Answer.STALE


async def test_after_a_fail_over_the_database_is_asked_as_well(server: RedisServer) -> None:
    """An old master may have acknowledged a change that the new one does not know: so long, what the database says counts."""
    async with process(server.url, hold=0.5) as one:
        assert (await one.call(REQUESTS))[1].answer is Answer.ADMITTED
        one.redis._store = _Replicated(one.store)
        one.redis._on_new_server("node", "another")
        one.database = 2
        assert (await one.call(REQUESTS))[1].answer is Answer.STALE
        await asyncio.sleep(0.5)
        assert (await one.call(REQUESTS))[1].answer is Answer.ADMITTED


async def test_streams_are_looked_at_while_redis_is_away(server: RedisServer) -> None:
    """Epochs of open calls are compared with the database then, also if no call has met the loss yet."""
    async with process(server.url) as one:
        ask, _ = await one.call(TOKENS)
        server.kill()
        async with asyncio.timeout(10):
            while one.store.available("acc"):
                await asyncio.sleep(0.02)
        assert one.limits.nodes_away == 0
        assert await one.limits.renew([("acc", ask.call_id, 1)]) == []
        one.database = 2
        assert await one.limits.renew([("acc", ask.call_id, 1)]) == [ask.call_id]


async def test_an_account_with_very_many_open_calls_is_not_added_up(server: RedisServer) -> None:
    """The look at Redis's sums must not keep Redis for long."""
    async with process(server.url) as one:
        await one.call(TOKENS)
        with redis.Redis(port=server.port) as client:
            client.zadd("gw:{acc}:open", {f"call-{number}|100": 9e15 for number in range(1000)})
            await one.redis._look_at_sums()
            assert one.redis.imbalance == 0
            client.zremrangebyrank("gw:{acc}:open", 0, 0)
            await one.redis._look_at_sums()
            assert one.redis.imbalance > 0


async def test_levels_of_any_number_of_buckets(server: RedisServer) -> None:
    """A page with thousands of limits is answered in order and whole, a few hundred at a time."""
    async with process(server.url) as one:
        await one.call(REQUESTS)
        claims = [
            Claim(Level.ACCOUNT, Kind.REQUESTS, "acc", f"m-{number}", 10 + number, 10 + number, 1) for number in range(1300)
        ]
        claims[700] = REQUESTS
        levels = await one.limits.levels("acc", claims)
        assert [fill.claim for fill in levels.fills] == claims
        assert [fill.remaining for fill in levels.fills if fill.remaining != fill.claim.capacity] == [59]
        assert (levels.open_calls, levels.source) == (1, "redis")
        assert await one.limits.levels("acc", []) == Levels((), 1, "redis")


async def test_levels_while_redis_is_away(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then this process's shares are shown, and said to be so: those in use as they are, others as they would begin."""
    monkeypatch.setattr(failover, "_LEAST_SECONDS", 0.3)
    async with process(server.url) as one:
        one.processes = 4
        for _ in range(20):
            await one.call(REQUESTS)
        server.hang()
        levels = await one.limits.levels("acc", [REQUESTS, TOKENS])  # nobody has met the loss yet
        assert [(fill.remaining, fill.claim.capacity) for fill in levels.fills] == [(10, 15), (75, 150)]
        assert [fill.reset_us for fill in levels.fills] == [20_000_000, 30_000_000]
        assert (levels.open_calls, levels.source) == (0, "local")
        assert one.limits.nodes_away == 0
        for _ in range(3):
            await one.call(REQUESTS)
        levels = await one.limits.levels("acc", [REQUESTS, TOKENS])
        assert [fill.remaining for fill in levels.fills] in ([7, 75], [8, 75])
        assert (levels.open_calls, levels.source) == (3, "local")
        server.resume()
        await one.recovered()
        await asyncio.sleep(0.3)
        levels = await one.limits.levels("acc", [REQUESTS])
        assert (levels.source, levels.fills[0].claim) == ("redis", REQUESTS)


@pytest.mark.parametrize("mode", ["deny", "allow"])
async def test_levels_that_nobody_keeps(server: RedisServer, mode: WhenUnavailable) -> None:
    """Where no buckets are kept in Redis's place none are shown, rather than ones that look full."""
    async with process(server.url, mode=mode) as one:
        server.kill()
        with pytest.raises(LimitsUnavailable):
            await one.limits.levels("acc", [REQUESTS])


class _Replicated:
    replicated = True

    def __init__(self, store: Store) -> None:
        self.ask, self.ride, self.on_new_server = store.ask, store.ride, store.on_new_server
