"""The ledger, written in batches behind the calls.

`append` only puts an entry into a queue. A task writes what waits there after 100 ms or 500 entries, whichever comes first, in
one transaction a batch, absent rows only: so that writing a batch again, after a commit whose answer was lost, changes nothing.
While the database is away entries wait, up to a bound; beyond it the oldest are lost and counted.

A process that is killed loses the entries of its last 100 ms and those of the write under way; on SQLite a committed write
outlives the process without an fsync (see `engine`).
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.ledger import Entry
from gateway.storage.sql.absent import insert_if_absent
from gateway.storage.sql.engine import is_bad_value, writing
from gateway.storage.sql.tables import api_keys, ledger

_BATCH = 500
_BATCH_SECONDS = 0.1
_LONGEST_PAUSE = 5.0
_CLOSE_SECONDS = 10.0

_NAMES = tuple(field.name for field in fields(Entry))
_values = attrgetter(*_NAMES)
_USED = (
    sa.update(api_keys)
    .where(api_keys.c.id == sa.bindparam("key"), sa.func.coalesce(api_keys.c.last_used_at, 0) < sa.bindparam("used"))
    .values(last_used_at=sa.bindparam("used"))
)

_log = logging.getLogger(__name__)


class SqlLedger:
    """Implements the data plane's `Ledger`.

    `written` counts entries that the database took, `lost` those given up, `failures` the writes that failed and are tried again.
    At most `capacity` entries wait, and those of one write besides.
    """

    def __init__(self, engine: AsyncEngine, *, capacity: int = 100_000, close_seconds: float = _CLOSE_SECONDS) -> None:
        self._engine = engine
        self._capacity = capacity
        self._close_seconds = close_seconds
        self._queue: deque[Entry] = deque()
        self._under_way: Sequence[Entry] = ()
        self._writer: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._some = asyncio.Event()
        self._many = asyncio.Event()
        self._closing = False
        self._overflowed = False
        self.written = 0
        self.lost = 0
        self.failures = 0

    @property
    def waiting(self) -> int:
        """Entries that are not stored yet."""
        return len(self._queue) + len(self._under_way)

    def append(self, entry: Entry) -> None:
        """Take an entry; it is stored soon, once by call ID. Never blocks, never raises."""
        self._queue.append(entry)
        self._trim()
        self._some.set()
        if len(self._queue) >= _BATCH:
            self._many.set()

    async def start(self) -> None:
        """Begin to write in the background."""
        self._writer = asyncio.create_task(self._write_for_ever())

    async def flush(self) -> None:
        """Write all that waits. Raises StorageUnavailable; what is not written goes on waiting."""
        async with self._turn:
            while self._queue:
                await self._write_batch()

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
            _log.error("%d ledger entries are lost: the database was away to the end", self.waiting)
            self.lost += self.waiting
            self._queue.clear()

    async def _write_for_ever(self) -> None:
        while not self._closing:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(_BATCH_SECONDS):
                    await self._many.wait()
            await self._write_out()
            self._some.clear()
            self._many.clear()

    async def _write_out(self) -> None:
        """Write until nothing waits, with longer and longer pauses while the database is away."""
        pause = _BATCH_SECONDS
        while self._queue:
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 — nobody else would write these entries, so whatever it is, try again
                self.failures += 1
                if pause == _BATCH_SECONDS:
                    _log.warning("the ledger cannot be written, its entries wait: %s", error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 — spreads retries, guards nothing
                pause = min(pause * 2, _LONGEST_PAUSE)
        if pause > _BATCH_SECONDS:
            _log.info("the ledger is written again")
            self._overflowed = False

    async def _write_batch(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
        self._under_way = batch
        try:
            await self._store(batch)
        except BaseException:
            self._queue.extendleft(reversed(batch))
            self._trim()
            raise
        finally:
            self._under_way = ()

    async def _store(self, batch: Sequence[Entry]) -> None:
        """Store a batch; should one entry hold a value that the database refuses, all but that one."""
        try:
            await self._insert(batch)
        except Exception as error:  # whatever is no bad value is raised again
            if not is_bad_value(error):
                raise
            if len(batch) == 1:
                self.lost += 1
                _log.exception("the ledger entry of call %s cannot be stored and is lost", batch[0].call_id)
                return
            half = len(batch) // 2
            await self._store(batch[:half])
            await self._store(batch[half:])
        else:
            self.written += len(batch)

    async def _insert(self, batch: Sequence[Entry]) -> None:
        used: dict[str, int] = {}
        for entry in batch:
            used[entry.key_id] = max(entry.at, used.get(entry.key_id, 0))
        async with writing(self._engine) as connection:
            rows = [dict(zip(_NAMES, _values(entry), strict=True)) for entry in batch]
            await connection.execute(insert_if_absent(connection, ledger), rows)
            # In one order everywhere, so that two processes cannot block each other.
            await connection.execute(_USED, [{"key": key, "used": used[key]} for key in sorted(used)])

    def _trim(self) -> None:
        while len(self._queue) > self._capacity:
            self._queue.popleft()
            self.lost += 1
            if not self._overflowed:
                self._overflowed = True
                _log.error("more than %d ledger entries wait for the database: the oldest are lost from here on", self._capacity)
