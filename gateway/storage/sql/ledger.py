"""The ledger, written in batches behind the calls.

`append` only puts an entry into a queue. A task writes what waits there: 100 ms after it did so last, or as soon as a full batch
waits. What comes meanwhile it leaves for the next time, so that batches are large when there is much to do; each is one
transaction, whose cost its entries share. Only absent rows are written, so that writing a batch again, after a commit whose
answer was lost, changes nothing. While the database is away entries wait, up to a bound; beyond it the oldest are lost and
counted.

A process that is killed loses the entries of its last 100 ms and those of the write under way; on SQLite a committed write
outlives the process without an fsync (see `engine`).
"""

import asyncio
import logging
import random
import time
from contextlib import suppress

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.ledger import Entry
from gateway.ops.batches import Batches
from gateway.storage.backlog import Backlog
from gateway.storage.sql.entries import store

_BATCH = 2000
_BATCH_SECONDS = 0.1
_LONGEST_PAUSE = 5.0
_CLOSE_SECONDS = 10.0

_log = logging.getLogger(__name__)


class SqlLedger:
    """Implements the data plane's `Ledger`.

    `written` counts entries that the database took, `lost` those given up, `failures` the writes that failed and are tried again.
    At most `capacity` entries wait, and those of one write besides.
    """

    def __init__(self, engine: AsyncEngine, *, capacity: int = 100_000, close_seconds: float = _CLOSE_SECONDS) -> None:
        self._engine = engine
        self._close_seconds = close_seconds
        self._backlog = Backlog(capacity, "the database")
        self._writer: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._some = asyncio.Event()
        self._many = asyncio.Event()
        self._closing = False
        self._refused = 0
        self.batches = Batches("ledger")
        self.written = 0
        self.failures = 0

    @property
    def waiting(self) -> int:
        """Entries that are not stored yet."""
        return self._backlog.waiting

    @property
    def oldest(self) -> int | None:
        """When the call of the oldest entry that is not stored yet ended, in Unix milliseconds; None where all are stored."""
        return self._backlog.oldest

    @property
    def lost(self) -> int:
        return self._backlog.lost + self._refused

    def append(self, entry: Entry) -> None:
        """Take an entry; it is stored soon, once by call ID. Never blocks, never raises."""
        if self._backlog.append(entry) >= _BATCH:
            self._many.set()
        self._some.set()

    async def acknowledged(self) -> None:
        """Return once all that was appended so far is committed, or was counted as lost; it is not waited for to gather."""
        self._many.set()
        await self._backlog.acknowledged()

    async def start(self) -> None:
        """Begin to write in the background."""
        self._writer = asyncio.create_task(self._write_for_ever())

    async def flush(self) -> None:
        """Write all that waits now. Raises StorageUnavailable; what is not written goes on waiting."""
        async with self._turn:
            left = len(self._backlog)
            while left > 0 and self._backlog:
                left -= await self._write_batch(min(left, _BATCH))

    async def close(self) -> None:
        """Write all that waits, and stop. Without a database it gives up after ten seconds, and counts what is lost."""
        self._closing = True
        self._some.set()
        self._many.set()
        try:
            async with asyncio.timeout(self._close_seconds):
                if self._writer is not None:
                    await self._writer
                await self._write_out()
        except TimeoutError:
            _log.error("%d ledger entries are lost: the database was away to the end", self._backlog.give_up())

    async def _write_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        next_at = 0.0
        while not self._closing:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(max(next_at, loop.time())):
                    await self._many.wait()
            next_at = loop.time() + _BATCH_SECONDS
            self._some.clear()
            self._many.clear()
            await self._write_out()

    async def _write_out(self) -> None:
        """Write what waits, with longer and longer pauses while the database is away."""
        pause = _BATCH_SECONDS
        while True:
            try:
                await self.flush()
                break
            except Exception as error:  # noqa: BLE001 — nobody else would write these entries, so whatever it is, try again
                self.failures += 1
                if pause == _BATCH_SECONDS:
                    _log.warning("the ledger cannot be written, its entries wait: %s", error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 — spreads retries, guards nothing
                pause = min(pause * 2, _LONGEST_PAUSE)
        if pause > _BATCH_SECONDS:
            _log.info("the ledger is written again")
            self._backlog.recovered()

    async def _write_batch(self, most: int) -> int:
        """Write the oldest entries. Returns how many there were."""
        batch = self._backlog.take(most)
        try:
            begun = time.monotonic()
            stored = await store(self._engine, batch.entries)
            self.batches.done(len(batch.entries), time.monotonic() - begun)
        except BaseException:
            self._backlog.give_back(batch)
            raise
        self._refused += len(stored.refused)
        self.written += len(batch.entries) - len(stored.refused)
        self._backlog.done(batch)
        return len(batch.entries)
