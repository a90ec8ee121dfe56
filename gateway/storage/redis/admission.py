"""Admission shared by all processes: the data plane's `Admissions` over one script in Redis (admission.md).

Every question is one item of a batch; the store of connections (`store.Store`) knows which server has an account, and sends what
one event-loop turn brought together. A question that is not answered within the deadline raises LimitsUnavailable; whether it was
decided is not known then, so it is settled at nothing, now and once more a second later, when no late packet can be under way.

Settlements wait here while their server is away, up to a bound; the leases of those that are lost lapse.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from gateway.domain.admission import Answer, Ask, Conservation, Decision, Fill, Gauge, Levels
from gateway.domain.buckets import Claim
from gateway.domain.faults import LimitsUnavailable
from gateway.storage.redis import script
from gateway.storage.redis.counted import Counted, Debt

_log = logging.getLogger(__name__)
_AGAIN_SECONDS = 1.0
_RAISED_AT_ONCE = 256
_RENEWED_AT_ONCE = 1000
_SEEN = 100_000
_AUDITED = 64
_LOOKED_AT_ONCE = 512
_LOOK_SECONDS = 1.0


class Items(Protocol):
    """What carries items to the script; the futures raise LimitsUnavailable."""

    @property
    def replicated(self) -> bool:
        """Whether a fail-over can lose what was acknowledged."""

    def ask(self, account_id: str, item: object) -> asyncio.Future[Any]:
        """Send it with this turn's batch."""

    def ride(self, account_id: str, item: object) -> asyncio.Future[Any]:
        """Send it behind what is asked."""

    def on_new_server(self, listener: Callable[[str, str], None]) -> None:
        """Call `listener` when a node is another server than before, with the node's name and its run ID."""


