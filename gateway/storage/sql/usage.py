"""Usage, summed over the ledger."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.storage.sql.engine import reading
from gateway.storage.sql.tables import ledger

GroupBy = Literal["model", "workspace", "key"]


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What the calls of one model, workspace or key used. `group` is the model's name, or the ID of the workspace or key.

    `failures` are calls whose outcome was not `ok`; `estimated_calls` those whose tokens were reckoned, because the upstream
    named none. Times are means in milliseconds: `ttft_ms` over the `timed_calls` that a first byte came for (None where there
    are none), `duration_ms` over all calls.
    """

    group: str
    calls: int
    failures: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    estimated_calls: int
    timed_calls: int
    ttft_ms: float | None
    duration_ms: float


async def usage(
    engine: AsyncEngine,
    *,
    start_ms: int,
    end_ms: int,
    group_by: GroupBy,
    account_id: str | None = None,
    workspace_id: str | None = None,
    key_id: str | None = None,
    model: str | None = None,
) -> list[UsageRow]:
    """Usage by group, of calls that started from `start_ms` on and before `end_ms` (Unix milliseconds); most tokens first.

    Raises KeyStoreUnavailable, which is a StorageUnavailable.
    """
    columns = {"model": ledger.c.model, "workspace": ledger.c.workspace_id, "key": ledger.c.key_id}
    group = columns[group_by]
    wanted = {"account_id": account_id, "workspace_id": workspace_id, "key_id": key_id, "model": model}
    tokens = sa.func.sum(ledger.c.input_tokens + ledger.c.output_tokens)
    query = (
        sa.select(
            group,
            sa.func.count(),
            _count(ledger.c.outcome != "ok"),
            _sum(ledger.c.input_tokens),
            _sum(ledger.c.output_tokens),
            _sum(ledger.c.cached_tokens),
            _count(ledger.c.estimated),
            sa.func.count(ledger.c.ttft_ms),
            _mean(ledger.c.ttft_ms),
            _mean(ledger.c.duration_ms),
        )
        .where(ledger.c.at >= start_ms, ledger.c.at < end_ms)
        .where(*(ledger.c[name] == value for name, value in wanted.items() if value is not None))
        .group_by(group)
        .order_by(tokens.desc(), group)
    )
    async with reading(engine) as connection:
        return [UsageRow(*row) for row in await connection.execute(query)]


def total(rows: Iterable[UsageRow]) -> UsageRow:
    """All rows as one, whose group is the empty text."""
    every = list(rows)
    calls = sum(row.calls for row in every)
    timed = sum(row.timed_calls for row in every)
    waited = sum((row.ttft_ms or 0.0) * row.timed_calls for row in every)
    lasted = sum(row.duration_ms * row.calls for row in every)
    return UsageRow(
        group="",
        calls=calls,
        failures=sum(row.failures for row in every),
        input_tokens=sum(row.input_tokens for row in every),
        output_tokens=sum(row.output_tokens for row in every),
        cached_tokens=sum(row.cached_tokens for row in every),
        estimated_calls=sum(row.estimated_calls for row in every),
        timed_calls=timed,
        ttft_ms=waited / timed if timed else None,
        duration_ms=lasted / calls if calls else 0.0,
    )


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _sum(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.sum(column), sa.BigInteger)  # PostgreSQL sums these as numeric


def _mean(column: sa.ColumnElement[int]) -> sa.ColumnElement[float]:
    return sa.func.avg(sa.cast(column, sa.Double))
