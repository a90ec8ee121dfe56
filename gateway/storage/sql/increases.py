"""Temporary increases of an account's limits: while one is open, what it sets comes before the account's own limits.

An increase is open from its row's insertion until `ended_at` is set: by somebody, or by `end_due` once its time has come. So
what a principal holds changes only within a change of policy, and every process sees the end at the same moment.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

import sqlalchemy as sa

from gateway.domain import ids
from gateway.domain.grants import NO_LIMITS, Limits
from gateway.storage.sql import audit
from gateway.storage.sql.audit import AuditRow
from gateway.storage.sql.engine import AsyncConnection, AsyncEngine, reading
from gateway.storage.sql.policy import NotYetInForce, Policy
from gateway.storage.sql.tables import limit_increases

_DUE_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class IncreaseRow:
    """An account's limits for a model for a while, in units a minute; what `limits` does not set stays as it is without.

    Times are Unix milliseconds; `ended_at` is None while it is open, `ends_at` when it shall end. `created_by` is an actor as
    the audit trail names them, and so is `ended_by`, which is None where it ended by itself. `base` is what held before it.
    """

    id: str
    account_id: str
    model: str
    limits: Limits
    reason: str
    created_by: str
    created_at: int
    ends_at: int
    ended_at: int | None = None
    ended_by: str | None = None
    base: Limits = NO_LIMITS


_COLUMNS = tuple(limit_increases.c)
_OPEN = limit_increases.c.ended_at.is_(None)


async def insert(conn: AsyncConnection, row: IncreaseRow) -> None:
    """Within a change of the account's policy. At most one is open for each model of an account: end that one first."""
    await conn.execute(
        sa.insert(limit_increases).values(
            id=row.id,
            account_id=row.account_id,
            model=row.model,
            rpm=row.limits.rpm,
            tpm=row.limits.tpm,
            base_rpm=row.base.rpm,
            base_tpm=row.base.tpm,
            reason=row.reason,
            created_by=row.created_by,
            created_at=row.created_at,
            ends_at=row.ends_at,
            ended_at=row.ended_at,
            ended_by=row.ended_by,
        )
    )


async def get(conn: AsyncConnection, account_id: str, increase_id: str) -> IncreaseRow | None:
    """Any increase of an account, open or ended."""
    found = await _found(conn, limit_increases.c.id == increase_id, limit_increases.c.account_id == account_id)
    return found[0] if found else None


async def get_open(conn: AsyncConnection, account_id: str, model: str) -> IncreaseRow | None:
    """The open increase for a model of an account; None where there is none."""
    found = await _found(conn, _OPEN, limit_increases.c.account_id == account_id, limit_increases.c.model == model)
    return found[0] if found else None


async def open_of_account(conn: AsyncConnection, account_id: str) -> dict[str, IncreaseRow]:
    """All open increases of an account, by model."""
    return {row.model: row for row in await _found(conn, _OPEN, limit_increases.c.account_id == account_id)}


async def page(
    conn: AsyncConnection,
    account_id: str,
    *,
    model: str | None = None,
    is_open: bool | None = None,
    limit: int,
    before: tuple[int, str] | None,
) -> list[IncreaseRow]:
    """At most `limit` increases of an account, open and ended ones unless `is_open` says which, the newest first, behind the one
    made at `before` (its time and ID).
    """
    made = (limit_increases.c.created_at, limit_increases.c.id)
    query = sa.select(*_COLUMNS).where(limit_increases.c.account_id == account_id)
    if model is not None:
        query = query.where(limit_increases.c.model == model)
    if is_open is not None:
        query = query.where(_OPEN if is_open else ~_OPEN)
    if before is not None:
        query = query.where(sa.tuple_(*made) < before)
    query = query.order_by(*(column.desc() for column in made)).limit(limit)
    return [_row(found) for found in (await conn.execute(query)).mappings()]


async def due(conn: AsyncConnection, now_ms: int, *, limit: int = _DUE_AT_ONCE) -> list[IncreaseRow]:
    """Open increases, of whichever accounts, that should have ended by `now_ms`; at most `limit`, the longest overdue first."""
    query = sa.select(*_COLUMNS).where(_OPEN, limit_increases.c.ends_at <= now_ms)
    query = query.order_by(limit_increases.c.ends_at, limit_increases.c.id).limit(limit)
    return [_row(found) for found in (await conn.execute(query)).mappings()]


async def end(conn: AsyncConnection, increase_id: str, now_ms: int, ended_by: str | None = None) -> bool:
    """Within a change of the account's policy. Answers whether it was open until now."""
    ended = sa.update(limit_increases).where(limit_increases.c.id == increase_id, _OPEN)
    ended = ended.values(ended_at=now_ms, ended_by=ended_by)
    return (await conn.execute(ended)).rowcount == 1


async def end_due(policy: Policy, engine: AsyncEngine, now_ms: int) -> int:
    """End the increases whose time has come, each account's within one change of its policy; answers how many were ended here.

    Any number of processes may do this at once: each increase is ended, and told to the audit trail, by one of them. Raises
    StorageUnavailable, with which the rest goes on waiting, and NotYetInForce once all of them are ended.
    """
    async with reading(engine) as conn:
        found = sorted(await due(conn, now_ms), key=attrgetter("account_id"))
    ended, late = 0, None
    for account_id, group in groupby(found, key=attrgetter("account_id")):
        here: list[IncreaseRow] = []
        try:
            async with policy.change(account_id) as conn:
                here = await _end_all(conn, group, now_ms)
        except _AlreadyEnded:
            continue
        except NotYetInForce as error:  # it is saved, and must not hold up the other accounts
            late = error
        ended += len(here)
    if late is not None:
        raise late
    return ended


class _AlreadyEnded(Exception):  # noqa: N818 — says what was found
    """Others ended all of them first, so there is nothing to raise an epoch for."""


async def _end_all(conn: AsyncConnection, rows: Iterable[IncreaseRow], now_ms: int) -> list[IncreaseRow]:
    ended = [row for row in rows if await end(conn, row.id, now_ms)]
    if not ended:
        raise _AlreadyEnded
    for row in ended:
        await audit.insert(conn, _told(row, now_ms))
    return ended


def _told(row: IncreaseRow, now_ms: int) -> AuditRow:
    return AuditRow(
        id=ids.call_id(now_ms),
        at=now_ms,
        actor="gateway",
        action="limits.increase_ended",
        target=f"{row.account_id}/{row.model}",
        account_id=row.account_id,
        before={"id": row.id, "rpm": row.limits.rpm, "tpm": row.limits.tpm, "ends_at": moment(row.ends_at)},
        after=None,
        client=None,
    )


def moment(unix_ms: int) -> str:
    """A time as the audit trail tells it: RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


async def _found(conn: AsyncConnection, *conditions: sa.ColumnElement[bool]) -> list[IncreaseRow]:
    return [_row(found) for found in (await conn.execute(sa.select(*_COLUMNS).where(*conditions))).mappings()]


def _row(found: sa.RowMapping) -> IncreaseRow:
    return IncreaseRow(
        id=found["id"],
        account_id=found["account_id"],
        model=found["model"],
        limits=Limits(rpm=found["rpm"], tpm=found["tpm"]),
        reason=found["reason"],
        created_by=found["created_by"],
        created_at=found["created_at"],
        ends_at=found["ends_at"],
        ended_at=found["ended_at"],
        ended_by=found["ended_by"],
        base=Limits(rpm=found["base_rpm"], tpm=found["base_tpm"]),
    )
