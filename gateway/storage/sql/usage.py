"""Usage, summed over the ledger: whole hours from the roll-ups, parts of an hour from its rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.storage.sql.engine import reading
from gateway.storage.sql.tables import ledger, usage_hours
from gateway.storage.sql.usage_hours import HOUR_MS, SUMS

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

    Hours that lie wholly in the span are read from the roll-ups, which are kept for ever; what is left of its first and last hour
    from the rows of single calls. Where retention has deleted those, such a part of an hour counts as nothing; so a span of long
    ago is exact if it begins and ends with an hour. Raises KeyStoreUnavailable, which is a StorageUnavailable.
    """
    wanted = {"account_id": account_id, "workspace_id": workspace_id, "key_id": key_id, "model": model}
    filters = {name: value for name, value in wanted.items() if value is not None}
    sources = [_summed(table, sums, span, group_by, filters) for table, sums, span in _sources(start_ms, end_ms)]
    parts = sa.union_all(*sources).subquery()
    sums = {name: sa.cast(sa.func.sum(parts.c[name]), sa.BigInteger) for name in SUMS}  # PostgreSQL's would be numeric
    tokens = sums["input_tokens"] + sums["output_tokens"]
    query = sa.select(parts.c.group, *sums.values()).group_by(parts.c.group).order_by(tokens.desc(), parts.c.group)
    async with reading(engine) as connection:
        return [_row(group, dict(zip(SUMS, values, strict=True))) for group, *values in await connection.execute(query)]


_Sums = Mapping[str, sa.ColumnElement[int]]


def _sources(start_ms: int, end_ms: int) -> Iterator[tuple[sa.Table, _Sums, sa.ColumnElement[bool]]]:
    """Where the calls of a span are found: the whole hours in the roll-ups, the rest call by call."""
    first, last = -(-start_ms // HOUR_MS) * HOUR_MS, end_ms // HOUR_MS * HOUR_MS
    if first >= last:
        yield ledger, _CALLS, sa.and_(ledger.c.at >= start_ms, ledger.c.at < end_ms)
        return
    yield usage_hours, _HOURS, sa.and_(usage_hours.c.hour >= first, usage_hours.c.hour < last)
    if start_ms < first:
        yield ledger, _CALLS, sa.and_(ledger.c.at >= start_ms, ledger.c.at < first)
    if last < end_ms:
        yield ledger, _CALLS, sa.and_(ledger.c.at >= last, ledger.c.at < end_ms)


def _summed(
    table: sa.Table, sums: _Sums, span: sa.ColumnElement[bool], group_by: GroupBy, filters: Mapping[str, str]
) -> sa.Select[Any]:
    group = table.c[{"model": "model", "workspace": "workspace_id", "key": "key_id"}[group_by]]
    columns = [sa.cast(sums[name], sa.BigInteger).label(name) for name in SUMS]
    return (
        sa.select(group.label("group"), *columns)
        .where(span, *(table.c[name] == value for name, value in filters.items()))
        .group_by(group)
    )


def _row(group: str, sums: dict[str, int]) -> UsageRow:
    timed, waited, lasted = sums["timed_calls"], sums.pop("ttft_ms"), sums.pop("duration_ms")
    return UsageRow(group, **sums, ttft_ms=waited / timed if timed else None, duration_ms=lasted / sums["calls"])


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


_HOURS: _Sums = {name: sa.func.sum(usage_hours.c[name]) for name in SUMS}
_CALLS: _Sums = {
    "calls": sa.func.count(),
    "failures": _count(ledger.c.outcome != "ok"),
    "input_tokens": sa.func.sum(ledger.c.input_tokens),
    "output_tokens": sa.func.sum(ledger.c.output_tokens),
    "cached_tokens": sa.func.sum(ledger.c.cached_tokens),
    "estimated_calls": _count(ledger.c.estimated),
    "timed_calls": sa.func.count(ledger.c.ttft_ms),
    "ttft_ms": sa.func.coalesce(sa.func.sum(ledger.c.ttft_ms), 0),
    "duration_ms": sa.func.sum(ledger.c.duration_ms),
}
