"""Admission in one process: buckets, reservations and epochs in memory, by the rules of `domain.buckets`.

Every method runs without giving up the event loop, so each decision is atomic. A restart forgets all of it: buckets start full,
and epochs are read from the database with the first principal. Nothing is lost that matters, since no other process shares them.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.domain import buckets
from gateway.domain.admission import SLOT_WAIT_US, Answer, Ask, Conservation, Decision, Fill, Gauge, Levels, Slot
from gateway.domain.buckets import MICRO, Bucket, Claim, Kind, Level

_SlotKey = tuple[str, str, str]
_GRACE_US = 1_000_000


@dataclass(slots=True)
class _Lease:
    claims: tuple[Claim, ...]
    slots: tuple[_SlotKey, ...]
    ends: int


@dataclass(slots=True)
class _Cell:
    """A bucket. `claim` is the last one on it, whose limits are the present ones; `full_at` is when it will be full, None where
    nobody has reckoned that yet.
    """

    claim: Claim
    micro: int
    at: int
    full_at: int | None = None

    def is_over(self, now: int) -> bool:
        """Whether it has been full for a while, so that it may be forgotten."""
        if self.full_at is None:
            self.full_at = self.at + buckets.until(self.claim.capacity, self.micro, self.at, self.claim, self.at)
        return self.full_at + _GRACE_US < now


_Looked = tuple[_Cell, int, int]
"""A bucket with its level and time as they are now."""


@dataclass(slots=True)
class _Account:
    """One account's state. `cells` are its buckets by name. `open` holds the reservations by call ID, and `in_slots` counts them
    by slot; the rest counts tokens in whole units.
    """

    epoch: int = 0
    cells: dict[str, _Cell] = field(default_factory=dict)
    open: dict[str, _Lease] = field(default_factory=dict)
    in_slots: Counter[_SlotKey] = field(default_factory=Counter)
    reserved: int = 0
    overdrawn: int = 0
    settled: int = 0
    given_back: int = 0
    expired: int = 0

    def take(self, call_id: str, lease: _Lease) -> None:
        self.open[call_id] = lease
        for key in lease.slots:
            self.in_slots[key] += 1

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
        account = self._accounts.get(ask.account_id) or self._accounts.setdefault(ask.account_id, _Account())
        now = self._clock()
        if ask.epoch < account.epoch:
            return Decision(Answer.STALE, decided_at=now)
        # Read from the database, which is the authority, so a higher one is in force already.
        account.epoch = ask.epoch
        if not ask.reserves:
            return Decision(Answer.ADMITTED, decided_at=now)
        if ask.call_id in account.open:
            return Decision(Answer.ADMITTED, _gauges(ask.claims, _look(account.cells, ask.claims, now)[0], now), decided_at=now)
        looked, longest, refused = _look(account.cells, ask.claims, now)
        full = next((slot for slot in ask.slots if account.is_full(slot, now)), None) if ask.slots else None
        if longest == 0 and full is None:
            slots = tuple(map(_slot_key, ask.slots)) if ask.slots else ()
            account.take(ask.call_id, _Lease(ask.claims, slots, now + self._lease_us))
            for claim, (cell, micro, at) in zip(ask.claims, looked, strict=True):
                amount = claim.amount
                cell.micro, cell.at = micro - amount * MICRO, at
                if claim.kind is Kind.TOKENS:
                    account.reserved += amount
            return Decision(Answer.ADMITTED, _gauges(ask.claims, looked, now, taken=True), decided_at=now)
        gauges = _gauges(ask.claims, looked, now)
        if full is not None and longest < SLOT_WAIT_US:
            return Decision(Answer.REFUSED, gauges, wait_us=SLOT_WAIT_US, decided_at=now, full=full)
        return Decision(Answer.REFUSED, gauges, refused, longest, now)

    async def levels(self, account_id: str, claims: Sequence[Claim]) -> Levels:
        """How full the buckets of these claims are, all of one account; one that was never used, or is forgotten, is full."""
        account = self._accounts.get(account_id) or _Account()
        now = self._clock()
        fills = []
        for claim in claims:
            cell = account.cells.get(claim.bucket)
            bucket = buckets.refilled(None if cell is None else Bucket(cell.micro, cell.at), claim, now)
            fills.append(Fill(claim, bucket.micro // MICRO, buckets.reset_us(bucket, claim, now)))
        return Levels(tuple(fills), sum(lease.ends >= now for lease in account.open.values()), "memory")

    def begin(self, account_id: str, claim: Claim, units: int) -> None:
        """Let the claim's bucket hold `units` now, whatever it held."""
        account = self._accounts.setdefault(account_id, _Account())
        now = self._clock()
        micro = min(units, claim.capacity) * MICRO
        account.cells[claim.bucket] = _Cell(claim, micro, now)

    def settle(self, account_id: str, call_id: str, tokens: int) -> None:
        account = self._accounts.get(account_id)
        lease = account.give_back(call_id) if account is not None else None
        if account is None or lease is None:
            return
        now = self._clock()
        for claim in lease.claims:
            if claim.kind is Kind.TOKENS:
                cell = account.cells.get(claim.bucket)
                if cell is None:
                    cell = account.cells[claim.bucket] = _Cell(claim, claim.capacity * MICRO, now)
                # By the limits of now: a call of before a change must not clamp the bucket to those of then.
                present, amount = cell.claim, claim.amount
                micro, cell.at = buckets.level(cell.micro, cell.at, present, now)
                micro += (amount - tokens) * MICRO
                full = present.capacity * MICRO
                cell.micro = min(full, micro)
                cell.full_at = None
                account.settled += tokens
                if tokens > amount:
                    account.overdrawn += tokens - amount
                else:
                    account.given_back += amount - tokens

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
            for name in [name for name, cell in account.cells.items() if cell.is_over(now)]:
                del account.cells[name]

    def conservation(self) -> Conservation:
        """The sum over all accounts; in plain integers, since there may be ten thousand of them at each scrape."""
        reserved = overdrawn = settled = given_back = live = expired = 0
        for account in self._accounts.values():
            reserved += account.reserved
            overdrawn += account.overdrawn
            settled += account.settled
            given_back += account.given_back
            expired += account.expired
            if account.open:
                live += sum([_tokens(lease.claims) for lease in account.open.values()])
        return Conservation(reserved, overdrawn, settled, given_back, live, expired)


