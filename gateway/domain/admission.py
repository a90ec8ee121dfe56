"""The words in which the data plane asks for admission and a store of limits answers."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Literal, Self

import msgspec

from gateway.domain.buckets import Claim, Kind, Level
from gateway.domain.grants import Limits

Mode = Literal["memory", "redis", "local", "allow"]


class Answer(StrEnum):
    ADMITTED = "admitted"
    REFUSED = "refused"
    STALE = "stale"


def claims_of(level: Level, owner: str, model: str, limits: Limits, tokens: int = 1) -> list[Claim]:
    """What a call of `tokens` asks of the buckets that `limits` make; a bucket holds one minute's worth when it is full."""
    claims = []
    if limits.rpm is not None:
        claims.append(Claim(level, Kind.REQUESTS, owner, model, limits.rpm, limits.rpm, 1))
    if limits.tpm is not None:
        claims.append(Claim(level, Kind.TOKENS, owner, model, limits.tpm, limits.tpm, min(tokens, limits.tpm)))
    return claims


SLOT_WAIT_US = 1_000_000
"""When to ask again for a place among open calls: nobody knows when one of them ends."""


class Slot(msgspec.Struct, frozen=True, gc=False):
    """A place among the calls that may be open at once.

    `level` is `account`, `workspace` or `key`, `owner` the ID of that; `model` is empty where calls of all models count
    together. `limit` is how many may be open, this one included.
    """

    level: str
    owner: str
    model: str
    limit: int


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One call's question: does its principal's epoch still hold, and have all buckets room for it?

    Without claims and slots it is an empty admission: nothing is reserved, only the epoch is compared.
    `nonce` is that of the last stale
    answer, if the principal was read after it: it lets the epoch be installed where the store has lost it.
    """

    call_id: str
    account_id: str
    epoch: int
    claims: tuple[Claim, ...] = ()
    nonce: str = ""
    slots: tuple[Slot, ...] = ()

    @property
    def reserves(self) -> bool:
        """Whether there is something to reserve, and then to settle."""
        return bool(self.claims or self.slots)


class Gauge(msgspec.Struct, frozen=True, gc=False):
    """A bucket as the decision left it: whole units that remain (never below 0), microseconds until it is full."""

    claim: Claim
    remaining: int
    reset_us: int


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Being refused is an answer, not an error. `refused` is the claim with the longest wait; `wait_us` is that wait. Where too
    many calls are open, and no bucket takes longer, `full` is the slot that was not free.

    A stale answer may bring a `nonce` for the next `Ask`. `mode` says who decided: this process alone (`memory`), all together in
    `redis`, or, while Redis is away, this process by its share (`local`) or without counting (`allow`).
    """

    answer: Answer
    gauges: tuple[Gauge, ...] = ()
    refused: Claim | None = None
    wait_us: int = 0
    decided_at: int = 0
    nonce: str = ""
    full: Slot | None = None
    mode: Mode = "memory"


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a bucket is: whole units that remain, below 0 where it is in debt, and microseconds until it is full. `claim` says
    which bucket, and what it holds and is refilled with; its amount means nothing.
    """

    claim: Claim
    remaining: int
    reset_us: int


@dataclass(frozen=True, slots=True)
class Levels:
    """Buckets of one account at one moment, in the order that they were asked for, and how many of the account's calls are open
    that hold a reservation, which calls without any limit do not.

    `source` says who keeps them: all processes together in `redis`; this process alone in `memory`; or, while Redis is away, each
    process for itself, of which this is one (`local`): then each bucket is this process's share, and so are the calls.
    """

    fills: tuple[Fill, ...]
    open_calls: int
    source: Literal["redis", "local", "memory"]


@dataclass(frozen=True, slots=True)
class Conservation:
    """Tokens over all buckets of an account, in whole units since the start; `imbalance` is always 0."""

    reserved: int = 0
    overdrawn: int = 0
    settled: int = 0
    given_back: int = 0
    live: int = 0
    expired: int = 0

    @classmethod
    def total(cls, parts: Iterable[Self]) -> Self:
        """The sum of several."""
        every = list(parts)
        return cls(*(sum(getattr(part, each.name) for part in every) for each in fields(cls)))

    @property
    def imbalance(self) -> int:
        return self.reserved + self.overdrawn - self.settled - self.given_back - self.live - self.expired
