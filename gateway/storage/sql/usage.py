"""Usage, summed over the ledger and the refused calls: whole days and hours from the sums, parts of an hour from single rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.domain.visible import EVERYTHING, Visible
from gateway.storage.sql.engine import reading
from gateway.storage.sql.refusals import within
from gateway.storage.sql.tables import ledger, refusals, usage_days, usage_hours
from gateway.storage.sql.usage_hours import DAY_MS, HOUR_MS, SUMS, sums_over
from gateway.storage.sql.visible import visible_to

GroupBy = Literal["model", "workspace", "key"]
GROUPS: Mapping[GroupBy, str] = {"model": "model", "workspace": "workspace_id", "key": "key_id"}


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What the calls of one model, workspace or key used. `group` is the model's name, or the ID of the workspace or key.

    `failures` are calls whose outcome was not `ok`; `estimated_calls` those whose tokens were reckoned, because the upstream
    named none. Times are means in milliseconds: `ttft_ms` over the `timed_calls` that a first byte came for (None where there
    are none), `duration_ms` over all calls (0 where there are none). `refused` are calls that were not admitted, and in no other
    number; where they named no model of the catalogue, that group's name is empty.
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
    refused: int = 0


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
    visible: Visible = EVERYTHING,
) -> list[UsageRow]:
    """Usage by group, of calls that started from `start_ms` on and before `end_ms` (Unix milliseconds); most tokens first.

    Hours that lie wholly in the span are read from the roll-ups, which are kept for ever; what is left of its first and last hour
    from the rows of single calls. Where retention has deleted those, such a part of an hour counts as nothing; so a span of long
    ago is exact if it begins and ends with an hour. Refused calls are known to the minute, and in parts of an hour for about a
    day. Raises KeyStoreUnavailable, which is a StorageUnavailable.
    """
    filters = Filters(account_id, workspace_id, key_id, model, visible)
    async with reading(engine) as connection:
        return await by_group(connection, start_ms, end_ms, group_by, filters)


async def by_group(
    connection: AsyncConnection, start_ms: int, end_ms: int, group_by: GroupBy, filters: "Filters"
) -> list[UsageRow]:
    """The same on a connection that there is."""
    parts = [summed(table, table.c[GROUPS[group_by]], when, filters) for table, when in _sources(start_ms, end_ms)]
    every = sa.union_all(*parts).subquery()
    sums = totals(every)
    tokens = sums["input_tokens"] + sums["output_tokens"]
    query = sa.select(every.c.group, *sums.values()).group_by(every.c.group).order_by(tokens.desc(), every.c.group)
    return [row_of(group, dict(zip(sums, values, strict=True))) for group, *values in await connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Filters:
    """Whose calls are looked at; None is everybody's."""

    account_id: str | None = None
    workspace_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    visible: Visible = EVERYTHING

    def of(self, table: sa.Table) -> Iterator[sa.ColumnElement[bool]]:
        """The conditions on rows of one of the tables that usage is read from."""
        for name in ("account_id", "workspace_id", "key_id", "model"):
            value = getattr(self, name)
            if value is not None:
                yield table.c[name] == value
        if not self.visible.everything:
            yield visible_to(table, self.visible)


def _sources(start_ms: int, end_ms: int) -> Iterator[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Where the calls of a span are found: whole days and hours in the roll-ups, the rest call by call; and the refused ones."""
    for when in within(start_ms, end_ms):
        yield refusals, when
    edges = [(ledger.c.at, 1), (usage_hours.c.hour, HOUR_MS), (usage_days.c.day, DAY_MS)]
    yield from _nested(start_ms, end_ms, edges)


def _nested(
    start_ms: int, end_ms: int, sources: Sequence[tuple[sa.Column[int], int]]
) -> Iterator[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Split a span: its whole steps of the last of the `sources`, and what is left on either side from the ones before."""
    *finer, (column, step) = sources
    first, last = -(-start_ms // step) * step, end_ms // step * step
    if first >= last:
        if finer:
            yield from _nested(start_ms, end_ms, finer)
        return
    yield column.table, sa.and_(column >= first, column < last)
    if start_ms < first:
        yield from _nested(start_ms, first, finer)
    if last < end_ms:
        yield from _nested(last, end_ms, finer)


def summed(
    table: sa.Table, group: sa.ColumnElement[Any], when: sa.ColumnElement[bool], filters: Filters, *by: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    """The sums of one table's rows by `group`, and by what else is given, as columns of the names of `SUMS` and `refused`."""
    groups = (group.label("group"), *by)
    return sa.select(*groups, *sums_of(table)).where(when, *filters.of(table)).group_by(*groups)


def sums_of(table: sa.Table) -> list[sa.ColumnElement[int]]:
    """The sums over the rows of one table, by the names of `SUMS` and `refused`."""
    return [sa.cast(column, sa.BigInteger).label(name) for name, column in _SUMS_OF[table.name].items()]


def totals(parts: sa.Subquery) -> dict[str, sa.ColumnElement[int]]:
    """The sums over several of `summed`."""
    # PostgreSQL's would be numeric.
    return {name: sa.cast(sa.func.sum(parts.c[name]), sa.BigInteger).label(name) for name in (*SUMS, "refused")}


def row_of(group: str, sums: dict[str, int]) -> UsageRow:
    """A row out of sums, whose times are sums as well."""
    calls, timed, waited, lasted = sums["calls"], sums["timed_calls"], sums.pop("ttft_ms"), sums.pop("duration_ms")
    return UsageRow(group, **sums, ttft_ms=waited / timed if timed else None, duration_ms=lasted / calls if calls else 0.0)


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
        refused=sum(row.refused for row in every),
    )


_NONE = sa.literal_column("0", sa.BigInteger)
_SUMS_OF: Mapping[str, Mapping[str, sa.ColumnElement[Any]]] = {
    "usage_hours": {name: sa.func.sum(usage_hours.c[name]) for name in SUMS} | {"refused": _NONE},
    "usage_days": {name: sa.func.sum(usage_days.c[name]) for name in SUMS} | {"refused": _NONE},
    "ledger": sums_over(ledger) | {"refused": _NONE},
    "refusals": dict.fromkeys(SUMS, _NONE) | {"refused": sa.func.sum(refusals.c.calls)},
}
