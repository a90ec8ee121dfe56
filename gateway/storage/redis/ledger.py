"""The ledger's way out of a process: into Redis streams, which hold entries until a consumer has moved them to the database.

Entries of one turn of the event loop leave together at its end; those of the twenty milliseconds after it leave together at
theirs, unless somebody waits for them, since a message costs much more than an entry in it. Whatever fails is repeated, since the
consumer stores each call once; and while Redis is away but the database is there, entries go straight to the database. So an
entry is lost only with this process, or when both are away for so long that more wait than may. With a Cluster each node has its
own queue, deadline and pause, so that a sick one holds up its own streams alone.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from gateway.domain.ledger import Entry
from gateway.storage.backlog import Backlog, Batch
from gateway.storage.redis.streams import FIELD, Client, Streams, encode, pipelined
from gateway.storage.sql.entries import Stored

_BATCH = 500
_IN_FLIGHT = 4
_GATHER_SECONDS = 0.01
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
_LOOK_SECONDS = 1.0

Store = Callable[[Sequence[Entry]], Awaitable[Stored]]
"""Stores entries in the database, once by call ID; `storage.sql.entries.store` with its engine."""

_log = logging.getLogger(__name__)


class StreamLedger:
    """Implements the data plane's `Ledger`.

    `written` counts entries that Redis or, while that could not take them, the database took (`direct`: those of the database),
    `lost` those given up, `failures` the attempts that failed and are made again. At most `capacity` entries wait for each node
    of Redis, and those under way besides. `timeout_seconds` bounds an attempt; after `patience_seconds` of failing ones the
    database is used instead, and Redis tried again each second.
    """

    def __init__(
        self,
        client: Client,
        streams: Streams,
        store: Store,
        *,
        capacity: int = 100_000,
        timeout_seconds: float = 1.0,
        patience_seconds: float = 2.0,
        close_seconds: float = 10.0,
    ) -> None:
        self.client = client
        self.streams = streams
        self.store = store
        self.capacity = capacity
        self.timeout_seconds = timeout_seconds
        self.patience_seconds = patience_seconds
        self._close_seconds = close_seconds
        self._lanes: dict[str, _Lane] = {}
        self._lane_of: list[_Lane] = []
        self._looked = 0.0
        self._turn: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None
        self.written = 0
        self.direct = 0
        self.failures = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Entries that neither Redis nor the database has acknowledged."""
        return sum(lane.backlog.waiting for lane in self._lanes.values())

    @property
    def oldest(self) -> int | None:
        """When the call of the oldest of them ended, in Unix milliseconds; None where none waits."""
        found = [oldest for lane in self._lanes.values() if (oldest := lane.backlog.oldest) is not None]
        return min(found, default=None)

    @property
    def lost(self) -> int:
        return self.refused + sum(lane.backlog.lost for lane in self._lanes.values())

    async def start(self) -> None:
        """Begin to take entries."""
        self._look()

    def append(self, entry: Entry) -> None:
        """Take an entry; it leaves at the end of this turn of the event loop, or some milliseconds later together with others.

        Never blocks, never raises.
        """
        if not self._lane_of:
            self._look()
        self._lane_of[self.streams.of(entry.account_id)].backlog.append(entry)
        if self._later is None:
            self._leave_soon()

    async def acknowledged(self) -> None:
        """Return once all that was appended so far is in Redis or the database, or was counted as lost.

        It leaves at the end of this turn.
        """
        self._leave_soon()
        await asyncio.gather(*(lane.backlog.acknowledged() for lane in list(self._lanes.values())))

    async def close(self) -> None:
        """Return once all that was appended is acknowledged; without Redis and database it gives up, and counts what is lost."""
        try:
            async with asyncio.timeout(self._close_seconds):
                await self.acknowledged()
        except TimeoutError:
            lost = sum(lane.backlog.give_up() for lane in self._lanes.values())
            _log.error("%d ledger entries are lost: Redis and the database were away to the end", lost)
        if self._later is not None:
            self._later.cancel()
        for lane in self._lanes.values():
            await lane.close()

    def _leave_soon(self) -> None:
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        if self._later is not None:
            self._later.cancel()
        self._turn = self._later = None
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        sent = [lane.send() for lane in self._lanes.values()]
        if any(sent):
            self._later = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._leave)

    def _look(self) -> None:
        """See which node has which stream. What waits in a lane stays there: its commands find their way all the same."""
        self._looked = time.monotonic()
        found = [(number, name) for name, numbers in self.streams.lanes(self.client).items() for number in numbers]
        self._lane_of = [self._lane(name) for _, name in sorted(found)]

    def _lane(self, name: str) -> "_Lane":
        if name not in self._lanes:
            self._lanes[name] = _Lane(self, name)
        return self._lanes[name]


