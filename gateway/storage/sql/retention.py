"""Retention: rows of the ledger, and sums by minute of refused calls, are deleted once they are old enough. The roll-ups stay.

Of the ledger only whole hours go, so that no part of an hour is half there. A row that is delivered to it again after it was
deleted here would count twice in the roll-ups; but a day, the least that can be set, is far longer than deliveries are repeated.
"""

import asyncio
import logging
import random
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.storage.sql.engine import writing
from gateway.storage.sql.refusals import KEPT_MINUTES_MS, MINUTE_MS
from gateway.storage.sql.tables import ledger, refusals
from gateway.storage.sql.usage_hours import HOUR_MS

_BATCH = 5000
_PAUSE_SECONDS = 0.2
_HOUR_SECONDS = 3600.0
_DAY_MS = 24 * HOUR_MS
_SUM = tuple(refusals.primary_key.columns)

_log = logging.getLogger(__name__)


async def delete_before(
    engine: AsyncEngine, before_ms: int, *, batch: int = _BATCH, pause_seconds: float = _PAUSE_SECONDS
) -> int:
    """Delete the rows of calls that started before `before_ms` (Unix milliseconds). Returns how many were deleted here.

    Each `batch` rows are a transaction of their own, the oldest first, with a pause behind it for others to write in. Processes
    that do this at once pass over the rows that another has locked, and so share the work. Raises StorageUnavailable.
    """
    old = (
        sa.select(ledger.c.call_id)
        .where(ledger.c.at < before_ms)
        .order_by(ledger.c.at)
        .limit(batch)
        .with_for_update(skip_locked=True)  # says nothing on SQLite, which has one writer at a time
        .cte("old")
    )
    statement = sa.delete(ledger).where(ledger.c.call_id.in_(sa.select(old.c.call_id))).returning(ledger.c.call_id)
    return await _delete(engine, statement, batch, pause_seconds)


async def delete_minutes_before(
    engine: AsyncEngine, before_ms: int, *, batch: int = _BATCH, pause_seconds: float = _PAUSE_SECONDS
) -> int:
    """Delete the sums by minute of refused calls of before `before_ms`, as `delete_before` does; those by hour stay."""
    of_minutes = refusals.c.span == MINUTE_MS
    old = sa.select(*_SUM).where(of_minutes, refusals.c.at < before_ms).order_by(*_SUM).limit(batch)
    found = old.with_for_update(skip_locked=True).cte("old")
    statement = sa.delete(refusals).where(sa.tuple_(*_SUM).in_(sa.select(*found.c))).returning(refusals.c.at)
    return await _delete(engine, statement, batch, pause_seconds)


async def _delete(engine: AsyncEngine, statement: sa.Executable, batch: int, pause_seconds: float) -> int:
    deleted = 0
    while True:
        async with writing(engine) as connection:
            found = len((await connection.scalars(statement)).all())  # SQLite counts no rows behind a WITH
        deleted += found
        if found < batch:
            return deleted
        await asyncio.sleep(pause_seconds)


class Retention:
    """Deletes, each hour, the rows of calls that started more than `days` ago, with 0 none of them, and the sums by minute of
    refused calls that are older than 25 hours. `deleted` counts the calls' rows.

    `now_ms` is the Unix time in milliseconds. The first turn comes within a tenth of an hour, and all come with jitter, so that
    processes that started together do not work at the same time.
    """

    def __init__(
        self, engine: AsyncEngine, *, days: int, now_ms: Callable[[], int], every_seconds: float = _HOUR_SECONDS
    ) -> None:
        self._engine = engine
        self._days = days
        self._now_ms = now_ms
        self._every = every_seconds
        self._task: asyncio.Task[None] | None = None
        self.deleted = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; what is not deleted yet is deleted by others, or later."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def turn(self) -> None:
        """Delete what is too old by now. Raises StorageUnavailable."""
        now = self._now_ms()
        if self._days:
            before = now - self._days * _DAY_MS
            self.deleted += await delete_before(self._engine, before - before % HOUR_MS)
        await delete_minutes_before(self._engine, now - KEPT_MINUTES_MS)

    async def _run(self) -> None:
        pause = random.uniform(0, 0.1)  # noqa: S311 — spreads work over time, guards nothing
        while True:
            await asyncio.sleep(pause * self._every)
            try:
                await self.turn()
            except Exception as error:  # noqa: BLE001 — whatever it is, the next hour is a new try
                _log.warning("old rows could not be deleted: %s", error)
            pause = random.uniform(0.9, 1.1)  # noqa: S311 — as above
