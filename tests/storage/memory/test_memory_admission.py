"""In-process admission against a model of its rules, under random histories."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.domain.admission import Answer, Ask, Decision
from gateway.domain.buckets import Bucket, Claim, Kind, Level, refilled
from gateway.storage.memory.admission import MemoryAdmissions

_LEASE = 60_000_000
_Result = TypeVar("_Result")


class _Clock:
    now = 5_000_000

    def __call__(self) -> int:
        return self.now


def _done(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of a coroutine that never waits, which is what makes each decision atomic."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _Result = end.value
        return result
    raise AssertionError("admission in process gave up the event loop")


def _claims(limits: dict[Kind, int], tokens: int, *, account: str = "a", workspace_rpm: int | None = None) -> tuple[Claim, ...]:
    claims = []
    if workspace_rpm is not None:
        claims.append(Claim(Level.WORKSPACE, Kind.REQUESTS, "w", "m", workspace_rpm, workspace_rpm, 1))
    for kind, limit in limits.items():
        claims.append(Claim(Level.ACCOUNT, kind, account, "m", limit, limit, 1 if kind is Kind.REQUESTS else min(tokens, limit)))
    return tuple(claims)


def _ask(store: MemoryAdmissions, call_id: str, claims: tuple[Claim, ...] = (), *, epoch: int = 0) -> Decision:
    return _done(store.admit(Ask(call_id, "a", epoch, claims)))


class Histories(RuleBasedStateMachine):
    """Calls come, settle once or twice, lapse and are renewed, while the clock runs and limits change."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = _Clock()
        self.store = MemoryAdmissions(clock=self.clock, lease_us=_LEASE)
        self.limits = {Kind.REQUESTS: 5, Kind.TOKENS: 100}
        self.calls = 0
        self.open: dict[str, tuple[int, int]] = {}  # call ID: tokens reserved, end of the lease
        self.ended: list[str] = []
        self.reserved = self.settled = self.overdrawn = self.given_back = self.expired = 0
        # Since the last change of limits: when it was, and the requests admitted.
        self.since = self.clock.now
        self.admitted = 0

    @rule(tokens=st.integers(1, 150))
    def call(self, tokens: int) -> None:
        self.calls += 1
        name = f"call-{self.calls}"
        claims = _claims(self.limits, tokens)
        decision = _ask(self.store, name, claims)
        if decision.answer is Answer.ADMITTED:
            amount = claims[1].amount
            self.open[name] = (amount, self.clock.now + _LEASE)
            self.reserved += amount
            self.admitted += 1
            assert _ask(self.store, name, claims).answer is Answer.ADMITTED, "an admission may be repeated"
        else:
            assert decision.answer is Answer.REFUSED
            assert decision.wait_us > 0
            again = _ask(self.store, name, claims)
            assert (again.refused, again.wait_us) == (decision.refused, decision.wait_us), "a refusal changes nothing"
        assert all(gauge.remaining >= 0 for gauge in decision.gauges)

    @rule(choice=st.integers(0), tokens=st.integers(0, 300), twice=st.booleans())
    def settle(self, choice: int, tokens: int, twice: bool) -> None:
        if not self.open:
            return
        name = sorted(self.open)[choice % len(self.open)]
        amount, _ = self.open.pop(name)
        self.ended.append(name)
        for _ in range(1 + twice):
            self.store.settle("a", name, tokens)
        self.settled += tokens
        self.overdrawn += max(0, tokens - amount)
        self.given_back += max(0, amount - tokens)

    @rule(tokens=st.integers(0, 300), choice=st.integers(0))
    def settle_nothing(self, tokens: int, choice: int) -> None:
        self.store.settle("a", "unknown", tokens)
        self.store.settle("unknown", "call-1", tokens)
        if self.ended:
            self.store.settle("a", self.ended[choice % len(self.ended)], tokens)

    @rule(us=st.integers(0, 90_000_000))
    def time_passes(self, us: int) -> None:
        self.clock.now += us

    @rule()
    def sweep(self) -> None:
        account = self.store._accounts.get("a")
        before = dict(account.cells) if account else {}
        self.store.sweep()
        for name, cell in before.items():
            if account and name not in account.cells:
                claim = cell.claim
                full = refilled(Bucket(cell.micro, cell.at), claim, self.clock.now).micro
                assert full == claim.capacity * 1_000_000, "a bucket is forgotten only when full"
        for name in [name for name, (_, ends) in self.open.items() if ends < self.clock.now]:
            self.expired += self.open.pop(name)[0]
            self.ended.append(name)

    @rule(choice=st.integers(0))
    def renew(self, choice: int) -> None:
        some = sorted(self.open)[: choice % (len(self.open) + 1)]
        calls = [("a", name, 0) for name in [*some, "unknown"]]
        assert asyncio.run(self.store.renew([*calls, ("unknown", "call-1", 0)])) == []
        for name in some:
            self.open[name] = (self.open[name][0], self.clock.now + _LEASE)

    @rule(rpm=st.integers(1, 20), tpm=st.integers(1, 500))
    def change_limits(self, rpm: int, tpm: int) -> None:
        self.limits = {Kind.REQUESTS: rpm, Kind.TOKENS: tpm}
        _ask(self.store, "probe", _claims(self.limits, 1))
        if "probe" in self.store._accounts["a"].open:
            self.store.settle("a", "probe", 0)
            self.reserved += 1
            self.given_back += 1
        self.since, self.admitted = self.clock.now, 0

    @invariant()
    def every_token_is_accounted_for(self) -> None:
        kept = self.store.conservation()
        assert kept.imbalance == 0
        live = sum(amount for amount, _ in self.open.values())
        assert (kept.reserved, kept.settled, kept.overdrawn) == (self.reserved, self.settled, self.overdrawn)
        assert (kept.given_back, kept.live, kept.expired) == (self.given_back, live, self.expired)

    @invariant()
    def no_more_pass_than_the_limit_lets(self) -> None:
        """Full at the start, then so many a minute."""
        rpm = self.limits[Kind.REQUESTS]
        assert self.admitted <= rpm + rpm * (self.clock.now - self.since) / 60_000_000


