"""Which upstreams are well: a circuit breaker for each, counted from what calls report."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

_JITTER = 0.2  # an ejection lasts up to this part longer, so that processes do not probe in step


@dataclass(slots=True)
class _Record:
    """One upstream that has failed. `until` and `probe_until` are times of the clock; None where nothing is under way."""

    failures: int = 0
    ejections: int = 0
    until: float | None = None
    probe_until: float | None = None


class Health:
    """Ejects an upstream after `failures` failures in a row, for a time that doubles from `shortest` to `longest` seconds.

    When it is over, one call is let through as a probe. A probe that nobody reports on is given up after `probe` seconds, and
    another one is let through. Reports of calls that began before an ejection count for nothing while it lasts.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        shortest: float = 1.0,
        longest: float = 60.0,
        probe: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._failures = failures
        self._shortest = shortest
        self._longest = longest
        self._probe = probe
        self._clock = clock
        self._chance = chance
        self._records: dict[str, _Record] = {}

    @property
    def calm(self) -> bool:
        """Whether no upstream has failed lately: every one admits calls, and a success changes nothing."""
        return not self._records

    def admits(self, upstream_id: str) -> bool:
        """Whether a call may go there: it is not ejected, or its probe is due."""
        record = self._records.get(upstream_id)
        if record is None or record.until is None:
            return True
        now = self._clock()
        return now >= record.until and (record.probe_until is None or now >= record.probe_until)

    def chosen(self, upstream_id: str) -> None:
        """A call goes there. If the upstream is ejected, this call is the probe."""
        record = self._records.get(upstream_id)
        if record is not None and record.until is not None:
            record.probe_until = self._clock() + self._probe

    def ejected(self, upstream_id: str) -> bool:
        """Whether it is ejected, or being probed."""
        record = self._records.get(upstream_id)
        return record is not None and record.until is not None

    def report(self, upstream_id: str, *, healthy: bool) -> None:
        """Count what a call met there."""
        record = self._records.get(upstream_id)
        if record is not None and record.until is not None and record.probe_until is None:
            return
        if healthy:
            self._records.pop(upstream_id, None)
            return
        if record is None:
            record = self._records[upstream_id] = _Record()
        record.failures += 1
        if record.until is not None or record.failures >= self._failures:
            self._eject(record)

    def _eject(self, record: _Record) -> None:
        lasts = min(self._longest, self._shortest * 2**record.ejections)
        record.ejections = min(record.ejections + 1, 32)
        record.until = self._clock() + lasts * (1 + _JITTER * self._chance())
        record.probe_until = None

    def forget(self, upstream_id: str) -> None:
        """Start afresh: the upstream is gone, or is another server now."""
        self._records.pop(upstream_id, None)
