"""Admission in one process: buckets, reservations and epochs in memory, by the rules of `domain.buckets`.

Every method runs without giving up the event loop, so each decision is atomic. A restart forgets all of it: buckets start full,
and epochs are read from the database with the first principal. Nothing is lost that matters, since no other process shares them.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.domain import buckets
from gateway.domain.admission import SLOT_WAIT_US, Answer, Ask, Conservation, Decision, Fill, Gauge, Levels, Slot
from gateway.domain.buckets import MICRO, Bucket, Claim, Kind

_Key = tuple[int, int, str, str]
_SlotKey = tuple[str, str, str]
_GRACE_US = 1_000_000


@dataclass(slots=True)
class _Lease:
    claims: tuple[Claim, ...]
    slots: tuple[_SlotKey, ...]
    ends: int


@dataclass(slots=True)
class _Account:
    """One account's state. `claimed` is the last claim on each bucket: its limits are the present ones. `open` holds the
    reservations by call ID, and `in_slots` counts them by slot; the rest counts tokens in whole units.
    """

    epoch: int = 0
    buckets: dict[_Key, Bucket] = field(default_factory=dict)
    claimed: dict[_Key, Claim] = field(default_factory=dict)
    full_at: dict[_Key, int] = field(default_factory=dict)
    open: dict[str, _Lease] = field(default_factory=dict)
    in_slots: Counter[_SlotKey] = field(default_factory=Counter)
    reserved: int = 0
    overdrawn: int = 0
    settled: int = 0
    given_back: int = 0
    expired: int = 0

    def take(self, call_id: str, lease: _Lease) -> None:
        self.open[call_id] = lease
        self.in_slots.update(lease.slots)

    def is_full(self, slot: Slot, now: int) -> bool:
        """Whether as many calls are open as may be; those whose lease has lapsed do not count, swept or not."""
        key = _slot_key(slot)
        if self.in_slots[key] < slot.limit:
            return False
        return sum(key in lease.slots and lease.ends >= now for lease in self.open.values()) >= slot.limit

    def give_back(self, call_id: str) -> _Lease | None:
        lease = self.open.pop(call_id, None)
        for key in lease.slots if lease is not None else ():
            self.in_slots[key] -= 1
            if not self.in_slots[key]:
                del self.in_slots[key]
        return lease

    def conservation(self) -> Conservation:
        live = sum(_tokens(lease.claims) for lease in self.open.values())
        return Conservation(self.reserved, self.overdrawn, self.settled, self.given_back, live, self.expired)


class MemoryAdmissions:
    """Implements the data plane's `Admissions` and the control plane's raising of epochs.

    `clock` gives microseconds, monotonic; `lease_us` is how long a reservation lives unless it is renewed.
    """

    def __init__(self, *, clock: Callable[[], int], lease_us: int) -> None:
        self._clock = clock
        self._lease_us = lease_us
        self._accounts: dict[str, _Account] = {}
        self._listeners: list[Callable[[str], None]] = []

    async def admit(self, ask: Ask) -> Decision:
        account = self._accounts.setdefault(ask.account_id, _Account())
        now = self._clock()
        if ask.epoch < account.epoch:
            return Decision(Answer.STALE, decided_at=now)
        # Read from the database, which is the authority, so a higher one is in force already.
        account.epoch = ask.epoch
        if not ask.reserves:
            return Decision(Answer.ADMITTED, decided_at=now)
        if ask.call_id in account.open:
            return Decision(Answer.ADMITTED, self._gauges(account, ask.claims, now), decided_at=now)
        keys = [_key(claim) for claim in ask.claims]
        before = [account.buckets.get(key) for key in keys]
        verdict = buckets.decide(ask.claims, before, now)
        full = next((slot for slot in ask.slots if account.is_full(slot, now)), None)
        after = verdict.buckets
        if full is not None and verdict.admitted:
            current = [buckets.refilled(bucket, claim, now) for bucket, claim in zip(before, ask.claims, strict=True)]
            after = tuple(buckets.kept(old, new, now) for old, new in zip(before, current, strict=True))
        for key, claim, bucket in zip(keys, ask.claims, after, strict=True):
            account.claimed[key] = claim
            self._store(account, key, bucket, now)
        gauges = self._gauges(account, ask.claims, now)
        if full is not None and verdict.wait_us < SLOT_WAIT_US:
            return Decision(Answer.REFUSED, gauges, wait_us=SLOT_WAIT_US, decided_at=now, full=full)
        if verdict.refused is not None:
            return Decision(Answer.REFUSED, gauges, ask.claims[verdict.refused], verdict.wait_us, now)
        account.take(ask.call_id, _Lease(ask.claims, tuple(map(_slot_key, ask.slots)), now + self._lease_us))
        account.reserved += _tokens(ask.claims)
        return Decision(Answer.ADMITTED, gauges, decided_at=now)

    async def levels(self, account_id: str, claims: Sequence[Claim]) -> Levels:
        """How full the buckets of these claims are, all of one account; one that was never used, or is forgotten, is full."""
        account = self._accounts.get(account_id) or _Account()
        now = self._clock()
        fills = []
        for claim in claims:
            bucket = buckets.refilled(account.buckets.get(_key(claim)), claim, now)
            fills.append(Fill(claim, bucket.micro // MICRO, buckets.reset_us(bucket, claim, now)))
        return Levels(tuple(fills), sum(lease.ends >= now for lease in account.open.values()), "memory")

    def begin(self, account_id: str, claim: Claim, units: int) -> None:
        """Let the claim's bucket hold `units` now, whatever it held."""
        account = self._accounts.setdefault(account_id, _Account())
        now = self._clock()
        key = _key(claim)
        account.claimed[key] = claim
        self._store(account, key, Bucket(min(units, claim.capacity) * MICRO, now), now)

    def settle(self, account_id: str, call_id: str, tokens: int) -> None:
        account = self._accounts.get(account_id)
        lease = account.give_back(call_id) if account is not None else None
        if account is None or lease is None:
            return
        now = self._clock()
        for claim in lease.claims:
            if claim.kind is Kind.TOKENS:
                key = _key(claim)
                # By the limits of now: a call of before a change must not clamp the bucket to those of then.
                present = replace(account.claimed.setdefault(key, claim), amount=claim.amount)
                self._store(account, key, buckets.settled(account.buckets.get(key), present, tokens, now), now)
                account.settled += tokens
                account.overdrawn += max(0, tokens - claim.amount)
                account.given_back += max(0, claim.amount - tokens)

    async def renew(self, calls: Sequence[tuple[str, str, int]]) -> list[str]:
        """Push back the leases of open calls, given as (account ID, call ID, epoch); answers those whose epoch was raised."""
        ends = self._clock() + self._lease_us
        stale = []
        for account_id, call_id, epoch in calls:
            account = self._accounts.get(account_id)
            if account is None:
                continue
            if account.epoch != epoch:
                stale.append(call_id)
            if (lease := account.open.get(call_id)) is not None:
                lease.ends = ends
        return stale

    async def raise_epochs(self, epochs: Mapping[str, int]) -> None:
        """Put epochs in force, never lowering one, and tell whoever listens."""
        for account_id, epoch in epochs.items():
            account = self._accounts.setdefault(account_id, _Account())
            account.epoch = max(account.epoch, epoch)
        for account_id in epochs:
            for listener in self._listeners:
                listener(account_id)

    def on_raise(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the ID of each account whose epoch was raised."""
        self._listeners.append(listener)

    def sweep(self) -> None:
        """End the leases that have lapsed (their tokens are not given back); forget buckets that have been full for a while."""
        now = self._clock()
        for account in self._accounts.values():
            for call_id in [call_id for call_id, lease in account.open.items() if lease.ends < now]:
                lapsed = account.give_back(call_id)
                account.expired += _tokens(lapsed.claims) if lapsed is not None else 0
            for key in [key for key, full_at in account.full_at.items() if full_at + _GRACE_US < now]:
                del account.buckets[key], account.full_at[key], account.claimed[key]

    def conservation(self) -> Conservation:
        """The sum over all accounts."""
        return Conservation.total(account.conservation() for account in self._accounts.values())

    def _store(self, account: _Account, key: _Key, bucket: Bucket, now: int) -> None:
        account.buckets[key] = bucket
        account.full_at[key] = now + buckets.reset_us(bucket, account.claimed[key], now)

    def _gauges(self, account: _Account, claims: Sequence[Claim], now: int) -> tuple[Gauge, ...]:
        gauges = []
        for claim in claims:
            bucket = buckets.refilled(account.buckets.get(_key(claim)), claim, now)
            gauges.append(Gauge(claim, max(0, bucket.micro // MICRO), buckets.reset_us(bucket, claim, now)))
        return tuple(gauges)


def _key(claim: Claim) -> _Key:
    return (claim.level, claim.kind, claim.owner, claim.model)


def _slot_key(slot: Slot) -> _SlotKey:
    return (slot.level, slot.owner, slot.model)


def _tokens(claims: Sequence[Claim]) -> int:
    return sum(claim.amount for claim in claims if claim.kind is Kind.TOKENS)
