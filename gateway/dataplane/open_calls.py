"""The calls under way: their leases are renewed, and streams whose key was deleted or disabled are cut (admission.md, Epochs 8).

A raised epoch hurries the check; a tick makes it certain.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from gateway.dataplane.authenticate import Keys
from gateway.dataplane.call import Call
from gateway.dataplane.ports import Admissions
from gateway.domain.errors import InvalidKey, Refusal, ServiceUnavailable
from gateway.domain.grants import KeyStatus

_log = logging.getLogger(__name__)
_TICK = 0.5
_PATIENCE = 2.0  # with a key store that hangs: the leases have to be renewed meanwhile


class OpenCalls:
    """The admitted calls of this process, by call ID. `sweep` is the store's own housekeeping, run with each tick."""

    def __init__(self, keys: Keys, admissions: Admissions, sweep: Callable[[], None]) -> None:
        self._keys = keys
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
                self._admissions.renew([(call.caller.account_id, call.id) for call, _ in self._calls.values()])
                self._sweep()
                await self._cut_revoked()
            except Exception:  # noqa: BLE001 — whatever it is, the next tick must come: leases hang on it
                _log.exception("the watch over open calls failed once")

    async def _cut_revoked(self) -> None:
        touched = [
            (call, task)
            for call, task in self._calls.values()
            if call.stream and call.cut is None and self._admissions.touched(call.caller.account_id, call.caller.epoch)
        ]
        verdicts = await asyncio.gather(*(self._still_valid(call) for call, _ in touched))
        for (call, task), verdict in zip(touched, verdicts, strict=True):
            if verdict is not None and call.id in self._calls:
                call.cut = verdict
                task.cancel()

    async def _still_valid(self, call: Call) -> Refusal | None:
        """The refusal that the call's key would meet now, or None. A store that is away cuts nobody."""
        try:
            async with asyncio.timeout(_PATIENCE):
                principal = await self._keys.read(call.digest)
        except (ServiceUnavailable, TimeoutError):
            return None
        except InvalidKey as refusal:
            return refusal
        call.principal = principal
        return None if principal.status is KeyStatus.ACTIVE else InvalidKey(f"{principal.key_id} is {principal.status}")
