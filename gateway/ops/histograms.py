"""Histograms with fixed bounds, as plain integers: what is observed costs a search in a short list and an addition.

Prometheus's own client keeps an object with a lock for each bucket, which a call would pay for a dozen times.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from gateway.ops.snapshots import Family, Labels

_FEW = 8

FINE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds of what this process does itself."""
LONG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds of what others are waited for."""
ITEMS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)
"""How many things are done at once."""


class Histogram:
    """How often a value was at most each of `bounds`, which ascend, and above all of them: `counts` has one place more than
    `bounds`, and each value counts in one of them. `sum` is the sum of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, values: Sequence[float]) -> None:
        """Count many at once; the loops over them are not Python's own."""
        self.sum += sum(values)
        counts, bounds = self.counts, self.bounds
        if len(values) < _FEW:
            for value in values:
                counts[bisect_left(bounds, value)] += 1
            return
        # Values of one kind lie close together, so that few bounds have any between them.
        ordered, below = sorted(values), 0
        for place in range(bisect_left(bounds, ordered[0]), len(bounds)):
            upto = bisect_right(ordered, bounds[place], below)
            counts[place] += upto - below
            below = upto
            if below == len(ordered):
                return
        counts[-1] += len(ordered) - below

    @property
    def count(self) -> int:
        return sum(self.counts)


class Histograms:
    """One metric: a histogram for each set of values of its labels, made when it is first asked for.

    `always` are labels with one value, the same for all.
    """

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = (), *, always: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.name = name
        self.text = text
        self._bounds = tuple(bounds)
        self._names = tuple(labels)
        self._always = tuple(always)
        self._known: dict[tuple[str, ...], Histogram] = {}
        if not labels:
            self.of()  # shown from the start

    def of(self, *values: str) -> Histogram:
        """The histogram of these values, in the order of the labels."""
        return self._known.get(values) or self._known.setdefault(values, Histogram(self._bounds))

    def family(self) -> Family:
        """The present values."""
        rows = [(self._labels(values), list(each.counts), each.sum) for values, each in list(self._known.items())]
        return Family(self.name, self.text, "histogram", "sum", [], self._bounds, rows)

    def _labels(self, values: tuple[str, ...]) -> Labels:
        return tuple(sorted([*zip(self._names, values, strict=True), *self._always]))
