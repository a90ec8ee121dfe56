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
        _part(wanted, at, sa.and_(at >= wanted.start_ms, at < wanted.end_ms), groups),
        _part(wanted, refusals.c.at, between(span, wanted.start_ms, wanted.end_ms), groups),
    ).subquery()
    sums, step = totals(every), wanted.of(every.c.at)
    calls = [sa.cast(sa.func.sum(every.c[_name(number)]), sa.BigInteger) for number in range(len(groups))]
    columns: list[sa.ColumnElement[Any]] = [step, *sums.values(), *calls]
    found = await connection.execute(sa.select(*columns).group_by(step).order_by(step))
    return [UsageStep(start, row_of("", dict(zip(sums, values, strict=False))), values[len(sums) :]) for start, *values in found]


def _part(wanted: Steps, at: sa.Column[int], when: sa.ColumnElement[bool], groups: Sequence[str]) -> sa.Select[Any]:
    """The sums of one table by its own time, which stands in the index; that of single calls by step, since there are as many
    times as calls.
    """
    start = (wanted.of(at) if at.table is ledger else at).label("at")
    each = (_calls_of(at.table, at.table.c[GROUPS[wanted.group_by]] == name) for name in groups)
    named = [sa.cast(calls, sa.BigInteger).label(_name(number)) for number, calls in enumerate(each)]
    columns: list[sa.ColumnElement[Any]] = [start, *sums_of(at.table), *named]
    return sa.select(*columns).where(when, *wanted.filters.of(at.table)).group_by(start)


def _calls_of(table: sa.Table, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """The admitted calls among the rows of a table that fit. In the same pass: the largest groups may have most of the rows, and
    a second look at these would have to sort them.
    """
    if table is refusals:
        return sa.literal_column("0", sa.BigInteger)
    calls = sa.literal_column("1", sa.BigInteger) if table is ledger else table.c.calls
    return sa.func.sum(sa.case((condition, calls), else_=sa.literal_column("0", sa.BigInteger)))


def _name(number: int) -> str:
    return f"calls_{number}"
