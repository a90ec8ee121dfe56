"""How late the event loop is: what a timer of a tenth of a second comes too late by."""

import asyncio

from gateway.ops.histograms import Histograms

_TICK = 0.1
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LoopLag:
    """Measures from `start` to `close`. uvloop's timers count whole milliseconds, so that up to one is no lateness."""

    def __init__(self) -> None:
        self.seconds = Histograms("gateway_event_loop_lag_seconds", "How late timers of the event loop are.", _BOUNDS)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._measure())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _measure(self) -> None:
        loop, seen = asyncio.get_running_loop(), self.seconds.of()
        while True:
            due = loop.time() + _TICK
            await asyncio.sleep(_TICK)
            seen.observe(max(0.0, loop.time() - due))
