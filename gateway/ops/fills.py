"""How full the busiest buckets are, as far as this process's decisions tell.

A decision says how long each of its buckets takes until it is full again; from that follows what is taken from it at any later
time at which nobody takes more. So what other processes take is known with the next decision here.
"""

import time
from collections.abc import Callable, Iterable
from heapq import nlargest

from gateway.domain.admission import Gauge
from gateway.domain.buckets import Claim
from gateway.ops.snapshots import Family, gauge

_MOST = 4096
_MICRO = 1_000_000
_MINUTE = 60


class Fills:
    """The buckets that decisions were made on lately. `size` are shown; `clock` gives seconds."""

    def __init__(self, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._seen: dict[str, tuple[float, Claim]] = {}  # when each bucket is full again

    def look(self, at: float, gauges: Iterable[Gauge]) -> None:
        """Take what a decision at the time `at` says of its buckets."""
        for each in gauges:
            claim = each.claim
            self._seen[claim.bucket] = (at + each.reset_us / _MICRO, claim)

    def family(self) -> Family:
        """The share that is taken of each of the busiest buckets: 1 where nothing is left, more where it is in debt."""
        now = self._clock()
        taken = [(_taken(until - now, claim), name) for name, (until, claim) in self._seen.items() if until > now]
        most = nlargest(_MOST, taken) if len(taken) > _MOST else taken
        self._seen = {name: self._seen[name] for _, name in most}
        values: dict[tuple[str, ...], float] = {}
        for share, name in nlargest(self._size, most):
            claim = self._seen[name][1]
            values[claim.level.name.lower(), claim.kind.name.lower(), claim.model, claim.owner] = share
        text = "The share that is taken of the busiest buckets."
        return gauge("gateway_bucket_fill_ratio", text, ("level", "kind", "model", "owner"), values, "max")


def _taken(seconds: float, claim: Claim) -> float:
    """What is taken of a bucket that is full in so many seconds."""
    return seconds * claim.limit / _MINUTE / claim.capacity
