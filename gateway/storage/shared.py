"""The shared profile: limits, epochs and the ledger's way through Redis, put together, opened and closed as one."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.ledger import Entry
from gateway.ops.batches import Batches
from gateway.storage.failover import SharedAdmissions, WhenUnavailable
from gateway.storage.memory.admission import MemoryAdmissions
from gateway.storage.redis import script
from gateway.storage.redis.address import Address
from gateway.storage.redis.admission import RedisAdmissions
from gateway.storage.redis.consumer import StreamConsumer
from gateway.storage.redis.demands import refuse_unfit
from gateway.storage.redis.ledger import StreamLedger
from gateway.storage.redis.presence import Presence
from gateway.storage.redis.store import Store
from gateway.storage.redis.stream_age import StreamAge
from gateway.storage.redis.streams import Streams
from gateway.storage.sql.entries import Stored, store
from gateway.storage.sql.epochs import SqlEpochs

_log = logging.getLogger(__name__)
_FIRST_SECONDS = 2.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedOptions:
    """Settings of the shared profile. `processes` is how many gateway processes are known to run before any was counted."""

    lease_seconds: float
    deadline_seconds: float
    hold_seconds: float
    when_unavailable: WhenUnavailable
    processes: int
    streams: int
    stream_max_entries: int


class Shared:
    """`admissions` and `ledger` are the data plane's; the other parts are here for metrics."""

    def __init__(self, engine: AsyncEngine, url: str, options: SharedOptions) -> None:
        address = Address.of(url)
        self.client = address.client()
        self.store = Store(address, script.SOURCE, deadline_seconds=options.deadline_seconds)
        self.presence = Presence(self.client, at_least=options.processes)
        self.epochs = SqlEpochs(engine)
        lease_us = int(options.lease_seconds * 1e6)
        self.redis = RedisAdmissions(self.store, lease_us=lease_us, hold_seconds=options.hold_seconds, clock=time.monotonic)
        self.admissions = SharedAdmissions(
            self.redis,
            MemoryAdmissions(clock=lambda: time.monotonic_ns() // 1000, lease_us=lease_us),
            self.store,
            epoch_of=self.epochs,
            processes=lambda: self.presence.processes,
            when_unavailable=options.when_unavailable,
            clock=time.monotonic,
        )
        self.streams = Streams(options.streams, most=options.stream_max_entries)
        self.stored = Batches("ledger")

        async def stored(entries: Sequence[Entry]) -> Stored:
            begun = time.monotonic()
            found = await store(engine, entries)
            self.stored.done(len(entries), time.monotonic() - begun)
            return found

        self.ledger = StreamLedger(self.client, self.streams, stored)
        self.consumer = StreamConsumer(self.client, self.streams, stored)
        self.stream_age = StreamAge(self.client, self.streams)
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Connect, and give it a moment; a Redis that is away does not keep the gateway from starting.

        Raises `demands.UnfitRedis` for one that answers and cannot be used.
        """
        self._stack.push_async_callback(self.client.aclose)
        await refuse_unfit(self.client)
        await self.store.open()
        self._stack.push_async_callback(self.store.close)
        self._stack.push_async_callback(self.epochs.close)
        self.redis.start()
        self._stack.push_async_callback(self.redis.close)
        self.presence.start()
        self._stack.push_async_callback(self.presence.close)
        await self._connect_to_cluster()
        await self.consumer.start()
        self._stack.push_async_callback(self.consumer.close)
        self.stream_age.start()
        self._stack.push_async_callback(self.stream_age.close)
        await self.ledger.start()
        self._stack.push_async_callback(self.ledger.close)
        until = time.monotonic() + _FIRST_SECONDS
        while not all(node.up for node in self.store.nodes()) and time.monotonic() < until:  # noqa: ASYNC110 — nodes tell nobody
            await asyncio.sleep(_POLL_SECONDS)

    async def _connect_to_cluster(self) -> None:
        """Learn which node has which stream; else the first look at the streams would find none."""
        try:
            async with asyncio.timeout(_FIRST_SECONDS):
                await self.client.ping()
        except (RedisError, OSError) as error:
            _log.debug("Redis does not answer yet: %s", error)

    async def close(self) -> None:
        await self._stack.aclose()
