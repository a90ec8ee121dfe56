"""What is known of this process, by Prometheus's own names (`process_*`), and of the program that it runs."""

import platform
import time
from collections.abc import Callable

from prometheus_client import ProcessCollector

from gateway import __version__
from gateway.ops.snapshots import Snapshot, gauge, taken

_MAXIMA = ("process_start_time_seconds", "process_max_fds")
_KEPT_SECONDS = 1.0


class Process:
    """Reads `/proc` at most once a second: with ten thousand connections the list of descriptors alone takes milliseconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._collector = ProcessCollector(registry=None)
        self._clock = clock
        self._read: Snapshot = []
        self._until = 0.0

    def families(self) -> Snapshot:
        now = self._clock()
        if now >= self._until:
            build: dict[tuple[str, ...], float] = {(__version__, platform.python_version()): 1.0}
            self._read = [
                *taken(self._collector.collect(), _MAXIMA),
                gauge("gateway_build_info", "The version of the program; always 1.", ("version", "python_version"), build, "max"),
            ]
            self._until = now + _KEPT_SECONDS
        return self._read
