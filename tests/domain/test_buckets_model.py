"""The integer buckets against exact ones in fractions, over random histories of calls, settlements, clocks and limits."""

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from gateway.domain.buckets import MICRO, Bucket, Claim, Kind, Level, decide, settled

PAIRS = [(level, kind) for level in Level for kind in Kind]
GAPS = st.one_of(st.integers(0, 100), st.integers(0, 90 * MICRO))


@dataclass
class Exact:
    """A bucket in exact fractions of a unit, and how often the integer one was stored since they agreed."""

    level: Fraction
    at: int
    stored: int = 0

    def at_time(self, claim: Claim, now: int) -> Fraction:
        gained = Fraction(max(0, now - self.at) * claim.limit, 60 * MICRO)
        return min(Fraction(claim.capacity), self.level + gained)

    def store(self, level: Fraction, claim: Claim, now: int) -> None:
        self.level, self.at, self.stored = min(level, Fraction(claim.capacity)), now, self.stored + 1


class BucketsMachine(RuleBasedStateMachine):
    """Four buckets, as a call to a limited sub-workspace has them, and the brute-force model of each."""

    @initialize(limits=st.lists(st.integers(1, 7_000), min_size=4, max_size=4), capacity=st.integers(1, 500))
    def begin(self, limits: list[int], capacity: int) -> None:
        self.now = 1_000_000 * MICRO
        self.claims = [
            Claim(level, kind, "owner", "model", limit, capacity, 1) for (level, kind), limit in zip(PAIRS, limits, strict=True)
        ]
        self.buckets: list[Bucket | None] = [None] * 4
        self.exact = [Exact(Fraction(capacity), self.now) for _ in PAIRS]
        self.open: list[list[Claim]] = []

    def levels(self) -> list[Fraction]:
        """What each bucket holds now; one that was never stored is full, whatever its capacity has become."""
        return [
            Fraction(claim.capacity) if bucket is None else exact.at_time(claim, self.now)
            for bucket, exact, claim in zip(self.buckets, self.exact, self.claims, strict=True)
        ]

    def slack(self, index: int) -> Fraction:
        """How far the integer bucket may be behind: less than one micro each time it was stored."""
        return Fraction(self.exact[index].stored, MICRO)

    @rule(gap=GAPS)
    def time_passes(self, gap: int) -> None:
        self.now += gap

    @rule(gap=GAPS)
    def clock_steps_back(self, gap: int) -> None:
        self.now -= gap

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        """Ask; the exact model must agree wherever rounding leaves no doubt, and takes over what was decided."""
        asked = [replace(claim, amount=data.draw(st.integers(1, claim.capacity))) for claim in self.claims]
        if data.draw(st.booleans()):
            asked = [replace(claim, amount=1) for claim in asked]
        levels = self.levels()
        verdict = decide(asked, self.buckets, self.now)
        if verdict.admitted:
            assert all(level >= claim.amount for level, claim in zip(levels, asked, strict=True)), "admitted without room"
            self.open.append(asked)
        else:
            room = [level - self.slack(index) >= asked[index].amount for index, level in enumerate(levels)]
            assert not all(room), "refused though every bucket has room"
        for index, (claim, level) in enumerate(zip(asked, levels, strict=True)):
            if verdict.admitted:
                self.exact[index].store(level - claim.amount, claim, self.now)
            elif verdict.buckets[index] != self.buckets[index]:  # new, or rebased
                self.exact[index].store(level, claim, self.now)
        self.buckets = list(verdict.buckets)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Learn the truth of an open call: nothing used, less, as much, or far more than was reserved."""
        asked = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        levels = self.levels()
        for index, claim in enumerate(asked):
            if claim.kind is Kind.REQUESTS:
                continue
            claim = replace(self.claims[index], amount=claim.amount)  # noqa: PLW2901 — the limits of now, the amount of then
            actual = data.draw(st.integers(0, 3 * claim.capacity))
            self.buckets[index] = settled(self.buckets[index], claim, actual, self.now)
            self.exact[index].store(levels[index] + claim.amount - actual, claim, self.now)

    @rule(index=st.integers(0, 3), capacity=st.integers(1, 500))
    def capacity_changes(self, index: int, capacity: int) -> None:
        self.claims[index] = replace(self.claims[index], capacity=capacity)

    @rule(index=st.integers(0, 3), limit=st.integers(1, 7_000))
    def limit_changes(self, index: int, limit: int) -> None:
        """The time since the last store counts at the new limit, the fraction of a micro kept in it too: agree anew."""
        self.claims[index] = replace(self.claims[index], limit=limit)
        bucket = self.buckets[index]
        if bucket is not None:
            self.exact[index] = Exact(Fraction(bucket.micro, MICRO), bucket.at)

    @invariant()
    def never_ahead_and_hardly_behind(self) -> None:
        """No integer bucket holds more than the exact one, or is behind it by a micro for each time it was stored."""
        for index, (bucket, claim, level) in enumerate(zip(self.buckets, self.claims, self.levels(), strict=True)):
            if bucket is None:
                continue
            kept = Exact(Fraction(bucket.micro, MICRO), bucket.at).at_time(claim, self.now)
            behind = level - kept
            assert 0 <= behind <= self.slack(index)
            assert behind == 0 or behind < self.slack(index)


TestBuckets = BucketsMachine.TestCase
TestBuckets.__doc__ = "Integer buckets never run ahead of exact ones, nor behind them by a micro an operation."
