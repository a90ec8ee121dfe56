"""The audit trail: who changed what, written in the same transaction as the change. It holds no secret of any kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.sql.tables import audit


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


_COLUMNS = (
    audit.c.id,
    audit.c.at,
    audit.c.actor,
    audit.c.action,
    audit.c.target,
    audit.c.account_id,
    audit.c.before,
    audit.c.after,
    audit.c.client,
)


async def insert(conn: AsyncConnection, row: AuditRow) -> None:
    await conn.execute(
        sa.insert(audit).values(
            id=row.id,
            at=row.at,
            actor=row.actor,
            action=row.action,
            target=row.target,
            account_id=row.account_id,
            before=None if row.before is None else dict(row.before),
            after=None if row.after is None else dict(row.after),
            client=row.client,
        )
    )


async def page(
    conn: AsyncConnection,
    *,
    action: str | None,
    target: str | None,
    account_id: str | None,
    limit: int,
    before: tuple[int, str] | None,
) -> list[AuditRow]:
    """At most `limit` rows, the newest first, behind the one written at `before` (its time and ID)."""
    query = sa.select(*_COLUMNS).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
    for column, wanted in ((audit.c.action, action), (audit.c.target, target), (audit.c.account_id, account_id)):
        if wanted is not None:
            query = query.where(column == wanted)
    if before is not None:
        query = query.where(sa.tuple_(audit.c.at, audit.c.id) < before)
    return [AuditRow(*found) for found in await conn.execute(query)]
