"""Whether a node is worth asking, counted from what happened to those who asked."""

import random
from collections.abc import Callable

_SHORTEST_SECONDS = 0.05
_LONGEST_SECONDS = 1.0


class Breaker:
    """Opens after `failures` failures in a row, or at once when told; a probe that succeeds closes it.

    The pauses between probes double from 50 ms to 1 s, each with jitter, and start again once a call has succeeded: a server
    that greets and then does not answer is not probed at the shortest pause for ever.
    """

    def __init__(self, failures: int = 3, chance: Callable[[], float] = random.random) -> None:
        self._allowed = failures
        self._chance = chance
        self._failures = 0
        self._probes = 0
        self.open = False

    def failed(self) -> bool:
        """A call was not answered. True if that was one too many: whoever hears it trips the breaker."""
        self._failures += 1
        return self._failures >= self._allowed

    def trip(self) -> None:
        """There is nobody to ask."""
        self.open = True

    def answered(self) -> None:
        """A call was answered."""
        self._failures = self._probes = 0

    def close(self) -> None:
        """A probe succeeded."""
        self._failures = 0
        self.open = False

    def pause(self) -> float:
        """Seconds until the next probe: between half of the doubling pause and all of it."""
        longest = min(_LONGEST_SECONDS, _SHORTEST_SECONDS * 2.0 ** min(self._probes, 10))
        self._probes += 1
        return max(_SHORTEST_SECONDS, longest * (0.5 + self._chance() / 2))
