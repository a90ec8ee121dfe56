"""Admission while Redis cannot be reached (admission.md): per node, so that a sick one touches only its accounts.

After a fail-over the old master may still answer another process for a while, which may acknowledge a change that the new one
does not know: so long, the epoch is compared with the database first (docs/decisions/0006).

An unanswered question is put once more, since repeating it is safe. If that fails too, or the node is known to be down, its
accounts fall back for at least five seconds, by the setting `limits.when_unavailable`:

local   the epoch is compared with the database, so that a revocation holds as ever; buckets run in this process with its share of
        each limit. A bucket begins with its share of what this process saw left in it last, and with half a share if it saw none.
allow   the epoch is compared with the database; nothing is counted.
deny    the call is answered 503.

How much may be overshot in `local`: at the change, what Redis had left is handed out once more, at most one capacity of each
bucket in all; then the processes' shares refill together as fast as the limit, but for limits below one unit a process, where
each process has one. At the return Redis's buckets have refilled meanwhile: once more at most one capacity.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal, Protocol

from msgspec.structs import replace

from gateway.domain.admission import Answer, Ask, Conservation, Decision, Fill, Levels
from gateway.domain.buckets import MICRO, Bucket, Claim, reset_us
from gateway.domain.faults import LimitsUnavailable
from gateway.storage.memory.admission import MemoryAdmissions
from gateway.storage.redis.admission import RedisAdmissions

_log = logging.getLogger(__name__)
_LEAST_SECONDS = 5.0

WhenUnavailable = Literal["local", "deny", "allow"]


class Nodes(Protocol):
    """What is known of the servers."""

    def node_of(self, account_id: str) -> str:
        """The name of the node that has an account."""

    def available(self, account_id: str) -> bool:
        """Whether that node is thought to answer."""

    def has_accounts(self, node: str) -> bool:
        """Whether any account belongs to the node of that name now."""


@dataclass(slots=True)
class _Away:
    """A node that could not be reached: until when its accounts stay fallen back, and the buckets that were begun since."""

    until: float
    begun: set[str] = field(default_factory=set)


class SharedAdmissions:
    """Implements `Admissions` over Redis, and over `local` while Redis is away.

    `epoch_of` reads an account's epoch from the database; `processes` is how many gateway processes share the limits; `clock`
    gives seconds. `fallen_back` counts the times that a node was given up, `local_decisions` what was decided without it.
    """

    def __init__(
        self,
        redis: RedisAdmissions,
        local: MemoryAdmissions,
        nodes: Nodes,
        *,
        epoch_of: Callable[[str], Awaitable[int | None]],
        processes: Callable[[], int],
        when_unavailable: WhenUnavailable,
        clock: Callable[[], float],
    ) -> None:
        self._redis = redis
        self._local = local
        self._nodes = nodes
        self._epoch_of = epoch_of
        self._processes = processes
        self._when_unavailable = when_unavailable
        self._clock = clock
        self._away: dict[str, _Away] = {}
        self._here: set[str] = set()
        self.fallen_back = 0
        self.local_decisions = 0

    @property
    def nodes_away(self) -> int:
        return len(self._away)

    async def admit(self, ask: Ask) -> Decision:
        """One atomic decision. Raises StorageUnavailable, where neither Redis nor, instead of it, the database answers."""
        node = self._nodes.node_of(ask.account_id)
        away = self._away.get(node)
        if away is not None and self._clock() >= away.until and self._nodes.available(ask.account_id):
            self._return(node)
            away = None
        if away is None:
            if self._redis.holding and await self._epoch_of(ask.account_id) != ask.epoch:
                return Decision(Answer.STALE)
            try:
                return await self._redis.admit(ask)
            except LimitsUnavailable:
                decision = await self._ask_again(ask)
            if decision is not None:
                return decision
            away = self._fall_back(node)
        if self._when_unavailable == "deny":
            raise LimitsUnavailable("Redis cannot be reached")
        return await self._decide_here(ask, away)

    async def _ask_again(self, ask: Ask) -> Decision | None:
        if self._nodes.available(ask.account_id):
            try:
                return await self._redis.admit(ask)
            except LimitsUnavailable:
                pass
        # Whether it was decided is not known: what it may have taken there is given back.
        self._redis.settle(ask.account_id, ask.call_id, 0)
        return None

    def _fall_back(self, node: str) -> _Away:
        away = self._away.get(node)
        if away is None:
            away = self._away[node] = _Away(self._clock() + _LEAST_SECONDS)
            self.fallen_back += 1
            _log.error("%s cannot be reached: limits are kept by the mode %s until it can", node, self._when_unavailable)
        return away

    def _return(self, node: str, why: str = "is reached again") -> None:
        del self._away[node]
        _log.warning("%s %s: limits are exact again", node, why)

    async def _decide_here(self, ask: Ask, away: _Away) -> Decision:
        self.local_decisions += 1
        epoch = await self._epoch_of(ask.account_id)
        if epoch != ask.epoch:
            return Decision(Answer.STALE)
        if self._when_unavailable == "allow" or not ask.reserves:
            return Decision(Answer.ADMITTED, mode="allow" if self._when_unavailable == "allow" else "local")
        processes = max(1, self._processes())
        claims = tuple(_share(claim, processes) for claim in ask.claims)
        for claim, share in zip(ask.claims, claims, strict=True):
            if claim.bucket not in away.begun:
                away.begun.add(claim.bucket)
                self._local.begin(ask.account_id, share, self._first_units(claim, share, processes))
        self._here.add(ask.call_id)
        slots = tuple(replace(slot, limit=max(1, slot.limit // processes)) for slot in ask.slots)
        decision = await self._local.admit(replace(ask, claims=claims, slots=slots))
        if decision.answer is not Answer.ADMITTED:
            self._here.discard(ask.call_id)
        return replace(decision, mode="local")

    def _first_units(self, claim: Claim, share: Claim, processes: int) -> int:
        """What a bucket begins with here."""
        seen = self._redis.last_seen(claim)
        return share.capacity // 2 if seen is None else seen // processes

    async def levels(self, account_id: str, claims: Sequence[Claim]) -> Levels:
        """How full the buckets of these claims are, all of one account. While Redis is away they are this process's shares, and
        the claims that are answered say of how much.

        Raises LimitsUnavailable while Redis is away and, by `limits.when_unavailable`, nobody keeps buckets instead.
        """
        away = self._away.get(self._nodes.node_of(account_id))
        available = self._nodes.available(account_id)
        if available and (away is None or self._clock() >= away.until):
            try:
                return await self._redis.levels(account_id, claims)
            except LimitsUnavailable:
                pass
        if self._when_unavailable != "local":
            raise LimitsUnavailable("Redis cannot be reached, and no buckets are kept instead")
        return await self._levels_here(account_id, claims, set() if away is None else away.begun)

    async def _levels_here(self, account_id: str, claims: Sequence[Claim], begun: AbstractSet[str]) -> Levels:
        processes = max(1, self._processes())
        shares = [_share(claim, processes) for claim in claims]
        found = await self._local.levels(account_id, shares)
        fills = [
            fill if claim.bucket in begun else _begun_with(fill.claim, self._first_units(claim, fill.claim, processes))
            for claim, fill in zip(claims, found.fills, strict=True)
        ]
        return Levels(tuple(fills), found.open_calls, "local")

    def settle(self, account_id: str, call_id: str, tokens: int) -> None:
        """Correct a reservation, where it was made."""
        if call_id in self._here:
            self._here.discard(call_id)
            self._local.settle(account_id, call_id, tokens)
        else:
            self._redis.settle(account_id, call_id, tokens)

    async def renew(self, calls: Sequence[tuple[str, str, int]]) -> list[str]:
        """Push back leases; answers the calls whose epoch no longer holds. Raises StorageUnavailable."""
        there: list[tuple[str, str, int]] = []
        here: list[tuple[str, str, int]] = []
        for call in calls:
            # A node that does not answer must not hold up the others' streams, also where no call has met it yet.
            away = self._nodes.node_of(call[0]) in self._away or not self._nodes.available(call[0])
            (here if away else there).append(call)
        stale = await self._redis.renew(there) if there else []
        if any(call_id in self._here for _, call_id, _ in calls):
            await self._local.renew(calls)
        accounts = list({account_id for account_id, _, _ in here})
        epochs = dict(zip(accounts, await asyncio.gather(*map(self._epoch_of, accounts)), strict=True))
        return stale + [call_id for account_id, call_id, epoch in here if epochs[account_id] != epoch]

    async def raise_epochs(self, epochs: Mapping[str, int]) -> None:
        """Put epochs in force. Raises LimitsUnavailable while Redis is away: other processes may still reach it."""
        await self._redis.raise_epochs(epochs)

    def on_raise(self, listener: Callable[[str], None]) -> None:
        self._redis.on_raise(listener)

    def sweep(self) -> None:
        """Housekeeping, from time to time. A node whose accounts all went to another one, as in a Cluster's fail-over, never
        returns by being asked.
        """
        self._local.sweep()
        for node in [node for node in self._away if not self._nodes.has_accounts(node)]:
            self._return(node, "has no accounts any more")

    def conservation(self) -> Conservation:
        """Tokens in Redis, as this process saw them last, and here."""
        return Conservation.total([self._redis.conservation(), self._local.conservation()])


def _begun_with(share: Claim, units: int) -> Fill:
    """A bucket that is not used here yet, as it would begin."""
    units = min(units, share.capacity)
    return Fill(share, units, reset_us(Bucket(units * MICRO, 0), share, 0))


def _share(claim: Claim, processes: int) -> Claim:
    capacity = max(1, claim.capacity // processes)
    return replace(claim, limit=max(1, claim.limit // processes), capacity=capacity, amount=min(claim.amount, capacity))
