"""Moves ledger entries from the Redis streams to the database, in every process: each entry is stored once, by its call ID.

A message is deleted only once its entries are committed. So whatever dies in between, another member of the group stores them
again, which changes nothing. While the database is away messages stay where they are, and the streams grow; `lag` and
`Streams.overfull` tell.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from gateway.domain.ledger import Entry
from gateway.storage.redis.group import COUNT, Group, Message
from gateway.storage.redis.streams import FIELD, Client, Streams, decode, encode, pipelined
from gateway.storage.sql.entries import Stored

_BATCH = 2000
_POLL_SECONDS = 0.1
_IDLE_SECONDS = 0.5
_LONGEST_PAUSE = 5.0
_SAMPLE_TIMEOUT = 5.0

_log = logging.getLogger(__name__)


class StreamConsumer:
    """One process's member of the consumer group.

    `stored` counts rows that were inserted, `claimed` messages taken over from members that died, `dead` what was put aside
    because it cannot be read or stored, `failures` the turns that failed and are repeated. Messages that nobody touched for
    `idle_seconds` are taken over; members that did nothing for `dead_seconds`, and have nothing pending, are removed. The lengths
    of the streams are read each `sample_seconds`.
    """

    def __init__(
        self,
        client: Client,
        streams: Streams,
        store: Callable[[Sequence[Entry]], Awaitable[Stored]],
        *,
        idle_seconds: float = 30.0,
        dead_seconds: float = 600.0,
        sample_seconds: float = 2.0,
        close_seconds: float = 5.0,
    ) -> None:
        self.group = Group(client, streams)
        self._client = client
        self._streams = streams
        self._store = store
        self._idle_ms = int(idle_seconds * 1000)
        self._dead_ms = int(dead_seconds * 1000)
        self._sample_seconds = sample_seconds
        self._close_seconds = close_seconds
        self._pauses: dict[str, _Pause] = {}
        self._claim_at = 0.0
        self._more = False
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.stored = 0
        self.claimed = 0
        self.dead = 0
        self.failures = 0

    @property
    def lag(self) -> int:
        """Messages in all streams when they were last looked at; each holds the entries of a turn of some process."""
        return sum(self._streams.lengths)

    async def start(self) -> None:
        """Begin to move entries in the background."""
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._sample())]

    async def close(self) -> None:
        """Move what is there, within some seconds, and leave the group. What stays is moved by others, or at the next start."""
        self._closing.set()
        for task in self._tasks[1:]:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._close_seconds):
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await self._leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _leave(self) -> None:
        try:
            await self.group.leave()
        except Exception as error:  # noqa: BLE001 — whoever stays removes the name later
            _log.debug("the ledger streams' groups could not be left: %s", error)

    async def turn(self) -> int:
        """Move what is there now, a bounded part of it, of all nodes that are not being paused. Returns how many messages.

        Never raises; what failed is tried again after a pause.
        """
        if time.monotonic() >= self._claim_at:
            # With jitter, so that not all processes reach for the same messages at once.
            self._claim_at = time.monotonic() + self._idle_ms / 3000 * random.uniform(0.75, 1.25)  # noqa: S311
            claim = True
        else:
            claim = False
        self._more = False
        lanes = self._streams.lanes(self._client)
        return sum(await asyncio.gather(*(self._lane(name, numbers, claim=claim) for name, numbers in lanes.items())))

    async def _work(self) -> None:
        pause = _POLL_SECONDS
        while True:
            moved = await self.turn()
            if self._closing.is_set() and not moved:
                return
            # Also while there is much to do the streams are left alone between turns, so that many entries share a transaction.
            pause = _POLL_SECONDS if moved else min(max(pause, _POLL_SECONDS) * 1.5, _IDLE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if self._more else pause * random.uniform(0.75, 1.25)):  # noqa: S311 — spreads the polls
                    await self._closing.wait()

    async def _sample(self) -> None:
        while True:
            for numbers in self._streams.lanes(self._client).values():
                try:
                    async with asyncio.timeout(_SAMPLE_TIMEOUT):
                        lengths = await pipelined(self._client, [("XLEN", self._streams.names[number]) for number in numbers])
                except Exception as error:  # noqa: BLE001 — the last lengths seen stay, and the next look may succeed
                    _log.debug("the ledger streams could not be measured: %s", error)
                    continue
                for number, length in zip(numbers, lengths, strict=True):
                    if isinstance(length, int):
                        self._streams.lengths[number] = length
            await asyncio.sleep(self._sample_seconds * random.uniform(0.75, 1.25))  # noqa: S311 — spreads the looks

    async def _lane(self, name: str, numbers: Sequence[int], *, claim: bool) -> int:
        """One turn with one node. Returns how many messages were moved; 0 also where it failed or is paused."""
        pause = self._pauses.setdefault(name, _Pause())
        if time.monotonic() < pause.until:
            return 0
        try:
            if claim:
                await self._take_over(numbers)
            messages = await self.group.read(numbers)
            self._more |= max(Counter(message.stream for message in messages).values(), default=0) >= COUNT
            await self._move(messages)
        except Exception as error:  # noqa: BLE001 — nobody else moves these entries, so whatever it is, try again
            self.failures += 1
            # What was read is pending here, and is read again.
            self.group.own |= set(numbers)
            if not pause.seconds:
                _log.warning(
                    "ledger entries wait in the streams%s: %s: %s", f" of {name}" if name else "", type(error).__name__, error
                )
            pause.longer()
            return 0
        if pause.seconds:
            pause.over()
            _log.info("ledger entries are moved from the streams%s again", f" of {name}" if name else "")
        return len(messages)

    async def _take_over(self, numbers: Sequence[int]) -> None:
        claimed = await self.group.claim(numbers, self._idle_ms)
        self.claimed += claimed
        if claimed:
            _log.info("took over %d messages of the ledger streams from a process that does not end them", claimed)
        if removed := await self.group.remove_dead(numbers, self._dead_ms):
            _log.info("removed %d members of the ledger streams' groups that are gone", removed)

    async def _move(self, messages: Sequence[Message]) -> None:
        batch: list[tuple[Message, list[Entry]]] = []
        unreadable: list[tuple[Message, str]] = []
        gathered = 0
        for message in messages:
            try:
                entries = decode(message.fields) if message.fields else []
            except ValueError as error:
                unreadable.append((message, str(error)))
                continue
            batch.append((message, entries))
            gathered += len(entries)
            if gathered >= _BATCH:
                await self._store_batch(batch)
                batch, gathered = [], 0
        if batch:
            await self._store_batch(batch)
        if unreadable:
            _log.error(
                "%d messages of the ledger streams cannot be read and are put aside: %s", len(unreadable), unreadable[0][1]
            )
            await self.group.bury((message.stream, message.fields, reason) for message, reason in unreadable)
            await self.group.end(message for message, _ in unreadable)
            self.dead += len(unreadable)

    async def _store_batch(self, batch: Sequence[tuple[Message, list[Entry]]]) -> None:
        stored = await self._store([entry for _, entries in batch for entry in entries])
        self.stored += stored.inserted
        if stored.refused:
            reason = "the database refuses a value"
            await self.group.bury((self._streams.of(one.account_id), {FIELD: encode([one])}, reason) for one in stored.refused)
            self.dead += len(stored.refused)
        await self.group.end(message for message, _ in batch)


class _Pause:
    """How long to leave a node, or the database, alone: longer with each failure, and jittered."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.until = 0.0

    def longer(self) -> None:
        self.seconds = min(max(self.seconds * 2, _POLL_SECONDS), _LONGEST_PAUSE)
        self.until = time.monotonic() + self.seconds * random.uniform(0.5, 1.0)  # noqa: S311 — spreads retries

    def over(self) -> None:
        self.seconds = 0.0
