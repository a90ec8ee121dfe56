"""The Lua script against the reference: both get the same random histories and must give the same answers, to the unit.

The script runs in a real server, with two lines changed: its clock is the test's, and its keys do not expire on the server's.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.admission import SLOT_WAIT_US, Answer, Ask, Decision, Levels, Slot
from gateway.domain.buckets import Claim, Kind, Level
from gateway.storage.memory.admission import MemoryAdmissions
from gateway.storage.redis import script
from tests.support.redis_server import RedisServer

LEASE_US = 30_000_000
CLOCK = b"local clock = redis.call('TIME')"
EXPIRY = b"pack('<dddd', micro, at, limit, capacity), 'PX', ttl)"


def with_a_clock() -> bytes:
    assert script.SOURCE.count(CLOCK) == 1
    assert script.SOURCE.count(EXPIRY) == 1
    source = script.SOURCE.replace(CLOCK, b"local clock = {0, tonumber(redis.call('GET', 'clock'))}")
    return source.replace(EXPIRY, b"pack('<dddd', micro, at, limit, capacity))")


@pytest.fixture(scope="module")
def server() -> Iterator[redis.Redis]:
    with RedisServer() as server, redis.Redis(port=server.port) as client:
        yield client


class Script:
    """The script, driven item by item."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.run_id = str(client.info("server")["run_id"])
        self.sha = str(client.script_load(with_a_clock()))
        assert self.sha == hashlib.sha1(with_a_clock()).hexdigest()

    def at(self, now: int) -> None:
        self.client.set("clock", now)

    def many(self, *items: list[Any]) -> list[Any]:
        answers: list[Any] = msgspec.msgpack.decode(self.client.evalsha(self.sha, 0, self.run_id, msgspec.msgpack.encode(items)))
        return answers

    def admit(self, ask: Ask) -> Decision:
        return script.decision(ask, self.many(script.admit(ask, LEASE_US))[0])


class Both:
    """The script and the reference, side by side."""

    def __init__(self, client: redis.Redis) -> None:
        client.flushall()
        self.script = Script(client)
        self.now = 1_700_000_000_000_000
        self.script.at(self.now)
        self.memory = MemoryAdmissions(clock=lambda: self.now, lease_us=LEASE_US)
        self.asks: dict[str, Ask] = {}
        self.numbers = iter(range(10**9))
        first = self.script.admit(Ask("first", "acc", 1))
        assert first.answer is Answer.STALE
        assert self.script.admit(Ask("second", "acc", 1, nonce=first.nonce)).answer is Answer.ADMITTED

    def passes(self, us: int) -> None:
        self.now += us
        self.script.at(self.now)

    def admit(self, claims: tuple[Claim, ...], slots: tuple[Slot, ...] = ()) -> None:
        ask = Ask(f"call-{next(self.numbers)}", "acc", 1, claims, slots=slots)
        expected = asyncio.run(self.memory.admit(ask))
        found = self.script.admit(ask)
        assert found == replace(expected, mode="redis")
        if found.answer is Answer.ADMITTED:
            self.asks[ask.call_id] = ask
            assert self.script.admit(ask).gauges == found.gauges  # a repeat takes nothing

    def settle(self, ask: Ask, actual: int) -> None:
        self.memory.settle("acc", ask.call_id, actual)
        self.script.many(script.settle(ask, actual))

    def sweep(self) -> None:
        for account in self.memory._accounts.values():  # the reference forgets full buckets, the script here none
            for cell in account.cells.values():
                cell.full_at = 1 << 62
        self.memory.sweep()

    def agree_on_levels(self, limits: list[int]) -> Levels:
        """Buckets that were used and one that never was, by the limits of now, which may be none that they were used under."""
        used = zip(PAIRS, limits, strict=True)
        claims = [Claim(level, kind, "owner", "m0", limit, limit, 1) for (level, kind), limit in used]
        claims.append(Claim(Level.ACCOUNT, Kind.TOKENS, "owner", "never called", 7, 7, 1))
        before = self.stored()
        open_calls, fills = script.fills(claims, self.script.many(script.look("acc", claims))[0])
        levels = asyncio.run(self.memory.levels("acc", claims))
        assert (open_calls, fills) == (levels.open_calls, levels.fills)
        assert self.stored() == before
        return levels

    def stored(self) -> dict[Any, Any]:
        client = self.script.client
        return {key: client.dump(key) for key in client.scan_iter()}

    def agree_on_sums(self) -> None:
        self.sweep()
        answer = self.script.many(script.sums("acc"))[0]
        assert script.conservation(answer) == self.memory.conservation()
        assert script.conservation(answer).imbalance == 0


