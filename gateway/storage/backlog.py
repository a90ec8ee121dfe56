"""What waits in a process to be stored: a bounded queue of ledger entries, and who waits for them to be safe."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass

from gateway.domain.ledger import Entry

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Entries that were taken to be stored together, in order; `first` is the number of the first of them."""

    first: int
    entries: list[Entry]


class Backlog:
    """Entries in the order that they came. At most `capacity` wait, and those of the batches that are under way besides; beyond,
    the oldest are lost, counted in `lost`, and logged once until `recovered`. `waits_for` names what is away, for that line.
    """

    def __init__(self, capacity: int, waits_for: str) -> None:
        self.capacity = capacity
        self.lost = 0
        self._waits_for = waits_for
        self._queue: deque[Entry] = deque()
        self._under_way: set[Batch] = set()
        # Entries are numbered from 0 on as they come; this is the number of the first that is in the queue, or will be.
        self._first = 0
        self._overflowed = False
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []  # each with the number that has to be the oldest

    def __len__(self) -> int:
        """Entries that no batch holds."""
        return len(self._queue)

    @property
    def waiting(self) -> int:
        """Entries that are not stored yet."""
        return len(self._queue) + sum(len(batch.entries) for batch in self._under_way)

    @property
    def oldest(self) -> int | None:
        """When the call of the oldest entry that is not stored yet ended, in Unix milliseconds; None where nothing waits."""
        first = min((batch for batch in self._under_way), key=lambda batch: batch.first, default=None)
        entries = first.entries if first is not None else self._queue
        return entries[0].at + entries[0].duration_ms if entries else None

    def append(self, entry: Entry) -> int:
        """Take an entry. Returns how many wait that no batch holds."""
        self._queue.append(entry)
        waiting = len(self._queue)
        if waiting > self.capacity:
            self._trim()
        return waiting

    def take(self, most: int) -> Batch:
        """The oldest entries; they are under way until `done` or `give_back`."""
        batch = Batch(self._first, [self._queue.popleft() for _ in range(min(most, len(self._queue)))])
        self._first += len(batch.entries)
        self._under_way.add(batch)
        return batch

    def done(self, batch: Batch) -> None:
        """A batch is stored, or given up."""
        self._under_way.discard(batch)
        self._release()

    def give_back(self, batch: Batch) -> None:
        """A batch could not be stored; its entries wait again, in front. For the batch that was taken last."""
        self._under_way.discard(batch)
        self._queue.extendleft(reversed(batch.entries))
        self._first = batch.first
        self._trim()

    def give_up(self) -> int:
        """Lose all that waits. Returns how many entries that are."""
        lost = self.waiting
        self.lost += lost
        self._first += len(self._queue)
        self._queue.clear()
        self._under_way.clear()
        self._release()
        return lost

    def recovered(self) -> None:
        self._overflowed = False

    async def acknowledged(self) -> None:
        """Return once all that was appended so far is stored; what was lost on the way is not waited for."""
        next_one = self._first + len(self._queue)
        if self._oldest() < next_one:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((next_one, waiter))
            await waiter

    def _trim(self) -> None:
        if len(self._queue) <= self.capacity:
            return
        while len(self._queue) > self.capacity:
            self._queue.popleft()
            self._first += 1
            self.lost += 1
        if not self._overflowed:
            self._overflowed = True
            text = "more than %d ledger entries wait for %s: the oldest are lost from here on"
            _log.error(text, self.capacity, self._waits_for)
        self._release()

    def _oldest(self) -> int:
        """The number of the oldest entry that is not stored yet; that of the next one to come if there is none."""
        return min((batch.first for batch in self._under_way), default=self._first)

    def _release(self) -> None:
        if self._waiters:
            oldest = self._oldest()
            for _, waiter in (each for each in self._waiters if each[0] <= oldest):
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters = [each for each in self._waiters if each[0] > oldest]
