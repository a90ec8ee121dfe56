"""Refused calls, summed by minute and by hour; no row is kept of a single one.

`count` only raises a number. A task adds what has gathered to the table every two seconds, in transactions of some hundred rows.
While the database is away the numbers wait, up to a bound; beyond it, what has no number yet is lost and counted.

These are sums to look at, not to bill by: a process that is killed loses those of its last two seconds, and where a commit's
answer is lost they may be added twice.
"""

import asyncio
import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.domain.grants import Principal
from gateway.storage.sql.engine import AsyncConnection, AsyncEngine, is_bad_value, writing
from gateway.storage.sql.tables import refusals
from gateway.storage.sql.usage_hours import HOUR_MS

MINUTE_MS = 60_000
KEPT_MINUTES_MS = 25 * HOUR_MS
"""How long sums by minute are kept; a retention task deletes older ones."""

_BATCH = 500
_EVERY_SECONDS = 2.0
_CLOSE_SECONDS = 2.0
_RETRY_SECONDS = 0.1

_log = logging.getLogger(__name__)

_Group = tuple[int, str, str, str, str, str]
_KEYS = ("span", "at", "account_id", "workspace_id", "key_id", "model", "code")


class SqlRefusals:
    """Implements the data plane's `Refusals`.

    `written` counts calls that the database took, `lost` those given up, `failures` the writes that failed and are tried again.
    At most `capacity` sums wait, and those of one write besides.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        capacity: int = 100_000,
        every_seconds: float = _EVERY_SECONDS,
        close_seconds: float = _CLOSE_SECONDS,
    ) -> None:
        self._engine = engine
        self._capacity = capacity
        self._every = every_seconds
        self._close_seconds = close_seconds
        self._sums: dict[_Group, int] = {}
        self._under_way: dict[_Group, int] = {}
        self._turn = asyncio.Lock()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self._full = False
        self.written = 0
        self.lost = 0
        self.failures = 0

    @property
    def waiting(self) -> int:
        """Sums that are not stored yet."""
        return len(self._sums) + len(self._under_way)

    def count(self, at: int, caller: Principal, model: str, code: str) -> None:
        """One refused call, which started at `at`. Never blocks, never raises."""
        group = (at - at % MINUTE_MS, caller.account_id, caller.workspace_id, caller.key_id, model, code)
        self._add(group, 1)

    def start(self) -> None:
        """Begin to write in the background."""
        self._task = asyncio.create_task(self._run())

    async def flush(self) -> None:
        """Write all that waits. Raises StorageUnavailable; what is not written goes on waiting."""
        async with self._turn:
            left, self._sums = self._sums, {}
            self._under_way = left
            try:
                sums = list(left.items())
                for start in range(0, len(sums), _BATCH):
                    await self._store(sums[start : start + _BATCH])
            finally:
                self._under_way = {}
                for group, calls in left.items():
                    self._add(group, calls)

    async def close(self) -> None:
        """Write all that waits, and stop. Without a database it gives up after two seconds, and counts what is lost."""
        self._stop.set()
        try:
            async with asyncio.timeout(self._close_seconds):
                if self._task is not None:
                    await self._task
                while self._sums:
                    await self._try()
                    if self._sums:
                        await asyncio.sleep(_RETRY_SECONDS)
        except TimeoutError:
            self.lost += sum(self._sums.values())
            self._sums.clear()
            _log.error("refused calls of a while are in no sum: the database was away to the end")

    async def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every * random.uniform(0.75, 1.25)):  # noqa: S311 — keeps processes apart
                    await self._stop.wait()
            await self._try()

    async def _try(self) -> None:
        try:
            await self.flush()
        except Exception as error:  # noqa: BLE001 — nobody else would write these sums, so whatever it is, try again
            self.failures += 1
            if not self._failing:
                _log.warning("refused calls cannot be written, they wait: %s", error)
            self._failing = True
        else:
            self._failing = self._full = False

    def _add(self, group: _Group, calls: int) -> None:
        held = self._sums.get(group)
        if held is not None:
            self._sums[group] = held + calls
        elif len(self._sums) < self._capacity:
            self._sums[group] = calls
        else:
            self.lost += calls
            if not self._full:
                self._full = True
                _log.error("more than %d sums of refused calls wait for the database: others are lost", self._capacity)

    async def _store(self, sums: Sequence[tuple[_Group, int]]) -> None:
        """Add sums, and take what is done from those under way. A value that the database refuses keeps no other from it."""
        try:
            async with writing(self._engine) as connection:
                await connection.execute(_upsert(connection), _rows(sums))
        except Exception as error:  # whatever is no bad value is raised again
            if not is_bad_value(error):
                raise
            if len(sums) > 1:
                half = len(sums) // 2
                await self._store(sums[:half])
                await self._store(sums[half:])
                return
            _log.exception("refused calls of %s cannot be stored", sums[0][0])
            self.lost += sums[0][1]
        else:
            self.written += sum(calls for _, calls in sums)
        for group, _ in sums:
            del self._under_way[group]


def _rows(sums: Sequence[tuple[_Group, int]]) -> list[dict[str, Any]]:
    """The rows of both spans, in one order everywhere, so that two processes cannot block each other."""
    added: dict[tuple[Any, ...], int] = {}
    for (minute, *who), calls in sums:
        for span in (MINUTE_MS, HOUR_MS):
            row = (span, minute - minute % span, *who)
            added[row] = added.get(row, 0) + calls
    return [dict(zip(_KEYS, row, strict=True)) | {"calls": added[row]} for row in sorted(added)]


def _upsert(connection: AsyncConnection) -> sa.Insert:
    build: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    insert = build(refusals)
    upsert: sa.Insert = insert.on_conflict_do_update(
        index_elements=list(refusals.primary_key), set_={"calls": refusals.c.calls + insert.excluded.calls}
    )
    return upsert


def within(start_ms: int, end_ms: int) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions on the rows that are together the calls from `start_ms` on and before `end_ms`, to the minute: whole hours from
    the sums by hour, which are kept, the rest from those by minute. A minute counts where it begins.
    """
    first, last = -(-start_ms // HOUR_MS) * HOUR_MS, end_ms // HOUR_MS * HOUR_MS
    if first >= last:
        yield between(MINUTE_MS, start_ms, end_ms)
        return
    yield between(HOUR_MS, first, last)
    if start_ms < first:
        yield between(MINUTE_MS, start_ms, first)
    if last < end_ms:
        yield between(MINUTE_MS, last, end_ms)


def between(span: int, start_ms: int, end_ms: int) -> sa.ColumnElement[bool]:
    """The sums over `span` that begin within a time."""
    return sa.and_(refusals.c.span == span, refusals.c.at >= start_ms, refusals.c.at < end_ms)