class _Lane:
    """What goes to one node."""

    def __init__(self, ledger: StreamLedger, name: str) -> None:
        self.backlog = Backlog(ledger.capacity, "Redis and the database")
        self._ledger = ledger
        self._place = f"Redis at {name}" if name else "Redis"
        self._senders: set[asyncio.Task[None]] = set()
        self._behind = False
        self._failing_since: float | None = None
        self._try_again_at = 0.0

    def send(self) -> bool:
        """Send what waits, as far as there is room for another batch in flight; the rest follows. Returns whether any left."""
        sent = False
        while self.backlog and len(self._senders) < _IN_FLIGHT:
            sender = asyncio.create_task(self._send(self.backlog.take(_BATCH)))
            self._senders.add(sender)
            sender.add_done_callback(self._sent)
            sent = True
        self._behind = bool(self.backlog)
        return sent

    async def close(self) -> None:
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)

    def _sent(self, sender: asyncio.Task[None]) -> None:
        self._senders.discard(sender)
        if self._behind and not sender.cancelled():
            self.send()

    async def _send(self, batch: Batch) -> None:
        """Send a batch until it has arrived, with longer and longer pauses while neither Redis nor the database takes it."""
        parts: dict[int, list[Entry]] = {}
        for entry in batch.entries:
            parts.setdefault(self._ledger.streams.of(entry.account_id), []).append(entry)
        pause = _FIRST_PAUSE
        while True:
            for route in self._routes(parts):
                await route(parts)
            if not parts:
                break
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 — spreads retries, guards nothing
            pause = min(pause * 2, _LONGEST_PAUSE)
        self.backlog.done(batch)

    def _routes(self, parts: dict[int, list[Entry]]) -> list[Callable[[dict[int, list[Entry]]], Awaitable[None]]]:
        """The ways to try now, in order; each takes from `parts` what has arrived."""
        ledger, now = self._ledger, time.monotonic()
        if any(ledger.streams.crowded(number) for number in parts):
            # The streams have to get shorter. They get longer only if the entries would be lost otherwise.
            desperate = len(self.backlog) > self.backlog.capacity // 2
            return [self._to_database, self._to_streams] if desperate else [self._to_database]
        if self._failing_since is None or now - self._failing_since < ledger.patience_seconds:
            return [self._to_streams]
        if now < self._try_again_at:
            return [self._to_database]
        self._try_again_at = now + _LOOK_SECONDS
        return [self._to_streams, self._to_database]

    async def _to_streams(self, parts: dict[int, list[Entry]]) -> None:
        if not parts:
            return
        ledger = self._ledger
        payloads = {number: payload for number in list(parts) if (payload := self._encoded(parts, number))}
        try:
            async with asyncio.timeout(ledger.timeout_seconds):
                commands = [("XADD", ledger.streams.names[number], "*", FIELD, payload) for number, payload in payloads.items()]
                answers = await pipelined(ledger.client, commands) if commands else []
        except Exception as error:  # noqa: BLE001 — whatever it is, nobody else would send these entries
            self._failed(error)
            return
        problems = []
        for number, answer in zip(payloads, answers, strict=True):
            if isinstance(answer, Exception):
                problems.append(answer)
            else:
                ledger.written += len(parts.pop(number))
        if problems:
            self._failed(problems[0])
        elif self._failing_since is not None:
            self._failing_since = None
            self.backlog.recovered()
            _log.info("%s takes ledger entries again", self._place)

    async def _to_database(self, parts: dict[int, list[Entry]]) -> None:
        if not parts:
            return
        entries = [entry for part in parts.values() for entry in part]
        try:
            stored = await self._ledger.store(entries)
        except Exception as error:  # noqa: BLE001 — whatever it is, the next way, or the next attempt, takes them
            self._ledger.failures += 1
            _log.debug("ledger entries could not be stored: %s", error)
            return
        self._ledger.refused += len(stored.refused)
        self._ledger.written += len(entries) - len(stored.refused)
        self._ledger.direct += len(entries) - len(stored.refused)
        self.backlog.recovered()
        parts.clear()

    def _encoded(self, parts: dict[int, list[Entry]], number: int) -> bytes:
        """The message of a stream, without what no message can hold; that is lost, and left out of `parts`."""
        try:
            return encode(parts[number])
        except (ValueError, OverflowError):
            good = []
            for entry in parts[number]:
                try:
                    encode([entry])
                except (ValueError, OverflowError):
                    self._ledger.refused += 1
                    known = {"request_id": entry.call_id}
                    _log.exception("the ledger entry of call %s cannot be stored and is lost", entry.call_id, extra=known)
                else:
                    good.append(entry)
        if not good:
            del parts[number]
            return b""
        parts[number] = good
        return encode(good)

    def _failed(self, error: Exception) -> None:
        self._ledger.failures += 1
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            _log.warning("%s does not take ledger entries: %s: %s", self._place, type(error).__name__, error)