Histories.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
test_random_histories = Histories.TestCase


def _store() -> tuple[MemoryAdmissions, _Clock]:
    clock = _Clock()
    return MemoryAdmissions(clock=clock, lease_us=_LEASE), clock


def test_a_wait_is_exact_to_the_microsecond() -> None:
    """After the wait that a refusal named the same call passes; a microsecond earlier it does not."""
    for rpm in (1, 7, 50, 60, 999):
        for early in (1, 0):
            store, clock = _store()
            claims = _claims({Kind.REQUESTS: rpm}, 0)
            for number in range(rpm):
                assert _ask(store, f"c{number}", claims).answer is Answer.ADMITTED
            refused = _ask(store, "late", claims)
            assert (refused.answer, refused.refused) == (Answer.REFUSED, claims[0])
            clock.now += refused.wait_us - early
            assert _ask(store, "late", claims).answer is (Answer.REFUSED if early else Answer.ADMITTED)


def test_a_refused_call_takes_nothing_anywhere() -> None:
    """All or nothing: a call that one bucket refuses leaves the others as they were."""
    store, _ = _store()
    tight = _claims({Kind.REQUESTS: 10, Kind.TOKENS: 100}, 60, workspace_rpm=5)
    assert _ask(store, "one", tight).answer is Answer.ADMITTED
    refused = _ask(store, "two", tight)
    assert (refused.answer, refused.refused) == (Answer.REFUSED, tight[2])
    assert [gauge.remaining for gauge in refused.gauges] == [4, 9, 40]


def test_debt_is_taken_and_shown_as_nothing_left() -> None:
    """A call that used more than it reserved puts its bucket into debt; the next waits the debt off, and 0 is shown."""
    store, _ = _store()
    claims = _claims({Kind.TOKENS: 60}, 10)
    assert _ask(store, "one", claims).answer is Answer.ADMITTED
    store.settle("a", "one", 180)
    refused = _ask(store, "two", claims)
    assert refused.answer is Answer.REFUSED
    assert refused.gauges[0].remaining == 0
    assert refused.wait_us == 130_000_000
    assert refused.gauges[0].reset_us == 180_000_000


