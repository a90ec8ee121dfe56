"""The audit trail: who changed what, written in the same transaction as the change. It holds no secret of any kind."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.visible import Visible
from gateway.storage.sql.tables import audit
from gateway.storage.sql.visible import visible_to


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change. `at` is Unix time in milliseconds; `before` and `after` hold what may be shown of the target;
    `client` is the address the request came from, None for the gateway's own acts.
    """

    id: str
    at: int
    actor: str
    action: str
    target: str
    account_id: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    client: str | None
    workspace_id: str | None = None


_COLUMNS: Sequence[sa.ColumnElement[Any]] = (
    audit.c.id,
    audit.c.at,
    audit.c.actor,
    audit.c.action,
    audit.c.target,
    audit.c.account_id,
    audit.c.before,
    audit.c.after,
    audit.c.client,
    audit.c.workspace_id,
)


async def insert(conn: AsyncConnection, *rows: AuditRow) -> None:
    if rows:
        await conn.execute(sa.insert(audit), [_values(row) for row in rows])


def _values(row: AuditRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "target": row.target,
        "account_id": row.account_id,
        "workspace_id": row.workspace_id,
        "before": None if row.before is None else dict(row.before),
        "after": None if row.after is None else dict(row.after),
        "client": row.client,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to look for; None is no condition. `action` is a whole one, or the part before its dot, such as `key`; `target` also
    stands for what lies in it (`llm-…/model`); times are Unix milliseconds, `end_ms` not included.
    """

    action: str | None = None
    target: str | None = None
    actor: str | None = None
    account_id: str | None = None
    workspace_id: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None


def _conditions(wanted: Wanted) -> Iterator[sa.ColumnElement[bool]]:
    for column, value in (
        (audit.c.actor, wanted.actor),
        (audit.c.account_id, wanted.account_id),
        (audit.c.workspace_id, wanted.workspace_id),
    ):
        if value is not None:
            yield column == value
    if wanted.action is not None:
        yield (audit.c.action == wanted.action) | audit.c.action.startswith(f"{wanted.action}.", autoescape=True)
    if wanted.target is not None:
        yield (audit.c.target == wanted.target) | audit.c.target.startswith(f"{wanted.target}/", autoescape=True)
    if wanted.start_ms is not None:
        yield audit.c.at >= wanted.start_ms
    if wanted.end_ms is not None:
        yield audit.c.at < wanted.end_ms


async def page(
    conn: AsyncConnection, wanted: Wanted, *, visible: Visible, limit: int, before: tuple[int, str] | None
) -> list[AuditRow]:
    """At most `limit` of the visible rows, the newest first, behind the one written at `before` (its time and ID)."""
    query = sa.select(*_COLUMNS).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
    query = query.where(visible_to(audit, visible), *_conditions(wanted))
    if before is not None:
        query = query.where(sa.tuple_(audit.c.at, audit.c.id) < before)
    return [AuditRow(*found) for found in await conn.execute(query)]