LIMITS = st.one_of(st.sampled_from([6, 60]), st.integers(1, 50), st.integers(1, 100_000_000))
GAPS = st.one_of(st.integers(0, 1000), st.integers(0, 90_000_000), st.integers(-5_000_000, 0))
STEP = st.tuples(
    st.sampled_from(["admit", "admit", "admit", "settle", "settle", "again", "limits", "sums", "levels"]),
    GAPS,
    st.lists(st.floats(0, 1), min_size=8, max_size=8),
    LIMITS,
)
PAIRS = [(level, kind) for level in (Level.WORKSPACE, Level.ACCOUNT) for kind in (Kind.REQUESTS, Kind.TOKENS)]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limits=st.lists(LIMITS, min_size=4, max_size=4), steps=st.lists(STEP, min_size=20, max_size=40))
def test_same_history_same_answers(server: redis.Redis, limits: list[int], steps: list[Any]) -> None:
    """Several buckets, debt, refunds, repeated settlements, changed limits, clock steps back: no answer differs."""
    both = Both(server)
    limits = list(limits)
    for kind, gap, parts, limit in steps:
        both.passes(gap)
        if kind == "admit":
            claims = []
            for index, (level, what) in enumerate(PAIRS):
                if parts[index] < 0.2 and index:
                    continue
                full = parts[4 + index] > 0.7
                amount = (
                    1 if what is Kind.REQUESTS else limits[index] if full else 1 + int(parts[4 + index] * (limits[index] - 1))
                )
                claims.append(Claim(level, what, "owner", f"m{index // 4}", limits[index], limits[index], amount))
            slots = [Slot("account", "acc", "m", 1 + int(parts[0] * 3)), Slot("key", "ak", "", 2)]
            both.admit(tuple(claims), tuple(slots[: int(parts[1] * 2.9)]))
        elif kind == "settle" and both.asks:
            ask = both.asks.pop(list(both.asks)[int(parts[0] * (len(both.asks) - 1))])
            reserved = max((claim.amount for claim in ask.claims if claim.kind is Kind.TOKENS), default=1)
            actual = int(parts[1] * reserved * (8 if parts[2] > 0.5 else 1))
            both.settle(ask, actual)
            if parts[3] > 0.5:
                both.settle(ask, actual + 1)  # the second settlement of a call does nothing
        elif kind == "limits":
            limits[int(parts[0] * 3)] = limit
        elif kind == "sums":
            both.agree_on_sums()
        elif kind == "levels":
            both.agree_on_levels(limits)
    both.agree_on_levels(limits)
    both.agree_on_sums()


def test_levels_show_debts_refills_and_open_calls(server: redis.Redis) -> None:
    """Who looks sees how deep a debt is and when it is paid, not an empty bucket, and counts no call whose lease has lapsed."""
    both = Both(server)
    assert {fill.remaining for fill in both.agree_on_levels([60] * 4).fills} == {60, 7}
    both.admit((Claim(Level.ACCOUNT, Kind.TOKENS, "owner", "m0", 60, 60, 50),))
    both.admit((Claim(Level.ACCOUNT, Kind.REQUESTS, "owner", "m0", 60, 60, 1),))
    both.settle(next(iter(both.asks.values())), 100)
    levels = both.agree_on_levels([60] * 4)
    assert [(fill.remaining, fill.reset_us) for fill in levels.fills] == [
        (60, 0),
        (60, 0),
        (59, 1_000_000),
        (-40, 100_000_000),
        (7, 0),
    ]
    assert (levels.open_calls, levels.source) == (1, "memory")
    both.passes(500_000)
    assert both.agree_on_levels([60] * 4).fills[3].remaining == -40
    both.passes(LEASE_US)
    assert both.agree_on_levels([60] * 4).open_calls == 0
    raised = both.agree_on_levels([600] * 4)
    assert raised.fills[3].remaining == 265
    assert both.agree_on_levels([6] * 4).fills[3].remaining == -37


