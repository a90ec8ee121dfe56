"""Who drives the limits: of the last minutes, the keys and models with the most calls, admitted and refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.visible import EVERYTHING, Visible
from gateway.storage.sql.engine import AsyncConnection, reading
from gateway.storage.sql.refusals import MINUTE_MS
from gateway.storage.sql.tables import ledger, refusals
from gateway.storage.sql.usage import Filters

_BY = ("account_id", "workspace_id", "key_id", "model")
_AT_ONCE = 500
_SUMS = ("calls", "failures", "input_tokens", "output_tokens", "refused")


@dataclass(frozen=True, slots=True)
class Driver:
    """What one key did with one model. `calls` were admitted, `failures` of them ended otherwise than `ok`; `refused` were not
    admitted, `codes` says why and how many. `model` is empty for refused calls that named none of the catalogue.
    """

    account_id: str
    workspace_id: str
    key_id: str
    model: str
    calls: int
    failures: int
    input_tokens: int
    output_tokens: int
    refused: int
    codes: Mapping[str, int] = field(default_factory=dict)


async def drivers(
    engine: AsyncEngine,
    *,
    since_ms: int,
    limit: int,
    account_id: str | None = None,
    workspace_id: str | None = None,
    key_id: str | None = None,
    model: str | None = None,
    visible: Visible = EVERYTHING,
) -> list[Driver]:
    """The `limit` keys and models with the most calls, admitted and refused together, that started from the minute of `since_ms`
    (Unix milliseconds) on. For minutes up to a few hours: it adds up single calls.

    Calls show after a moment, refused ones after some two seconds. Raises KeyStoreUnavailable, which is a StorageUnavailable.
    """
    since = since_ms - since_ms % MINUTE_MS
    filters = Filters(account_id, workspace_id, key_id, model, visible)
    every = sa.union_all(_admitted(since, filters), _refused(since, filters)).subquery()
    sums = [sa.cast(sa.func.sum(every.c[name]), sa.BigInteger).label(name) for name in _SUMS]
    groups = [every.c[name] for name in _BY]
    most = sums[_SUMS.index("calls")] + sums[_SUMS.index("refused")]
    query = sa.select(*groups, *sums).group_by(*groups).order_by(most.desc(), *groups).limit(limit)
    async with reading(engine) as connection:
        found = [Driver(*row) for row in await connection.execute(query)]
        return await _with_codes(connection, since, found)


_NONE = sa.literal_column("0", sa.BigInteger)
_of = attrgetter(*_BY)


def _admitted(since: int, filters: Filters) -> sa.Select[Any]:
    groups = [ledger.c[name] for name in _BY]
    failures = sa.func.sum(sa.case((ledger.c.outcome != "ok", 1), else_=0))
    tokens = (sa.func.sum(ledger.c.input_tokens), sa.func.sum(ledger.c.output_tokens))
    return _summed(groups, sa.func.count(), failures, *tokens, _NONE).where(ledger.c.at >= since, *filters.of(ledger))


def _refused(since: int, filters: Filters) -> sa.Select[Any]:
    groups = [refusals.c[name] for name in _BY]
    none = [_NONE] * (len(_SUMS) - 1)
    return _summed(groups, *none, sa.func.sum(refusals.c.calls)).where(_minutes(since), *filters.of(refusals))


def _summed(groups: list[sa.Column[Any]], *sums: sa.ColumnElement[Any]) -> sa.Select[Any]:
    columns = [sa.cast(column, sa.BigInteger).label(name) for name, column in zip(_SUMS, sums, strict=True)]
    return sa.select(*groups, *columns).group_by(*groups)


def _minutes(since: int) -> sa.ColumnElement[bool]:
    return sa.and_(refusals.c.span == MINUTE_MS, refusals.c.at >= since)


async def _with_codes(connection: AsyncConnection, since: int, found: list[Driver]) -> list[Driver]:
    """Why calls were refused, of those that were found alone. Read a moment later, so the sum is taken from here too."""
    refused = [_of(driver) for driver in found if driver.refused]
    groups = [refusals.c[name] for name in _BY]
    query = sa.select(*groups, refusals.c.code, sa.cast(sa.func.sum(refusals.c.calls), sa.BigInteger))
    query = query.where(_minutes(since)).group_by(*groups, refusals.c.code).order_by(refusals.c.code)
    codes: dict[tuple[str, ...], dict[str, int]] = {}
    # Part by part: to write out thousands of values takes long, and calls of the data plane wait meanwhile.
    for start in range(0, len(refused), _AT_ONCE):
        some = sa.tuple_(*groups).in_(refused[start : start + _AT_ONCE])
        for *group, code, calls in await connection.execute(query.where(some)):
            codes.setdefault(tuple(group), {})[code] = calls
    return [
        replace(driver, codes=codes[_of(driver)], refused=sum(codes[_of(driver)].values())) if _of(driver) in codes else driver
        for driver in found
    ]
