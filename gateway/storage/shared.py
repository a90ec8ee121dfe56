"""The shared profile's limits: what is put together over Redis, opened and closed as one."""

import asyncio
import time
from contextlib import AsyncExitStack

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.storage.failover import SharedAdmissions, WhenUnavailable
from gateway.storage.memory.admission import MemoryAdmissions
from gateway.storage.redis import script
from gateway.storage.redis.address import Address
from gateway.storage.redis.admission import RedisAdmissions
from gateway.storage.redis.presence import Presence
from gateway.storage.redis.store import Store
from gateway.storage.sql.epochs import SqlEpochs

_FIRST_SECONDS = 2.0
_POLL_SECONDS = 0.02


class SharedLimits:
    """`admissions` is the data plane's; the other parts are here for metrics.

    `processes` is how many gateway processes are known to run before any has been counted.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        address: Address,
        *,
        lease_seconds: float,
        deadline_seconds: float,
        hold_seconds: float,
        when_unavailable: WhenUnavailable,
        processes: int,
    ) -> None:
        self.store = Store(address, script.SOURCE, deadline_seconds=deadline_seconds)
        self.client = address.client()
        self.presence = Presence(self.client, at_least=processes)
        self.epochs = SqlEpochs(engine)
        lease_us = int(lease_seconds * 1e6)
        self.redis = RedisAdmissions(self.store, lease_us=lease_us, hold_seconds=hold_seconds, clock=time.monotonic)
        self.admissions = SharedAdmissions(
            self.redis,
            MemoryAdmissions(clock=lambda: time.monotonic_ns() // 1000, lease_us=lease_us),
            self.store,
            epoch_of=self.epochs,
            processes=lambda: self.presence.processes,
            when_unavailable=when_unavailable,
            clock=time.monotonic,
        )
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Connect, and give it a moment; a Redis that is away does not keep the gateway from starting."""
        self._stack.push_async_callback(self.client.aclose)
        await self.store.open()
        self._stack.push_async_callback(self.store.close)
        self._stack.push_async_callback(self.epochs.close)
        self.redis.start()
        self._stack.push_async_callback(self.redis.close)
        self.presence.start()
        self._stack.push_async_callback(self.presence.close)
        until = time.monotonic() + _FIRST_SECONDS
        while not all(node.up for node in self.store.nodes()) and time.monotonic() < until:  # noqa: ASYNC110 — nodes tell nobody
            await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> None:
        await self._stack.aclose()
