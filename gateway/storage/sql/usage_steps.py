"""What a page of usage shows, out of one state of the database: sums by group, sums by step, and the largest groups by step.

The sums by step are read in the order of time, which the indexes have; sorting by group as well, as `usage_series` does, takes
several times as long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.storage.sql.engine import snapshot
from gateway.storage.sql.refusals import between
from gateway.storage.sql.tables import ledger, refusals
from gateway.storage.sql.usage import GROUPS, Filters, GroupBy, UsageRow, by_group, row_of, sums_of, totals
from gateway.storage.sql.usage_series import SOURCES


@dataclass(frozen=True, slots=True)
class UsageStep:
    """What all calls that started within one step used, as a row without a group. `at` is its start (Unix milliseconds);
    `calls` are those of each of the largest groups.
    """

    at: int
    total: UsageRow
    calls: Sequence[int]


@dataclass(frozen=True, slots=True)
class Overview:
    """`rows` are of all groups, most tokens first; `largest` names those with the most calls; `steps` leaves out empty ones."""

    rows: Sequence[UsageRow]
    largest: Sequence[str]
    steps: Sequence[UsageStep]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Whole steps from `start_ms` on and before `end_ms`: whose calls, and by what they are told apart."""

    start_ms: int
    end_ms: int
    step_ms: int
    group_by: GroupBy
    filters: Filters

    def __post_init__(self) -> None:
        """Raises ValueError for a step that is none of `usage_series.STEPS`, or a span that ends between two."""
        if self.step_ms not in SOURCES or self.start_ms % self.step_ms or self.end_ms % self.step_ms:
            raise ValueError(f"no steps of {self.step_ms} ms are from {self.start_ms} to {self.end_ms}")

    def of(self, at: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        """The start of the step that holds a time."""
        # The number is written out: PostgreSQL takes two parameters for two expressions, and one is then not grouped by.
        return at - at % sa.literal_column(str(self.step_ms), sa.BigInteger)


async def overview(engine: AsyncEngine, wanted: Steps, *, largest: int) -> Overview:
    """Usage by group and by step, and by step the calls of the `largest` groups; all numbers agree with each other.

    Raises KeyStoreUnavailable, which is a StorageUnavailable.
    """
    async with snapshot(engine) as connection:
        rows = await by_group(connection, wanted.start_ms, wanted.end_ms, wanted.group_by, wanted.filters)
        ranked = sorted(rows, key=lambda row: (-row.calls, row.group))
        groups = [row.group for row in ranked[:largest] if row.calls]
        return Overview(rows, groups, await _steps(connection, wanted, groups))


async def _steps(connection: AsyncConnection, wanted: Steps, groups: Sequence[str]) -> list[UsageStep]:
    at, span = SOURCES[wanted.step_ms]
    every = sa.union_all(
        _part(wanted, at, sa.and_(at >= wanted.start_ms, at < wanted.end_ms)),
        _part(wanted, refusals.c.at, between(span, wanted.start_ms, wanted.end_ms)),
    ).subquery()
    sums, step = totals(every), wanted.of(every.c.at)
    columns: list[sa.ColumnElement[Any]] = [step, *sums.values()]
    found = [tuple(row) for row in await connection.execute(sa.select(*columns).group_by(step).order_by(step))]
    calls = await _calls(connection, wanted, groups)
    return [
        UsageStep(start, row_of("", dict(zip(sums, values, strict=True))), [calls.get((start, group), 0) for group in groups])
        for start, *values in found
    ]


def _part(wanted: Steps, at: sa.Column[int], when: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The sums of one table by its own time, which stands in the index; that of single calls by step, since there are as many
    times as calls.
    """
    start = (wanted.of(at) if at.table is ledger else at).label("at")
    columns: list[sa.ColumnElement[Any]] = [start, *sums_of(at.table)]
    return sa.select(*columns).where(when, *wanted.filters.of(at.table)).group_by(start)


async def _calls(connection: AsyncConnection, wanted: Steps, groups: Sequence[str]) -> dict[tuple[int, str], int]:
    """The admitted calls of some groups, by step and group."""
    at, _ = SOURCES[wanted.step_ms]
    step, group = wanted.of(at), at.table.c[GROUPS[wanted.group_by]]
    calls = sa.func.count() if at.table is ledger else sa.cast(sa.func.sum(at.table.c.calls), sa.BigInteger)
    query = sa.select(step, group, calls).where(at >= wanted.start_ms, at < wanted.end_ms, group.in_(groups))
    found = await connection.execute(query.where(*wanted.filters.of(at.table)).group_by(step, group))
    return {(start, name): count for start, name, count in found}
