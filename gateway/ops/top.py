"""Counters by workspace or by key without a label for each of them: the few that count most, and all others as `other`.

A process names at most `size` at a time. Whoever comes while there is room is named at once. Every fifteen seconds those that
counted most since are looked at; one that is not named yet takes the place of the one that counted least, if it counted more
than twice as much, so that two alike do not take turns. Who is named counts in `other` up to then, and by name from then on;
who loses its place is no longer shown, and goes on from where it was if it is named again. So no counter goes back.

What the names tell is therefore a lower bound: what a workspace did before it was named, or in a worker that does not name it,
is in `other`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from heapq import nlargest

from gateway.ops.snapshots import OTHER, SHOWN, Family, Sample

_WINDOW_SECONDS = 15.0
_MOST_RECENT = 100_000
_MOST_KEPT = 1000
_TIMES = 2


class Top:
    """One metric. `name` is without `_total`, `label` says what is named; `clock` gives seconds."""

    def __init__(self, name: str, text: str, label: str, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.text = text
        self._label = label
        self._size = size
        self._clock = clock
        self._counts: dict[str, int] = {}  # of all that are named, or were
        self._named: set[str] = set()
        self._recent: Counter[str] = Counter()
        self._total = 0
        self._window_ends = 0.0

    @property
    def named(self) -> frozenset[str]:
        return frozenset(self._named)

    def add(self, names: Iterable[str]) -> None:
        """Count each name once for each time that it is there."""
        more = Counter(names)
        self._total += more.total()
        now = self._clock()
        if now >= self._window_ends:
            self._reconsider()
            self._window_ends = now + _WINDOW_SECONDS
        if len(self._recent) < _MOST_RECENT:
            self._recent.update(more)
        if len(self._named) < self._size:
            for name, _ in more.most_common(self._size):
                if len(self._named) < self._size:
                    self._name(name)
        for name in self._named & more.keys():
            self._counts[name] += more[name]

    def _name(self, name: str) -> None:
        self._named.add(name)
        self._counts.setdefault(name, 0)
        while len(self._counts) > _MOST_KEPT + self._size:  # one that was forgotten begins anew, as after a restart
            del self._counts[next(each for each in self._counts if each not in self._named)]

    def _reconsider(self) -> None:
        recent, self._recent = self._recent, Counter()
        for name, count in nlargest(self._size, recent.items(), key=lambda each: each[1]):
            if name in self._named:
                continue
            if len(self._named) >= self._size:
                least = min(self._named, key=lambda each: recent[each])
                if count <= _TIMES * recent[least]:
                    break
                self._named.discard(least)
            self._name(name)

    def family(self) -> Family:
        """The present values; see `Family` for what is shown of them."""
        full = f"{self.name}_total"
        samples: list[Sample] = [(full, ((self._label, name),), float(count)) for name, count in self._counts.items()]
        samples.append((full, ((self._label, OTHER),), float(self._total - sum(self._counts.values()))))
        samples += [(SHOWN, ((self._label, name),), 1.0) for name in sorted(self._named)]
        return Family(self.name, self.text, "counter", "top", samples)
