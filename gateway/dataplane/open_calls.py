"""The calls under way: their leases are renewed, and streams whose key was deleted or disabled are cut (admission.md, Epochs 8).

The renewal tells which calls began under an epoch that holds no longer. A stream among them is asked for once more, by an
admission without claims, and cut if its key would be refused now. An epoch that was raised by this process hurries the watch; a
tick makes it certain.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from gateway.dataplane.call import Call
from gateway.dataplane.ports import Admissions
from gateway.domain.errors import InvalidKey, Refusal
from gateway.domain.faults import StorageUnavailable

_log = logging.getLogger(__name__)
_TICK = 0.5
_AT_ONCE = 500
_PATIENCE = 2.0  # with a store that hangs: the leases have to be renewed meanwhile


class OpenCalls:
    """The admitted calls of this process, by call ID.

    `confirm` raises the refusal that a call would meet now; `sweep` is the store's own housekeeping, run with each tick.
    """

    def __init__(self, confirm: Callable[[Call], Awaitable[None]], admissions: Admissions, sweep: Callable[[], None]) -> None:
        self._confirm = confirm
        self._admissions = admissions
        self._sweep = sweep
        self._calls: dict[str, tuple[Call, asyncio.Task[None]]] = {}
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def streams(self) -> int:
        return sum(call.stream for call, _ in self._calls.values())

    def opened(self, call: Call) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._calls[call.id] = (call, task)

    def closed(self, call: Call) -> None:
        self._calls.pop(call.id, None)

    def policy_changed(self, _account_id: str) -> None:
        """Look at the streams now, not at the next tick."""
        self._hurry.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._hurry.wait()
            self._hurry.clear()
            try:
                self._sweep()
                await self._look()
            except StorageUnavailable:  # nobody knows whether an epoch holds: who was let in may go on
                continue
            except Exception:  # noqa: BLE001 — whatever it is, the next tick must come: leases hang on it
                _log.exception("the watch over open calls failed once")

    async def _look(self) -> None:
        every = [call for call, _ in self._calls.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                # In parts, between which streams go on: ten thousand at once would hold up their events.
                for start in range(0, len(every), _AT_ONCE):
                    some = [(call.caller.account_id, call.id, call.caller.epoch) for call in every[start : start + _AT_ONCE]]
                    stale = await self._admissions.renew(some)
                    await asyncio.gather(*(self._cut_if_revoked(*self._calls[one]) for one in stale if one in self._calls))
                    await asyncio.sleep(0)

    async def _cut_if_revoked(self, call: Call, task: asyncio.Task[None]) -> None:
        """Cut a stream whose key would be refused now. A store that is away cuts nobody."""
        if not call.stream or call.cut is not None:
            return
        try:
            await self._confirm(call)
        except InvalidKey as refusal:
            if call.id in self._calls:
                call.cut = refusal
                task.cancel()
        except Refusal:
            return
