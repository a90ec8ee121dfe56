"""Finished spans on their way to a collector: a bounded queue, which a thread of its own empties in batches.

Calls never wait for it. What the queue has no room for is dropped, what a collector does not take is lost, and both are counted;
an outage is logged at its beginning and at its end.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

_log = logging.getLogger(__name__)
_MOST = 20_000
_BATCH = 500
_SECONDS = 1.0
_LAST_SECONDS = 3.0

Kind = Literal["server", "client", "internal"]


@dataclass(frozen=True, slots=True)
class Span:
    """A step that has ended. Times are Unix nanoseconds; `error` says that it failed, `is_remote` that its parent is a client's
    span, `state` what came with that.
    """

    name: str
    kind: Kind
    trace_id: int
    span_id: int
    parent_id: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    error: bool = False
    is_remote: bool = False
    state: str = ""


class Exporter(Protocol):
    """Sends spans; used by one thread at a time, but for `interrupt`."""

    def export(self, spans: list[Span]) -> str:
        """Send them, within some seconds. Answers why it did not work, empty where it did."""

    def interrupt(self) -> None:
        """Have an `export` under way give up soon."""


class SpanQueue:
    """`sent`, `failed` and `dropped` count spans: taken by the collector, not taken, and not even sent for want of room."""

    def __init__(self, exporter: Exporter, *, most: int = _MOST) -> None:
        self.sent = 0
        self.failed = 0
        self.dropped = 0
        self._exporter = exporter
        self._most = most
        self._queue: deque[Span] = deque()
        self._wake = threading.Event()
        self._until: float | None = None  # when what is left is given up, once the queue is closed
        self._away = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def __len__(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        self._thread.start()

    def add(self, spans: list[Span]) -> None:
        """Take the spans of a call. Never waits."""
        if len(self._queue) + len(spans) > self._most or self._until is not None:
            self.dropped += len(spans)
            return
        self._queue.extend(spans)
        if len(self._queue) >= _BATCH:
            self._wake.set()

    async def close(self, seconds: float = _LAST_SECONDS) -> None:
        """Send what is left, for so long at most; what then still is, is lost."""
        if self._until is not None or not self._thread.is_alive():
            return
        self._until = time.monotonic() + seconds
        self._wake.set()
        await asyncio.to_thread(self._thread.join, seconds)
        if self._thread.is_alive():
            self._exporter.interrupt()
        if left := len(self._queue):
            self.dropped += left
            self._queue.clear()
        if self.failed or self.dropped:
            _log.warning("%d spans were lost: %d not taken by the collector, %d without room", *self._lost())

    def _lost(self) -> tuple[int, int, int]:
        return self.failed + self.dropped, self.failed, self.dropped

    def _run(self) -> None:
        while self._until is None:
            self._wake.wait(_SECONDS)
            self._wake.clear()
            self._empty()
        self._empty()

    def _empty(self) -> None:
        while self._queue and (self._until is None or time.monotonic() < self._until):
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            try:
                problem = self._exporter.export(batch)
            except Exception as error:  # noqa: BLE001 — whatever it is, this thread must live to send the next batch
                problem = f"{type(error).__name__}: {error}"
            if problem:
                self.failed += len(batch)
                if not self._away:
                    _log.warning("traces cannot be sent, spans are lost: %s", problem)
            else:
                self.sent += len(batch)
                if self._away:
                    _log.info("traces are sent again, after %d spans were lost", self.failed)
            self._away = bool(problem)
