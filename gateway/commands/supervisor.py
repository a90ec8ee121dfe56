"""The parent of several workers: starts them, restarts those that die, replaces them one by one, ends them.

It holds the listening sockets and takes no call itself. All workers accept from the same sockets, so that a connection which
waits in the queue is taken by any of them, whoever ends meanwhile (docs/decisions/0007-workers.md).
"""

import asyncio
import contextlib
import logging
import random
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.commands.configuration import Bundle
from gateway.commands.output import Failure
from gateway.commands.worker_process import Died, Launch, WorkerProcess, described
from gateway.ops.snapshots import Family, Snapshot

_log = logging.getLogger("gateway.supervisor")
_START_SECONDS = 60.0
_SHORT_LIFE = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_TRIES = 5
_ONE_DEATH: Snapshot = [
    Family(
        "gateway_workers_died",
        "Worker processes that ended without being told to.",
        "counter",
        "sum",
        [("gateway_workers_died_total", (), 1.0)],
    )
]


class Supervisor:
    """`read_anew` gives the configuration for a rolling restart (it blocks, and raises Failure); `first_ready` is called once."""

    def __init__(
        self, launch: Launch, bundle: Bundle, *, read_anew: Callable[[], Bundle], first_ready: Callable[[], None]
    ) -> None:
        self._launch = launch
        self._bundle = bundle
        self._read_anew = read_anew
        self._first_ready: Callable[[], None] | None = first_ready
        self._numbers = 0
        self._all: set[WorkerProcess] = set()
        self._ready: list[WorkerProcess] = []
        self._starting = 0
        self._work: set[asyncio.Task[None]] = set()
        self._watches: set[asyncio.Task[None]] = set()
        self._failure: Failure | None = None
        self._failed_starts = 0
        self._troubles = 0
        self._not_before = 0.0
        self._reload = False
        self._rolling = False
        self._stopping = False
        self._wake = asyncio.Event()
        self._terminal = has_terminal()

    async def run(self) -> None:
        """Until told to stop by SIGTERM or SIGINT. Raises Failure where no worker can be had."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        try:
            await self._tend()
        finally:
            await self._end()
        if self._failure is not None:
            raise self._failure

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def _interrupted(self) -> None:
        if self._stopping:
            for worker in self._all:
                worker.stop(now=True)
        self._stop()

    def _hung_up(self) -> None:
        if self._terminal and not has_terminal():  # the terminal has gone; nobody asked for a restart
            self._stop()
        self._reload = True
        self._wake.set()

    async def _tend(self) -> None:
        """Keep as many workers as are wanted. The first comes alone: what keeps it from starting would keep all."""
        loop = asyncio.get_running_loop()
        while not self._stopping and self._failure is None:
            self._wake.clear()
            wanted = self._bundle.terms.workers
            if not self._rolling:
                if self._reload and self._ready:
                    self._reload, self._rolling = False, True
                    self._do(self._roll())
                elif len(self._ready) > wanted:
                    self._do(self._retire(self._ready[0]))
            missing = (wanted if self._ready else 1) - len(self._ready) - self._starting
            pause = self._not_before - loop.time() if missing > 0 else None
            if pause is not None and pause <= 0:
                self._starting += missing
                for _ in range(missing):
                    self._do(self._start_missing())
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` done beside; it is broken off at the end."""
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _start_missing(self) -> None:
        try:
            await self._start(self._bundle)
        except Failure as failure:
            self._failed_starts += 1
            hopeless = self._failed_starts >= _TRIES or (self._numbers == 1 and not isinstance(failure, Died))
            if hopeless and not self._ready:
                self._failure = self._failure or failure
            else:
                _log.error("%s", failure.message)
                self._trouble()
        finally:
            self._starting -= 1
            self._wake.set()

    async def _start(self, bundle: Bundle) -> None:
        """A new worker that takes calls. Raises Failure."""
        self._numbers += 1
        worker = await WorkerProcess.start(self._launch, bundle, self._numbers)
        self._all.add(worker)
        watch = asyncio.create_task(self._watch(worker))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        await worker.ready(_START_SECONDS)
        if worker not in self._all:
            raise Died(f"worker {worker.number} ended as soon as it had started")
        self._ready.append(worker)
        self._failed_starts = 0
        _log.info("worker %d takes calls (process %d)", worker.number, worker.pid)
        if self._first_ready is not None:
            self._first_ready()
            self._first_ready = None
            worker.greet()

    async def _watch(self, worker: WorkerProcess) -> None:
        """Wait for a worker's end and keep its counters; if nobody told it to end, another takes its place."""
        code = await worker.ended()
        self._all.discard(worker)
        if worker in self._ready:
            self._ready.remove(worker)
        died = not (worker.told_to_end or self._stopping)
        try:
            self._launch.board.bury(worker.number, _ONE_DEATH if died else [])
        except (OSError, ValueError):
            _log.exception("the counters of worker %d are lost", worker.number)
        if died and worker.took_calls:
            _log.error("worker %d ended unasked with %s; another takes its place", worker.number, described(code))
            self._trouble(short=worker.age < _SHORT_LIFE)
        elif worker.told_to_end and code:
            _log.warning("worker %d ended with %s", worker.number, described(code))
        self._wake.set()

    def _trouble(self, *, short: bool = True) -> None:
        """Put off the next start, each time for twice as long while workers fail to start or have `short` lives."""
        now = asyncio.get_running_loop().time()
        if not short or now - self._not_before > _SHORT_LIFE:
            self._troubles = 0
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._troubles)
        self._troubles = min(self._troubles + 1, 10)
        self._not_before = max(self._not_before, now + pause * random.uniform(0.5, 1.5))  # noqa: S311 — no secret

    async def _roll(self) -> None:
        """Replace every worker by one with the configuration as it is now, one by one, each once its successor takes calls."""
        try:
            bundle = await asyncio.to_thread(self._read_anew)
            old = list(self._ready)
            await self._start(bundle)
            self._bundle = bundle  # it works: from now on, also those that replace a dead worker get it
            logging.getLogger().setLevel(bundle.terms.log_level.upper())
            for leaving in old:
                if leaving in self._ready:
                    if len(self._ready) <= bundle.terms.workers:
                        await self._start(bundle)
                    await self._retire(leaving)
            _log.info("rolling restart done")
        except Failure as failure:
            _log.error("no rolling restart, the workers that run go on: %s", failure.message)
        finally:
            self._rolling = False
            self._wake.set()

    async def _retire(self, worker: WorkerProcess) -> None:
        if worker in self._ready:
            self._ready.remove(worker)
            worker.retire()
            await worker.ended_in_time()

    async def _end(self) -> None:
        """End all workers; the sockets are let go of first, so that nothing waits in their queues that nobody will take."""
        self._stopping = True
        for task in self._work:
            task.cancel()
        for listener in self._launch.listeners:
            listener.close()
        for worker in self._all:
            worker.stop()
        await asyncio.gather(*(worker.ended_in_time() for worker in self._all))
        await asyncio.gather(*self._work, *self._watches, return_exceptions=True)


def has_terminal() -> bool:
    """Whether standard input is a terminal, and one that is still there."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
