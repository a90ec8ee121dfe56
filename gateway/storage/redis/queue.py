"""What waits to be sent to one node: admissions first, everything else behind them."""

import asyncio
from collections import deque
from typing import Any, NamedTuple

_ROOM_FOR_RIDES = 16  # of a batch, when admissions would fill it and rides are overdue


class Entry(NamedTuple):
    """One item and whoever waits for its answer. `deadline` is a time of the event loop: for a ride, until when it may wait."""

    future: asyncio.Future[Any]
    item: object
    deadline: float
    account_id: str
    ride: bool


class Queue:
    """The entries of one node, in the order in which they came. Whoever was answered or cancelled meanwhile is skipped."""

    def __init__(self) -> None:
        self.asks: deque[Entry] = deque()
        self.rides: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self.asks) + len(self.rides)

    def add(self, entry: Entry) -> None:
        (self.rides if entry.ride else self.asks).append(entry)

    def again(self, entry: Entry) -> None:
        """Take back what was sent before: it has waited longest."""
        (self.rides if entry.ride else self.asks).appendleft(entry)

    def take(self, most: int, *, overdue: bool) -> list[Entry]:
        """Up to `most` entries. `overdue`: rides have waited long enough to take some of the room that admissions could use."""
        taken: list[Entry] = []
        reserved = min(_ROOM_FOR_RIDES, len(self.rides)) if overdue else 0
        self._move(self.asks, taken, most - reserved)
        self._move(self.rides, taken, most)
        return taken

    @staticmethod
    def _move(waiting: deque[Entry], taken: list[Entry], until: int) -> None:
        while waiting and len(taken) < until:
            entry = waiting.popleft()
            if not entry.future.done():
                taken.append(entry)

    def expired(self, now: float) -> list[Entry]:
        """Remove and return what may wait no longer."""
        late: list[Entry] = []
        for waiting in (self.asks, self.rides):
            while waiting and (waiting[0].deadline <= now or waiting[0].future.done()):
                entry = waiting.popleft()
                if not entry.future.done():
                    late.append(entry)
        return late

    def next_deadline(self) -> float:
        """When the first of them may wait no longer; infinity if nothing waits."""
        return min((waiting[0].deadline for waiting in (self.asks, self.rides) if waiting), default=float("inf"))

    def drain(self, *, rides: bool = True) -> list[Entry]:
        """Remove and return everything that still waits, or the admissions alone."""
        taken = list(self.asks)
        self.asks.clear()
        if rides:
            taken += self.rides
            self.rides.clear()
        return [entry for entry in taken if not entry.future.done()]