@pytest.mark.parametrize("order", list(itertools.permutations(PAIRS)))
def test_equal_waits_are_told_apart_as_in_the_reference(server: redis.Redis, order: tuple[tuple[Level, Kind], ...]) -> None:
    """Requests come before tokens and the workspace before the account, in whatever order they are asked for."""
    both = Both(server)
    claims = tuple(Claim(level, kind, "owner", "m", 6, 1, 1) for level, kind in order)
    both.admit(claims)
    both.admit(claims)
    refused = both.script.admit(Ask("last", "acc", 1, claims)).refused
    assert refused is not None
    assert (refused.level, refused.kind) == (Level.WORKSPACE, Kind.REQUESTS)


def test_buckets_expire_when_full_counting_their_debt_and_a_second(server: redis.Redis) -> None:
    """A bucket that is gone is a full one, so it must not go before it is full."""
    server.flushall()
    sha = server.script_load(script.SOURCE)
    run_id = server.info("server")["run_id"]

    def run(item: list[Any]) -> Any:
        return msgspec.msgpack.decode(server.evalsha(sha, 0, run_id, msgspec.msgpack.encode([item])))[0]

    nonce = run(script.admit(Ask("a", "acc", 1), LEASE_US))[2]
    claim = Claim(Level.ACCOUNT, Kind.TOKENS, "acc", "m", 60, 60, 30)
    ask = Ask("b", "acc", 1, (claim,), nonce)
    assert run(script.admit(ask, LEASE_US))[0] == 0
    (key,) = server.keys("gw:{acc}:b:*")
    assert 30_900 < server.pttl(key) <= 31_000
    assert run(script.settle(ask, 100)) == 1
    assert 100_900 < server.pttl(key) <= 101_000


def test_open_calls_are_counted_and_no_place_leaks(server: redis.Redis) -> None:
    """A place is free again when a call is settled, or when its lease has lapsed; one that is renewed is kept."""
    both = Both(server)
    slots = (Slot("account", "acc", "m", 2), Slot("key", "ak", "", 3))
    for _ in range(3):
        both.admit((), slots)
    assert len(both.asks) == 2
    refused = both.script.admit(Ask("third", "acc", 1, slots=slots))
    assert (refused.answer, refused.full, refused.wait_us) == (Answer.REFUSED, slots[0], SLOT_WAIT_US)
    first, second = both.asks.values()
    both.settle(first, 0)
    both.settle(first, 0)
    both.admit((), slots)
    assert len(both.asks) == 3
    both.passes(LEASE_US - 1)
    both.script.many(script.renew("acc", LEASE_US, [1], [second]))
    asyncio.run(both.memory.renew([("acc", second.call_id, 1)]))
    both.passes(2)
    both.sweep()
    both.admit((), slots)
    both.admit((), slots)
    assert len(both.asks) == 4
    assert server.zcard("gw:{acc}:s:key:ak:") == 2


def test_a_lapsed_lease_gives_nothing_back(server: redis.Redis) -> None:
    """Nobody knows what the call of a dead process used."""
    both = Both(server)
    both.admit((Claim(Level.ACCOUNT, Kind.TOKENS, "acc", "m", 60, 60, 30),))
    ask = next(iter(both.asks.values()))
    both.passes(LEASE_US + 1)
    both.script.many(script.renew("acc", LEASE_US, [1], []))
    both.agree_on_sums()
    assert both.memory.conservation().expired == 30
    assert both.script.many(script.settle(ask, 1)) == [0]


def test_a_renewed_lease_lives_on(server: redis.Redis) -> None:
    """A call that is still open is settled, however long it takes."""
    both = Both(server)
    both.admit((Claim(Level.ACCOUNT, Kind.TOKENS, "acc", "m", 60, 60, 30),))
    ask = next(iter(both.asks.values()))
    both.passes(LEASE_US - 1)
    assert both.script.many(script.renew("acc", LEASE_US, [1, 2], [ask]))[0] == [0, 1]
    both.passes(LEASE_US - 1)
    assert both.script.many(script.settle(ask, 1)) == [1]


