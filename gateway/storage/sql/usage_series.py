"""Usage over time, for plots: sums by step of time and by group, of admitted and of refused calls.

Each step reads from the coarsest sums that hold it, so that a plot costs about the same however long a time it shows: five
minutes from single calls, hours and quarters of a day from the sums by hour, days from those by day.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.visible import EVERYTHING, Visible
from gateway.storage.sql.engine import reading
from gateway.storage.sql.refusals import MINUTE_MS, between
from gateway.storage.sql.tables import ledger, refusals, usage_days, usage_hours
from gateway.storage.sql.usage import GROUPS, Filters, GroupBy, summed, totals
from gateway.storage.sql.usage_hours import DAY_MS, HOUR_MS

SOURCES: dict[int, tuple[sa.Column[int], int]] = {
    5 * MINUTE_MS: (ledger.c.at, MINUTE_MS),
    HOUR_MS: (usage_hours.c.hour, HOUR_MS),
    6 * HOUR_MS: (usage_hours.c.hour, HOUR_MS),
    DAY_MS: (usage_days.c.day, HOUR_MS),
}
"""By step, when the admitted calls were, and the span of the sums of refused ones."""

STEPS = tuple(SOURCES)
"""The steps there are, in milliseconds."""


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """What the calls of one group that started within one step used. `at` is the step's start (Unix milliseconds).

    `group` is None for the groups that are not told apart. The numbers are those of `UsageRow`, but times are sums in
    milliseconds, to be divided once points are put together: `ttft_ms` by `timed_calls`, `duration_ms` by `calls`.
    """

    group: str | None
    at: int
    calls: int
    failures: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    estimated_calls: int
    timed_calls: int
    ttft_ms: int
    duration_ms: int
    refused: int


async def series(
    engine: AsyncEngine,
    *,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    group_by: GroupBy,
    account_id: str | None = None,
    workspace_id: str | None = None,
    key_id: str | None = None,
    model: str | None = None,
    visible: Visible = EVERYTHING,
    apart: Collection[str] | None = None,
) -> list[UsagePoint]:
    """Usage by step and group, from `start_ms` on, which has to be a multiple of the step, and before `end_ms`; by time, then by
    group. Steps without a call are left out.

    Where `apart` is given, only the groups in it are told apart, and all others are one. From the sums by hour and by day, the
    last of them counts as a whole, also where `end_ms` lies within it. Raises ValueError for a step that is none of `STEPS`, or a
    start between two; KeyStoreUnavailable, which is a StorageUnavailable.
    """
    if step_ms not in SOURCES or start_ms % step_ms:
        raise ValueError(f"no step of {step_ms} ms begins at {start_ms}")
    filters = Filters(account_id, workspace_id, key_id, model, visible)
    at, span = SOURCES[step_ms]

    def part(column: sa.Column[int], when: sa.ColumnElement[bool]) -> sa.Select[Any]:
        name = column.table.c[GROUPS[group_by]]
        group = name if apart is None else sa.case((name.in_(sorted(apart)), name))
        return summed(column.table, group, when, filters, _step(column, step_ms))

    admitted = part(at, sa.and_(at >= start_ms, at < end_ms))
    every = sa.union_all(admitted, part(refusals.c.at, between(span, start_ms, end_ms))).subquery()
    sums = totals(every)
    query = sa.select(every.c.group, every.c.step, *sums.values()).group_by(every.c.step, every.c.group)
    async with reading(engine) as connection:
        found = await connection.execute(query.order_by(every.c.step, every.c.group.nulls_last()))
        return [UsagePoint(group, at, **dict(zip(sums, values, strict=True))) for group, at, *values in found]


def _step(at: sa.Column[int], step_ms: int) -> sa.ColumnElement[int]:
    # The number is written out: PostgreSQL takes two parameters for two expressions, and one is then not grouped by.
    return (at - at % sa.literal_column(str(step_ms), sa.BigInteger)).label("step")
