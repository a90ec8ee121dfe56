"""Many callers, one read: what everything that is re-read on demand here has in common."""

import asyncio
from collections.abc import Awaitable, Callable


class Coalesced:
    """A read that callers share, but only while it has not been sent: whoever calls gets a result that is newer than the call.

    At most one read runs and one waits behind it, however many ask. Cancelling a caller cancels nobody else's read.
    """

    def __init__(self, read: Callable[[], Awaitable[None]]) -> None:
        self._read = read
        self._running = asyncio.Lock()
        self._waiting: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Return after a read that began after this call; raises what the read raised."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._run())
            self._waiting.add_done_callback(_seen)
        await asyncio.shield(self._waiting)

    async def _run(self) -> None:
        try:
            await self._running.acquire()
        finally:
            self._waiting = None
        try:
            await self._read()
        finally:
            self._running.release()


def _seen(task: asyncio.Task[None]) -> None:
    """Take note of the result, so that a failure is not reported as unseen when every caller was cancelled."""
    if not task.cancelled():
        task.exception()
