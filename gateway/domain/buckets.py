"""Token buckets, in integers: the reference that every store of buckets has to agree with, to the unit.

A level is counted in millionths of a request or a token ("micro"), time in microseconds, limits in whole units a minute. A
refused call changes nothing, but that a clock which stepped back is rebased. A level may go below zero (debt); it is never
above its capacity.

Divisions come before multiplications, so that Lua's doubles compute the same: with limits and capacities up to
`grants.MAX_LIMIT` and debts up to eighty times that, no number reaches 2^53 as long as the wait itself (285 years) does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import msgspec

MICRO = 1_000_000
_MINUTE = 60  # seconds; a rate of 1 a minute refills 1/60 micro a microsecond


class Kind(IntEnum):
    """What a bucket counts; the order breaks ties between equal waits."""

    REQUESTS = 0
    TOKENS = 1


class Level(IntEnum):
    """Whose bucket it is; the order breaks ties between equal waits."""

    WORKSPACE = 0
    ACCOUNT = 1


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What a call asks of one bucket.

    `owner` is the ID of the account or workspace, `limit` the refill in units a minute, `capacity` what the bucket holds when
    full and `amount` what is to be taken, both in whole units, with 1 ≤ amount ≤ capacity. `bucket` names the bucket within its
    account: it follows from level, kind, owner and model, and need not be given.
    """

    level: Level
    kind: Kind
    owner: str
    model: str
    limit: int
    capacity: int
    amount: int
    bucket: str = ""

    def __post_init__(self) -> None:
        if not self.bucket:
            name = f"{self.level:d}{self.kind:d}:{self.owner}:{self.model}"
            msgspec.structs.force_setattr(self, "bucket", name)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A stored level (micro) as of the time `at` (microseconds)."""

    micro: int
    at: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to several claims. `buckets` are the states to store, in the claims' order. For a refusal, `refused` is the
    index of the claim with the longest wait and `wait_us` that wait, after which a call that is alone passes."""

    admitted: bool
    buckets: tuple[Bucket, ...]
    refused: int | None = None
    wait_us: int = 0


def refilled(bucket: Bucket | None, claim: Claim, now: int) -> Bucket:
    """The bucket at `now`: full if it is new; a clock that stepped back counts as standing still, and rebases.

    What is left below one micro stays in `at` as whole microseconds, so that asking often loses nothing.
    """
    if bucket is None:
        return Bucket(claim.capacity * MICRO, now)
    return Bucket(*level(bucket.micro, bucket.at, claim, now))


def level(micro: int, at: int, claim: Claim, now: int) -> tuple[int, int]:
    """Level and time at `now` of a bucket that is stored as `micro` and `at`, see `refilled`."""
    full = claim.capacity * MICRO
    if micro >= full or now <= at:
        return min(micro, full), now
    elapsed = now - at
    if elapsed > _MINUTE * MICRO:  # never more than refills it, so that doubles can follow
        elapsed = min(elapsed, _refill_us(full - micro, claim.limit))
    whole, part = divmod(elapsed, _MINUTE)
    gained, rest = divmod(part * claim.limit, _MINUTE)
    micro += whole * claim.limit + gained
    if micro >= full:
        return full, now
    return micro, now - rest // claim.limit


def _refill_us(micro: int, limit: int) -> int:
    """How many microseconds refill `micro`, rounded up; divided before it is multiplied, so that a deep debt stays exact."""
    if micro <= 0:
        return 0
    whole, rest = divmod(micro, limit)
    return whole * _MINUTE + -(-rest * _MINUTE // limit)


def wait_us(bucket: Bucket, claim: Claim, now: int) -> int:
    """How long after `now` the claim can be met; 0 if it can be met now."""
    return until(claim.amount, bucket.micro, bucket.at, claim, now)


def until(units: int, micro: int, at: int, claim: Claim, now: int) -> int:
    """How long after `now` a bucket that is stored as `micro` and `at` holds so many whole units."""
    missing = units * MICRO - micro
    if missing <= 0:
        return 0
    whole, rest = divmod(missing, claim.limit)  # as `_refill_us`
    return max(0, whole * _MINUTE + -(-rest * _MINUTE // claim.limit) - (now - at))


def reset_us(bucket: Bucket, claim: Claim, now: int) -> int:
    """How long after `now` the bucket is full, counting its debt."""
    return until(claim.capacity, bucket.micro, bucket.at, claim, now)


def kept(old: Bucket | None, current: Bucket, now: int) -> Bucket:
    """What stays stored of a bucket that nothing is taken from; `current` is the bucket at `now`."""
    return old if old is not None and old.at <= now else current


def decide(claims: Sequence[Claim], buckets: Sequence[Bucket | None], now: int) -> Verdict:
    """All or nothing: take every claim's amount from its bucket, or change none."""
    current = [refilled(bucket, claim, now) for bucket, claim in zip(buckets, claims, strict=True)]
    # Waits are reckoned from what stays stored: `current` has lost up to one micro, which can be a microsecond at low limits.
    stored = [kept(old, new, now) for old, new in zip(buckets, current, strict=True)]
    waits = [wait_us(bucket, claim, now) for bucket, claim in zip(stored, claims, strict=True)]
    longest = max(waits, default=0)
    if longest == 0:
        taken = (Bucket(bucket.micro - claim.amount * MICRO, bucket.at) for bucket, claim in zip(current, claims, strict=True))
        return Verdict(admitted=True, buckets=tuple(taken))
    refused = min(
        (index for index, wait in enumerate(waits) if wait == longest),
        key=lambda index: (claims[index].kind, claims[index].level),
    )
    return Verdict(admitted=False, buckets=tuple(stored), refused=refused, wait_us=longest)


def settled(bucket: Bucket | None, claim: Claim, actual: int, now: int) -> Bucket:
    """The bucket once the true amount of an admitted claim is known, in whole units: the difference is given back, at most up
    to the capacity, or taken, into debt if need be. `claim.amount` is what was taken; limit and capacity are those of now."""
    current = refilled(bucket, claim, now)
    micro = current.micro + (claim.amount - actual) * MICRO
    return Bucket(min(micro, claim.capacity * MICRO), current.at)