class RedisAdmissions:
    """Implements `Admissions`, and the raising of epochs.

    `lease_us` is how long a reservation lives unless it is renewed, `hold_seconds` how long changes are not acknowledged after
    a fail-over: as long as an old master may go on answering (`min-replicas-max-lag`). `most_waiting` bounds the settlements
    that wait for a server. `clock` gives seconds.
    """

    def __init__(
        self,
        store: Items,
        *,
        lease_us: int,
        hold_seconds: float,
        clock: Callable[[], float],
        most_waiting: int = 100_000,
    ) -> None:
        self._store = store
        self._lease_us = lease_us
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._most_waiting = most_waiting
        self._held_until = 0.0
        self._open: dict[str, Ask] = {}
        self._renewed: dict[str, float] = {}
        self._owed: deque[Debt] = deque()
        self._counted = Counted()
        self._seen: dict[str, Gauge] = {}
        self._accounts: dict[str, None] = {}
        self._unbalanced: dict[str, int] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._upkeep: asyncio.Task[None] | None = None
        self._later: dict[str, asyncio.TimerHandle] = {}
        self.settlements_lost = 0
        store.on_new_server(self._on_new_server)

    async def admit(self, ask: Ask) -> Decision:
        """One atomic decision. Raises LimitsUnavailable; then the call has to be settled as if it had been admitted."""
        if ask.reserves:
            self._open[ask.call_id] = ask
        answer = await self._store.ask(ask.account_id, script.admit(ask, self._lease_us))
        decision = script.decision(ask, answer)
        self._remember(ask.account_id, decision.gauges)
        if decision.answer is Answer.ADMITTED:
            if ask.reserves and ask.call_id not in self._renewed:
                self._renewed[ask.call_id] = self._clock()
                self._counted.admitted(ask)
        else:
            self._open.pop(ask.call_id, None)
        return decision

    def _remember(self, account_id: str, gauges: Iterable[Gauge]) -> None:
        if account_id not in self._accounts:
            if len(self._accounts) >= _SEEN:
                del self._accounts[next(iter(self._accounts))]
            self._accounts[account_id] = None
        seen = self._seen
        for gauge in gauges:
            seen[gauge.claim.bucket] = gauge
        while len(seen) > _SEEN:
            del seen[next(iter(seen))]

    def last_seen(self, claim: Claim) -> int | None:
        """What was left in the bucket of a claim, in whole units, by the last decision of this process; None if it saw none."""
        gauge = self._seen.get(claim.bucket)
        return None if gauge is None else gauge.remaining

    async def levels(self, account_id: str, claims: Sequence[Claim]) -> Levels:
        """How full the buckets of these claims are, all of one account. Reads only; of more than 512, each 512 at one moment.

        Raises LimitsUnavailable, within a second.
        """
        found: list[Fill] = []
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                # One after another, so that no script of the server's runs long.
                for start in range(0, max(1, len(claims)), _LOOKED_AT_ONCE):
                    some = claims[start : start + _LOOKED_AT_ONCE]
                    answer = await self._store.ride(account_id, script.look(account_id, some))
                    open_calls, fills = script.fills(some, answer)
                    found += fills
        except TimeoutError:
            raise LimitsUnavailable("the levels were not told in time") from None
        return Levels(tuple(found), open_calls, "redis")

    def settle(self, _account_id: str, call_id: str, tokens: int) -> None:
        """Correct a reservation, at once or as soon as its server answers. One whose admission got no answer is settled twice."""
        ask = self._open.pop(call_id, None)
        if ask is None:
            return
        debt = Debt(ask, tokens, certain=self._renewed.pop(call_id, None) is not None)
        self._pay(debt)
        if not debt.certain:
            self._later[call_id] = asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._pay_again, debt)

    def _pay_again(self, debt: Debt) -> None:
        del self._later[debt.ask.call_id]
        self._pay(debt)

    def _pay(self, debt: Debt) -> None:
        def paid(future: asyncio.Future[Any]) -> None:
            if future.cancelled() or future.exception() is not None:
                self._owe(debt)
            else:
                self._counted.settled(debt, applied=future.result() == 1)

        self._store.ride(debt.ask.account_id, script.settle(debt.ask, debt.tokens)).add_done_callback(paid)

    def _owe(self, debt: Debt) -> None:
        if len(self._owed) >= self._most_waiting:
            self.settlements_lost += 1
            self._counted.settled(self._owed.popleft(), applied=False)
        self._owed.append(debt)

    @property
    def settlements_waiting(self) -> int:
        return len(self._owed)

    async def renew(self, calls: Sequence[tuple[str, str, int]]) -> list[str]:
        """Push back the leases of open calls, given as (account ID, call ID, epoch); answers the IDs of those whose epoch no
        longer holds. Raises LimitsUnavailable.
        """
        accounts: dict[str, dict[int, list[str]]] = {}
        for account_id, call_id, epoch in calls:
            accounts.setdefault(account_id, {}).setdefault(epoch, []).append(call_id)
        due = self._clock() - self._lease_us / 4e6
        answers = await asyncio.gather(
            *(self._renew(account_id, epochs, due) for account_id, epochs in accounts.items()), return_exceptions=True
        )
        stale: list[str] = []
        for answer in answers:
            if isinstance(answer, list):
                stale += answer
            elif not isinstance(answer, LimitsUnavailable):
                raise answer
        return stale

    async def _renew(self, account_id: str, epochs: Mapping[int, list[str]], due: float) -> list[str]:
        now = self._clock()
        members = [call_id for call_ids in epochs.values() for call_id in call_ids if self._renewed.get(call_id, now) <= due]
        first = members[:_RENEWED_AT_ONCE]
        asks = [self._open[call_id] for call_id in first if call_id in self._open]
        item = script.renew(account_id, self._lease_us, list(epochs), asks)
        answer = await self._store.ride(account_id, item)
        for call_id in first:
            if call_id in self._renewed:
                self._renewed[call_id] = now
        for start in range(_RENEWED_AT_ONCE, len(members), _RENEWED_AT_ONCE):
            part = [call_id for call_id in members[start : start + _RENEWED_AT_ONCE] if call_id in self._open]
            await self._store.ride(account_id, script.renew(account_id, self._lease_us, [], [self._open[one] for one in part]))
            self._renewed |= {one: now for one in part if one in self._renewed}  # some have been settled meanwhile
        return [call_id for epoch, flag in zip(epochs, answer, strict=True) if flag for call_id in epochs[epoch]]

    async def raise_epochs(self, epochs: Mapping[str, int]) -> None:
        """Put epochs in force, never lowering one. While a fail-over may not be over it waits, and raises once more.

        Raises LimitsUnavailable if one of them is not known to be in force.
        """
        await self._raise(epochs)
        while (wait := self._held_until - self._clock()) > 0:
            await asyncio.sleep(wait)
            await self._raise(epochs)
        for account_id in epochs:
            for listener in self._listeners:
                listener(account_id)

    async def _raise(self, epochs: Mapping[str, int]) -> None:
        every = list(epochs.items())
        for start in range(0, len(every), _RAISED_AT_ONCE):
            some = every[start : start + _RAISED_AT_ONCE]
            answers = [self._store.ask(account_id, script.raise_epoch(account_id, epoch)) for account_id, epoch in some]
            await asyncio.gather(*answers)

    def on_raise(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the ID of each account whose epoch this process raised."""
        self._listeners.append(listener)

    @property
    def holding(self) -> bool:
        """Whether an old master may still answer somebody: epochs are to be compared with the database as well."""
        return self._clock() < self._held_until

    def _on_new_server(self, node: str, run_id: str) -> None:
        """The first server that a process meets counts as well, where there are replicas: who knows how long it has been it."""
        if self._store.replicated:
            self._held_until = self._clock() + self._hold_seconds
            _log.info("%s is the server %s: changes are acknowledged in %g s", node, run_id, self._hold_seconds)

    def start(self) -> None:
        """Begin to pay what is owed, and to look after the sums, each second."""
        self._upkeep = asyncio.create_task(self._keep_up())

    async def close(self) -> None:
        """Stop. What is still owed is tried once more; the rest lapses with its leases."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
        for handle in self._later.values():
            handle.cancel()
        self._pay_owed()
        await asyncio.sleep(0)

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_AGAIN_SECONDS)
            try:
                self._pay_owed()
                await self._look_at_sums()
            except LimitsUnavailable:
                continue
            except Exception:  # noqa: BLE001 — whatever it is, the next turn must come
                _log.exception("the upkeep of reservations failed once")

    def _pay_owed(self) -> None:
        owed, self._owed = self._owed, deque()
        for debt in owed:
            self._pay(debt)

    async def _look_at_sums(self) -> None:
        """Read the sums of some accounts that were used here, in turn; two at once for one account are never of one moment."""
        some = list(self._accounts)[:_AUDITED]
        for account_id in some:  # to the end of the line
            del self._accounts[account_id]
            self._accounts[account_id] = None
        answers = await asyncio.gather(*(self._store.ride(account_id, script.sums(account_id)) for account_id in some))
        for account_id, answer in zip(some, answers, strict=True):
            self._unbalanced.pop(account_id, None)
            if not answer:
                continue
            imbalance = script.conservation(answer).imbalance
            if imbalance:
                self._unbalanced[account_id] = imbalance
                _log.error("%d tokens of the account %s are unaccounted for in Redis", imbalance, account_id)

    @property
    def imbalance(self) -> int:
        """Tokens unaccounted for in Redis, over the accounts that this process looked at; always 0."""
        return sum(map(abs, self._unbalanced.values()))

    def conservation(self) -> Conservation:
        """What this process reserved and settled in Redis; what went with a lease, or with Redis's data, counts as expired."""
        return self._counted.sums()