def test_a_full_bucket_is_forgotten_and_one_in_debt_is_not() -> None:
    """Time to live of a bucket: until it is full counting its debt, and a second more."""
    store, clock = _store()
    claims = _claims({Kind.TOKENS: 60}, 10)
    _ask(store, "one", claims)
    store.settle("a", "one", 120)  # 60 short of empty: two minutes until it is full
    clock.now += 120_000_000 + 1_000_000
    store.sweep()
    assert store._accounts["a"].cells
    clock.now += 1
    store.sweep()
    assert not store._accounts["a"].cells
    assert _ask(store, "two", claims).gauges[0].remaining == 50


def test_a_lapsed_lease_gives_nothing_back() -> None:
    """The tokens of a call that vanished stay taken; a settlement that comes later does nothing."""
    store, clock = _store()
    claims = _claims({Kind.TOKENS: 100}, 90)
    _ask(store, "lost", claims)
    clock.now += _LEASE
    store.sweep()
    assert store.conservation().live == 90
    clock.now += 1
    store.sweep()
    store.settle("a", "lost", 0)
    kept = store.conservation()
    assert (kept.live, kept.expired, kept.given_back, kept.imbalance) == (0, 90, 0, 0)


async def test_a_renewed_lease_lives_on() -> None:
    """A call that is still open is not counted as lost, however long it takes; one that nobody renews is."""
    store, clock = _store()
    claims = _claims({Kind.TOKENS: 100}, 10)
    for name in ("open", "lost"):
        _ask(store, name, claims)
    clock.now += _LEASE
    await store.renew([("a", "open", 0), ("a", "unknown", 0), ("unknown", "open", 0)])
    clock.now += 1
    store.sweep()
    kept = store.conservation()
    assert (kept.live, kept.expired, kept.imbalance) == (10, 10, 0)


def test_settlement_follows_the_present_limits() -> None:
    """A call of before a change cannot fill a bucket beyond, or clamp it below, what its limits are now."""
    store, clock = _store()
    _ask(store, "old", _claims({Kind.TOKENS: 100}, 100))
    clock.now += 6_000_000
    assert _ask(store, "new", _claims({Kind.TOKENS: 1000}, 1), epoch=1).gauges[0].remaining == 99
    store.settle("a", "old", 0)
    assert _ask(store, "next", _claims({Kind.TOKENS: 1000}, 1), epoch=1).gauges[0].remaining == 198
    _ask(store, "low", _claims({Kind.TOKENS: 50}, 1), epoch=2)
    store.settle("a", "next", 0)
    assert _ask(store, "last", _claims({Kind.TOKENS: 50}, 1), epoch=2).gauges[0].remaining == 49


async def test_epochs_rise_and_never_fall() -> None:
    """An older epoch is stale, a newer one was read from the database and counts at once; listeners hear of every raise."""
    store, _ = _store()
    heard: list[str] = []
    store.on_raise(heard.append)
    assert _ask(store, "c", epoch=3).answer is Answer.ADMITTED
    assert _ask(store, "c", epoch=2).answer is Answer.STALE
    assert await store.renew([("a", "c", 3), ("unknown", "c", 3)]) == []
    await store.raise_epochs({"a": 5, "b": 1})
    await store.raise_epochs({"a": 4})
    assert heard == ["a", "b", "a"]
    assert await store.renew([("a", "c", 3), ("a", "d", 5)]) == ["c"]
    claims = _claims({Kind.TOKENS: 100}, 10)
    assert _ask(store, "c", claims, epoch=4).answer is Answer.STALE
    assert store.conservation().reserved == 0
    assert _ask(store, "c", claims, epoch=5).answer is Answer.ADMITTED


async def test_two_hundred_at_once_with_a_clock_that_stands_still() -> None:
    """Concurrent calls against a limit of 50: exactly 50 are admitted."""
    store, _ = _store()
    claims = _claims({Kind.REQUESTS: 50, Kind.TOKENS: 100_000}, 10)
    decisions = await asyncio.gather(*(store.admit(Ask(f"c{number}", "a", 0, claims)) for number in range(200)))
    assert sum(decision.answer is Answer.ADMITTED for decision in decisions) == 50