def _look(cells: dict[str, _Cell], claims: Sequence[Claim], now: int) -> tuple[list[_Looked], int, Claim | None]:
    """Each claim's bucket with its level at `now`; the longest wait, and the claim that has it: `buckets.decide`, without objects
    that are made for one call.
    """
    looked: list[_Looked] = []
    longest, refused = 0, None
    for claim in claims:
        cell = cells.get(claim.bucket)
        if cell is None:
            cell = cells[claim.bucket] = _Cell(claim, claim.capacity * MICRO, now)
        cell.claim, cell.full_at = claim, None
        micro, at, full = cell.micro, cell.at, claim.capacity * MICRO
        if at < now and micro < full and (now - at) * claim.limit < (full - micro) * 60:
            micro, at = buckets.level(micro, at, claim, now)
        else:  # it is full again, as mostly, or as it was; a clock that stepped back rebases
            stepped_back = at > now
            micro, at = micro if at >= now and micro < full else full, now
            if stepped_back:
                cell.micro, cell.at = micro, at
        looked.append((cell, micro, at))
        if cell.micro < claim.amount * MICRO:
            wait = buckets.until(claim.amount, cell.micro, cell.at, claim, now)
            if wait > longest or (wait and wait == longest and refused is not None and _rank(claim) < _rank(refused)):
                longest, refused = wait, claim
    return looked, longest, refused


def _gauges(claims: Sequence[Claim], looked: Sequence[_Looked], now: int, *, taken: bool = False) -> tuple[Gauge, ...]:
    """The buckets as a decision leaves them, with the claims' amounts `taken` or not."""
    gauges = []
    for claim, (_, micro, at) in zip(claims, looked, strict=True):
        if taken:
            micro -= claim.amount * MICRO  # noqa: PLW2901 — what is left
        # As `buckets.until` reckons it: this runs four times a call.
        whole, rest = divmod(claim.capacity * MICRO - micro, claim.limit)
        reset_us = whole * 60 + -(-rest * 60 // claim.limit) - (now - at)
        gauges.append(Gauge(claim, micro // MICRO if micro > 0 else 0, max(0, reset_us)))
    return tuple(gauges)


def _rank(claim: Claim) -> tuple[Kind, Level]:
    return claim.kind, claim.level


def _slot_key(slot: Slot) -> _SlotKey:
    return (slot.level, slot.owner, slot.model)


def _tokens(claims: Sequence[Claim]) -> int:
    return sum([claim.amount for claim in claims if claim.kind is Kind.TOKENS])
