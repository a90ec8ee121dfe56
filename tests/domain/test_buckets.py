"""Properties of the token-bucket arithmetic: what every store of buckets is held to."""

from itertools import pairwise, permutations
from typing import Self

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.buckets import MICRO, Bucket, Claim, Kind, Level, decide, refilled, reset_us, settled, wait_us
from gateway.domain.grants import MAX_LIMIT

NOW = 1_800_000_000_000_000  # a Unix time in microseconds, as Redis's clock gives it


def spread(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers over the whole of a wide range: hypothesis by itself stays near its small end."""
    even = st.integers(0, 100).map(lambda percent: low + (high - low) * percent // 100)
    return st.one_of(even, st.integers(low, high))


# Small limits are where remainders matter, round ones where people are, large ones where products grow.
limits = st.one_of(st.integers(1, 130), st.sampled_from([600, 6_000, 60_000, 5_000_000]), spread(1, MAX_LIMIT))


@st.composite
def claims(draw: st.DrawFn, kind: Kind | None = None, level: Level | None = None) -> Claim:
    limit = draw(limits)
    capacity = draw(st.one_of(st.just(limit), st.integers(1, 20), spread(1, MAX_LIMIT)))
    return Claim(
        level=draw(st.sampled_from(Level)) if level is None else level,
        kind=draw(st.sampled_from(Kind)) if kind is None else kind,
        owner="owner",
        model="model",
        limit=limit,
        capacity=capacity,
        amount=draw(st.one_of(st.just(1), spread(1, capacity))),
    )


@st.composite
def stored(draw: st.DrawFn, claim: Claim) -> Bucket | None:
    """A bucket as a store may hold it: new, at the brink of the claim, anywhere between deep debt and full, fresh or old."""
    full, brink = claim.capacity * MICRO, claim.amount * MICRO
    micro = draw(
        st.one_of(
            st.none(),
            st.integers(brink - 100, min(full, brink + 100)),
            spread(-2 * full, full),
        )
    )
    age = draw(st.one_of(st.integers(0, 100), st.integers(0, 120 * MICRO)))
    return None if micro is None else Bucket(micro, NOW - age)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Claim], list[Bucket | None]]:
    """The claims of one call, in any number and order of levels and kinds, and their buckets."""
    pairs = draw(st.lists(st.sampled_from([(level, kind) for level in Level for kind in Kind]), min_size=1, unique=True))
    asked = [draw(claims(kind, level)) for level, kind in pairs]
    return asked, [draw(stored(claim)) for claim in asked]


def claim_of(
    limit: int, *, capacity: int | None = None, amount: int = 1, kind: Kind = Kind.REQUESTS, level: Level = Level.ACCOUNT
) -> Claim:
    return Claim(level, kind, "owner", "model", limit, limit if capacity is None else capacity, amount)


# -- levels -------------------------------------------------------------------------------------------------------------------


@given(case=cases(), later=st.integers(-MICRO, 10 * MICRO), actual=spread(0, MAX_LIMIT))
def test_a_level_is_never_above_the_capacity(case: tuple[list[Claim], list[Bucket | None]], later: int, actual: int) -> None:
    """No refill, decision or refund leaves more in a bucket than it holds when full."""
    asked, buckets = case
    verdict = decide(asked, buckets, NOW)
    for claim, before, after in zip(asked, buckets, verdict.buckets, strict=True):
        full = claim.capacity * MICRO
        assert refilled(before, claim, NOW).micro <= full
        assert after.micro <= full
        assert settled(after, claim, actual, NOW + later).micro <= full


@given(case=cases())
def test_all_claims_are_taken_or_none(case: tuple[list[Claim], list[Bucket | None]]) -> None:
    """An admitted call takes exactly its amounts; a refused one leaves every stored bucket as it was."""
    asked, buckets = case
    verdict = decide(asked, buckets, NOW)
    room = [refilled(bucket, claim, NOW).micro >= claim.amount * MICRO for bucket, claim in zip(buckets, asked, strict=True)]
    assert verdict.admitted == all(room)
    for claim, before, after in zip(asked, buckets, verdict.buckets, strict=True):
        if verdict.admitted:
            assert after.micro == refilled(before, claim, NOW).micro - claim.amount * MICRO
            assert after.micro >= 0
        else:
            assert after == (before or Bucket(claim.capacity * MICRO, NOW))
    assert (verdict.refused is None) == (verdict.wait_us == 0) == verdict.admitted


@given(claim=claims())
def test_a_new_bucket_is_full(claim: Claim) -> None:
    """A bucket that nobody has stored yet admits its whole capacity at once, and then one unit no more."""
    whole = replace(claim, amount=claim.capacity)
    verdict = decide([whole], [None], NOW)
    assert verdict.admitted
    assert verdict.buckets == (Bucket(0, NOW),)
    assert not decide([replace(claim, amount=1)], verdict.buckets, NOW).admitted


def test_no_claims_are_admitted() -> None:
    """An empty admission passes: it asks for the epoch alone."""
    verdict = decide([], [], NOW)
    assert (verdict.admitted, verdict.buckets, verdict.refused, verdict.wait_us) == (True, (), None, 0)


# -- what is admitted over time ---------------------------------------------------------------------------------------------


@given(claim=claims(), gaps=st.lists(st.one_of(st.integers(0, 80), st.integers(0, 30 * MICRO)), min_size=1, max_size=25))
def test_a_window_admits_at_most_capacity_and_refill(claim: Claim, gaps: list[int]) -> None:
    """In every window, what is admitted is at most the capacity plus what refilled within it, to the integer."""
    bucket: Bucket | None = None
    now, admitted = NOW, [(NOW, 0)]
    for gap in gaps:
        now += gap
        verdict = decide([claim], [bucket], now)
        bucket = verdict.buckets[0]
        admitted.append((now, claim.amount if verdict.admitted else 0))
    for first in range(len(admitted)):
        total = 0
        for time, amount in admitted[first:]:
            total += amount
            assert total * MICRO * 60 <= claim.capacity * MICRO * 60 + (time - admitted[first][0]) * claim.limit


@given(limit=st.integers(1, 200), missing=st.integers(1, 40), step=st.integers(1, 9), age=st.integers(0, 59))
def test_asking_often_loses_no_refill(limit: int, missing: int, step: int, age: int) -> None:
    """A caller who asks every few microseconds is admitted at the same microsecond as one who asks once."""
    claim = claim_of(limit, capacity=10)
    start = Bucket(MICRO - missing, NOW - age)
    polled, now = start, NOW
    while True:
        often, once = decide([claim], [polled], now), decide([claim], [start], now)
        assert often.admitted == once.admitted
        assert often.wait_us == once.wait_us
        if often.admitted:
            break
        polled, now = often.buckets[0], now + step
    assert now - start.at <= -(-missing * 60 // limit) + step + age


@given(steps=st.lists(st.integers(0, 100), min_size=1, max_size=100))
def test_storing_often_loses_nothing_at_the_lowest_limit(steps: list[int]) -> None:
    """At one unit a minute, where a microsecond refills a sixtieth of a micro, storing each state loses no refill at all."""
    claim = claim_of(1, capacity=10)
    start = bucket = Bucket(0, NOW)
    now = NOW
    for step in steps:
        now += step
        bucket = refilled(bucket, claim, now)
        assert bucket.micro == refilled(start, claim, now).micro


@given(data=st.data(), claim=claims())
def test_storing_costs_less_than_a_micro(data: st.DataObject, claim: Claim) -> None:
    """A stored state is never ahead of the exact level, and behind it by less than one micro for each time it was stored."""
    start = bucket = Bucket(data.draw(st.integers(-MICRO, MICRO)), NOW)
    now = NOW
    for count, step in enumerate(data.draw(st.lists(st.integers(0, 200), min_size=1, max_size=30)), start=1):
        now += step
        bucket = refilled(bucket, claim, now)
        exact = min(start.micro * 60 + (now - start.at) * claim.limit, claim.capacity * MICRO * 60)
        kept = bucket.micro * 60 + (now - bucket.at) * claim.limit
        assert 0 <= exact - kept < 60 * count


# -- waits --------------------------------------------------------------------------------------------------------------------


@given(case=cases())
def test_a_wait_is_exact(case: tuple[list[Claim], list[Bucket | None]]) -> None:
    """A call that is alone passes after the wait it was told, and not a microsecond earlier."""
    asked, buckets = case
    verdict = decide(asked, buckets, NOW)
    assume(not verdict.admitted)
    assert decide(asked, verdict.buckets, NOW + verdict.wait_us).admitted
    assert not decide(asked, verdict.buckets, NOW + verdict.wait_us - 1).admitted


@given(case=cases())
def test_the_longest_wait_is_the_answer(case: tuple[list[Claim], list[Bucket | None]]) -> None:
    """A refusal names the bucket that takes longest, requests before tokens and the workspace before the account."""
    asked, buckets = case
    verdict = decide(asked, buckets, NOW)
    assume(not verdict.admitted)
    alone = [decide([claim], [bucket], NOW).wait_us for claim, bucket in zip(asked, buckets, strict=True)]
    assert verdict.wait_us == max(alone)
    tied = [claim for claim, wait in zip(asked, alone, strict=True) if wait == verdict.wait_us]
    assert verdict.refused is not None
    assert asked[verdict.refused] == min(tied, key=lambda claim: (claim.kind is Kind.TOKENS, claim.level is Level.ACCOUNT))


def test_ties_name_requests_first_and_then_the_workspace() -> None:
    """Of equal waits, the one named does not depend on the order of the claims."""
    ranked = [
        claim_of(60, kind=Kind.REQUESTS, level=Level.WORKSPACE),
        claim_of(60, kind=Kind.REQUESTS, level=Level.ACCOUNT),
        claim_of(60, kind=Kind.TOKENS, level=Level.WORKSPACE),
        claim_of(60, kind=Kind.TOKENS, level=Level.ACCOUNT),
    ]
    empty = Bucket(0, NOW)
    for size in range(1, 5):
        for asked in permutations(ranked, size):
            verdict = decide(asked, [empty] * size, NOW)
            assert verdict.wait_us == MICRO
            assert verdict.refused is not None
            assert asked[verdict.refused] == min(asked, key=ranked.index)


@pytest.mark.parametrize(
    ("limit", "missing", "wait"),
    [
        (60, MICRO, MICRO),  # one a second: a unit is a second
        (1, MICRO, 60 * MICRO),  # one a minute
        (1, 1, 60),  # a micro at one a minute
        (7, 1, 9),  # 60/7 microseconds, rounded up
        (MAX_LIMIT, MICRO, 1),  # 0.6 microseconds, rounded up
    ],
)
def test_waits_by_hand(limit: int, missing: int, wait: int) -> None:
    """The wait is what is missing, times sixty seconds, divided by the limit, rounded up to the next microsecond."""
    claim = claim_of(limit, capacity=10)
    assert wait_us(Bucket(MICRO - missing, NOW), claim, NOW) == wait
    assert wait_us(Bucket(MICRO, NOW), claim, NOW) == 0


@given(data=st.data(), claim=claims())
def test_a_reset_is_exact(data: st.DataObject, claim: Claim) -> None:
    """The bucket is full when the time until it is full has passed, counting its debt, and not a microsecond earlier."""
    bucket = data.draw(stored(claim)) or Bucket(claim.capacity * MICRO, NOW)
    wait = reset_us(bucket, claim, NOW)
    full = claim.capacity * MICRO
    assert refilled(bucket, claim, NOW + wait).micro == full
    if wait:
        assert refilled(bucket, claim, NOW + wait - 1).micro < full


# -- settlement and debt ------------------------------------------------------------------------------------------------------


@given(data=st.data(), claim=claims(), elapsed=st.integers(0, MICRO))
def test_settlement_is_exact(data: st.DataObject, claim: Claim, elapsed: int) -> None:
    """Taking an estimate and settling it leaves what taking the true amount would have left, but never more than full."""
    actual = data.draw(spread(0, 3 * claim.capacity))
    admitted = decide([claim], [None], NOW)
    assert admitted.admitted
    true = refilled(admitted.buckets[0], claim, NOW + elapsed).micro + (claim.amount - actual) * MICRO
    after = settled(admitted.buckets[0], claim, actual, NOW + elapsed)
    assert after.micro == min(true, claim.capacity * MICRO)


@given(data=st.data(), claim=claims())
def test_settling_at_nothing_restores_the_bucket(data: st.DataObject, claim: Claim) -> None:
    """A call that used nothing leaves the bucket as though it had never been admitted."""
    before = data.draw(stored(claim))
    verdict = decide([claim], [before], NOW)
    assume(verdict.admitted)
    assert settled(verdict.buckets[0], claim, 0, NOW) == refilled(before, claim, NOW)


@given(data=st.data(), claim=claims())
def test_debt_is_waited_for(data: st.DataObject, claim: Claim) -> None:
    """A call that used more than was left puts the bucket below zero, and the next one waits for debt and amount together."""
    owed = data.draw(spread(1, MAX_LIMIT))
    empty = decide([replace(claim, amount=claim.capacity)], [None], NOW).buckets[0]
    after = settled(empty, claim, claim.amount + owed, NOW)
    assert after == Bucket(-owed * MICRO, NOW)
    verdict = decide([claim], [after], NOW)
    assert not verdict.admitted
    assert verdict.wait_us == -(-(owed + claim.amount) * MICRO * 60 // claim.limit)


def test_a_refund_to_a_bucket_refilled_meanwhile_is_capped() -> None:
    """What is given back to a bucket that has filled up since is not kept on top."""
    claim = claim_of(60, amount=50)
    taken = decide([claim], [None], NOW).buckets[0]
    assert settled(taken, claim, 0, NOW + 120 * MICRO).micro == 60 * MICRO


def test_a_bucket_forgotten_when_full_is_settled_from_full() -> None:
    """A bucket that the store dropped because it was full takes the overdraft from full."""
    claim = claim_of(60, amount=10)
    assert settled(None, claim, 25, NOW) == Bucket(45 * MICRO, NOW)


# -- clocks and changed limits ------------------------------------------------------------------------------------------------


@given(data=st.data(), claim=claims(), back=spread(0, 10**12))
def test_a_clock_that_steps_back_stands_still(data: st.DataObject, claim: Claim, back: int) -> None:
    """A step back of the clock gives nothing and takes nothing, and from there on the bucket refills at its rate again."""
    before = data.draw(stored(claim)) or Bucket(0, NOW)
    now = before.at - back
    stepped = refilled(before, claim, now)
    assert stepped == Bucket(min(before.micro, claim.capacity * MICRO), now)
    verdict = decide([claim], [before], now)
    assert verdict.buckets[0].at <= now
    if not verdict.admitted:
        assert verdict.buckets[0].micro == before.micro
        assert decide([claim], verdict.buckets, now + verdict.wait_us).admitted
        assert not decide([claim], verdict.buckets, now + verdict.wait_us - 1).admitted


@given(data=st.data(), claim=claims(), capacity=spread(1, MAX_LIMIT))
def test_a_changed_capacity_clamps_and_never_refills(data: st.DataObject, claim: Claim, capacity: int) -> None:
    """A smaller capacity cuts the level down to it; a larger one adds nothing but the refill of the time that passed."""
    before = data.draw(stored(claim)) or Bucket(claim.capacity * MICRO, NOW)
    changed = replace(claim, capacity=capacity, amount=1)
    assert refilled(before, changed, before.at).micro == min(before.micro, capacity * MICRO)
    after = refilled(before, changed, NOW)
    assert after.micro <= capacity * MICRO
    assert after.micro <= before.micro + (NOW - before.at) * claim.limit // 60


@given(data=st.data(), claim=claims())
def test_a_level_never_falls_by_itself(data: st.DataObject, claim: Claim) -> None:
    """With the clock going on, waiting never lowers a level, whatever the steps."""
    bucket = data.draw(stored(claim)) or Bucket(0, NOW)
    times = sorted(data.draw(st.lists(st.integers(0, 10**9), min_size=2, max_size=10)))
    levels = [refilled(bucket, claim, bucket.at + time).micro for time in times]
    assert all(earlier <= later for earlier, later in pairwise(levels))


# -- numbers that Lua's doubles hold ------------------------------------------------------------------------------------------


class Double(int):
    """An integer that refuses to grow to 2^53, and whose results refuse it too."""

    def __new__(cls, value: int) -> Self:
        assert abs(value) < 2**53
        return super().__new__(cls, value)

    def __add__(self, other: int) -> "Double":
        return Double(int(self) + int(other))

    def __sub__(self, other: int) -> "Double":
        return Double(int(self) - int(other))

    def __mul__(self, other: int) -> "Double":
        return Double(int(self) * int(other))

    def __floordiv__(self, other: int) -> "Double":
        return Double(int(self) // int(other))

    def __divmod__(self, other: int) -> tuple["Double", "Double"]:
        return Double(int(self) // int(other)), Double(int(self) % int(other))

    def __neg__(self) -> "Double":
        return Double(-int(self))

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: int) -> "Double":
        return Double(int(other) - int(self))


def test_the_guard_against_large_numbers_guards() -> None:
    """A product past 2^53 is noticed wherever it arises, so that the test below can fail."""
    with pytest.raises(AssertionError):
        Double(MAX_LIMIT * MICRO) * 100
    with pytest.raises(AssertionError):
        divmod(Double(2**40) * 60, 7)[0] * 2**12


@given(
    data=st.data(),
    limit=spread(1, MAX_LIMIT),
    capacity=spread(1, MAX_LIMIT),
    debt=spread(0, 80 * MAX_LIMIT),
    elapsed=st.one_of(st.integers(-100, 100), spread(-(10**15), 10**15)),
)
def test_no_number_leaves_what_a_double_holds(data: st.DataObject, limit: int, capacity: int, debt: int, elapsed: int) -> None:
    """No intermediate result reaches 2^53 up to the highest limit and capacity and debts of eighty times that, as long as the
    wait itself stays below 2^53 microseconds (285 years), and the results are those of plain integers."""
    assume((capacity + debt) * MICRO * 60 // limit < 2**53 - NOW - 10**15)
    plain = claim_of(limit, capacity=capacity, amount=data.draw(spread(1, capacity)))
    guarded = replace(plain, limit=Double(limit), capacity=Double(capacity), amount=Double(plain.amount))
    micro = data.draw(spread(-debt * MICRO, capacity * MICRO))
    actual = data.draw(spread(0, capacity))
    now = NOW + elapsed
    before, guarded_before = Bucket(micro, NOW), Bucket(Double(micro), Double(NOW))
    assert decide([guarded], [guarded_before], Double(now)) == decide([plain], [before], now)
    assert settled(guarded_before, guarded, Double(actual), Double(now)) == settled(before, plain, actual, now)
    stepped = refilled(guarded_before, guarded, Double(now))
    assert reset_us(stepped, guarded, Double(now)) == reset_us(refilled(before, plain, now), plain, now)
