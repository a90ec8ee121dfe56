"""What waits to be sent to one node, admissions first: also when it is to be sent, and when it is too late."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.storage.redis.state import Limits

_ROOM_FOR_RIDES = 16  # of a batch, when admissions would fill it and rides are overdue


class Entry(NamedTuple):
    """One item and whoever waits for its answer. `deadline` is a time of the event loop: for a ride, until when it may wait."""

    future: asyncio.Future[Any]
    item: object
    deadline: float
    account_id: str
    ride: bool


class Queue:
    """The entries of one node, in the order in which they came. Whoever was answered or cancelled meanwhile is skipped.

    `send` is called when something is due: at the end of a turn of the event loop in which an admission came, and when rides
    have waited long enough for one. `check` is called when a deadline that was watched has passed.
    """

    def __init__(self, limits: Limits, send: Callable[[], None], check: Callable[[], None]) -> None:
        self._limits = limits
        self._send = send
        self._check = check
        self._loop = asyncio.get_running_loop()
        self._asks: deque[Entry] = deque()
        self._rides: deque[Entry] = deque()
        self._detours: deque[list[Entry]] = deque()
        self._turn_pending = False
        self._overdue = False
        self._ride_timer: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.watched = math.inf

    def __len__(self) -> int:
        return len(self._asks) + len(self._rides) + sum(map(len, self._detours))

    @property
    def rides(self) -> int:
        return len(self._rides)

    def ask(self, future: asyncio.Future[Any], account_id: str, item: object) -> None:
        """Take an admission."""
        deadline = self._loop.time() + self._limits.deadline
        self._asks.append(Entry(future, item, deadline, account_id, ride=False))
        self._soon(deadline)

    def ride(self, future: asyncio.Future[Any], account_id: str, item: object) -> None:
        """Take anything else."""
        deadline = self._loop.time() + self._limits.patience
        self._rides.append(Entry(future, item, deadline, account_id, ride=True))
        if self._ride_timer is None:
            self._ride_timer = self._loop.call_later(self._limits.ride, self.rides_are_due)
        if deadline < self.watched:
            self.watch(deadline)

    def again(self, entry: Entry) -> None:
        """Take back what was sent before: it has waited longest."""
        (self._rides if entry.ride else self._asks).appendleft(entry)
        self._overdue |= entry.ride
        self._soon(entry.deadline)

    def detour(self, entries: list[Entry]) -> None:
        """Take what is to be sent with `ASKING`, by itself."""
        self._detours.append(entries)
        self._soon(entries[0].deadline)

    def _soon(self, deadline: float) -> None:
        if not self._turn_pending:
            self._turn_pending = True
            self._loop.call_soon(self._end_of_turn)
        if deadline < self.watched:
            self.watch(deadline)

    def _end_of_turn(self) -> None:
        self._turn_pending = False
        self._send()

    def rides_are_due(self) -> None:
        """From now until none is left, rides are sent also without an admission to ride behind."""
        self._ride_timer = None
        self._overdue = True
        self._send()

    def take(self) -> tuple[list[Entry], bool]:
        """The entries of the next batch, none if nothing is due; and whether they are to be sent with `ASKING`."""
        while self._detours:
            detour = [entry for entry in self._detours.popleft() if not entry.future.done()]
            if detour:
                return detour, True
        taken: list[Entry] = []
        most = self._limits.batch_items
        if self._asks or self._overdue:
            self._move(self._asks, taken, most - (min(_ROOM_FOR_RIDES, len(self._rides)) if self._overdue else 0))
            if taken or self._overdue:
                self._move(self._rides, taken, most)
        self._overdue = self._overdue and bool(self._rides)
        return taken, False

    @staticmethod
    def _move(waiting: deque[Entry], taken: list[Entry], until: int) -> None:
        while waiting and len(taken) < until:
            entry = waiting.popleft()
            if not entry[0].done():
                taken.append(entry)

    def watch(self, when: float) -> None:
        """Call `check` at this time of the event loop, and at no other; never, at infinity."""
        if self._timer is not None:
            self._timer.cancel()
        self.watched = when
        self._timer = self._loop.call_at(when, self._check) if when < math.inf else None

    def next_deadline(self) -> float:
        """When the first of them may wait no longer; infinity if nothing waits."""
        first = [waiting[0].deadline for waiting in (self._asks, self._rides, *self._detours) if waiting]
        return min(first, default=math.inf)

    def expired(self, now: float) -> list[Entry]:
        """Remove and return what may wait no longer."""
        late: list[Entry] = []
        for waiting in (self._asks, self._rides):
            while waiting and (waiting[0].deadline <= now or waiting[0].future.done()):
                late.append(waiting.popleft())
        for _ in range(len(self._detours)):
            detour = self._detours.popleft()
            if detour[0].deadline <= now:
                late += detour
            else:
                self._detours.append(detour)
        return [entry for entry in late if not entry.future.done()]

    def drain(self, *, rides: bool = True) -> list[Entry]:
        """Remove and return everything that waits, or all but the rides."""
        taken = [*self._asks, *(entry for detour in self._detours for entry in detour)]
        self._asks.clear()
        self._detours.clear()
        if rides:
            taken += self._rides
            self._rides.clear()
        return [entry for entry in taken if not entry.future.done()]

    def close(self) -> None:
        """Stop the timers; nothing waits any more."""
        for timer in (self._timer, self._ride_timer):
            if timer is not None:
                timer.cancel()