class TestEpochs:
    """Rules 3 and 5 of the protocol, in the script itself."""

    @pytest.fixture
    def both(self, server: redis.Redis) -> Both:
        return Both(server)

    def ask(self, both: Both, epoch: int, nonce: str = "") -> Decision:
        both.passes(1)
        return both.script.admit(Ask(f"call-{next(both.numbers)}", "acc", epoch, nonce=nonce))

    def test_a_raised_epoch_makes_older_ones_stale_and_is_never_lowered(self, both: Both) -> None:
        """Raises may come in any order."""
        both.script.many(script.raise_epoch("acc", 5))
        both.script.many(script.raise_epoch("acc", 4))
        assert self.ask(both, 4).answer is Answer.STALE
        assert self.ask(both, 5).answer is Answer.ADMITTED

    def test_a_read_that_is_ahead_of_its_raise_is_in_force(self, both: Both) -> None:
        """The database is the authority: what was read there holds."""
        assert self.ask(both, 3).answer is Answer.ADMITTED
        assert self.ask(both, 1).answer is Answer.STALE

    def test_after_a_loss_only_the_nonce_installs(self, both: Both) -> None:
        """An epoch is installed only by who read the database after the loss was noticed."""
        both.script.client.delete("gw:{acc}:epoch")
        lost = self.ask(both, 1)
        assert lost.answer is Answer.STALE
        assert lost.nonce
        other = self.ask(both, 1)
        assert other.nonce == lost.nonce
        assert self.ask(both, 1, "another").answer is Answer.STALE
        assert self.ask(both, 1, lost.nonce).answer is Answer.ADMITTED
        assert self.ask(both, 1).answer is Answer.ADMITTED

    def test_a_raise_removes_what_is_not_installed(self, both: Both) -> None:
        """A read of before the raise cannot be installed after it."""
        both.script.client.delete("gw:{acc}:epoch")
        lost = self.ask(both, 1)
        both.script.many(script.raise_epoch("acc", 2))
        again = self.ask(both, 1, lost.nonce)
        assert again.answer is Answer.STALE
        assert again.nonce != lost.nonce

    def test_another_server_knows_no_epoch(self, both: Both) -> None:
        """What another server wrote, before a restart or a fail-over, counts for nothing."""
        both.script.run_id = "another"
        lost = self.ask(both, 1)
        assert lost.answer is Answer.STALE
        assert self.ask(both, 1, lost.nonce).answer is Answer.ADMITTED

    def test_another_servers_placeholder_is_none(self, both: Both) -> None:
        """A read of before a change must not be installed where the raise that ended its placeholder was lost in a fail-over."""
        both.script.client.delete("gw:{acc}:epoch")
        lost = self.ask(both, 1)
        both.script.run_id = "another"
        again = self.ask(both, 1, lost.nonce)
        assert again.answer is Answer.STALE
        assert again.nonce not in ("", lost.nonce)
        assert self.ask(both, 2, again.nonce).answer is Answer.ADMITTED

    def test_a_replaced_master_neither_admits_nor_raises(self, both: Both) -> None:
        """Not even where nothing is written: the new master may know of a change that this one does not, or not know this one."""
        assert self.ask(both, 1).answer is Answer.ADMITTED
        both.script.client.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(redis.ResponseError, match="read only replica"):
                self.ask(both, 1)
            with pytest.raises(redis.ResponseError, match="read only replica"):
                both.script.many(script.raise_epoch("acc", 1))
            with pytest.raises(redis.ResponseError, match="read only replica"):
                both.script.many(script.raise_epoch("never used", 2))
        finally:
            both.script.client.replicaof("NO", "ONE")

    def test_a_raise_over_another_servers_epoch_leaves_none(self, both: Both) -> None:
        """A raise that was long delayed installs nothing."""
        both.script.run_id = "another"
        both.script.many(script.raise_epoch("acc", 9))
        assert both.script.client.get("gw:{acc}:epoch") is None
