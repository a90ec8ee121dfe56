"""The audit trail."""

from collections.abc import Mapping
from typing import Any

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_time, cut
from gateway.domain import ids
from gateway.storage.sql import audit
from gateway.storage.sql.audit import AuditRow
from gateway.storage.sql.engine import AsyncConnection, reading


async def record(
    conn: AsyncConnection,
    services: Services,
    caller: Caller,
    action: str,
    target: str,
    *,
    account_id: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write who did what into the transaction of the change itself. `before` and `after` must hold no secret."""
    now = services.now_ms()
    row = AuditRow(ids.call_id(now), now, caller.actor, action, target, account_id, before, after, caller.client)
    await audit.insert(conn, row)


async def find(
    services: Services, *, action: str | None, target: str | None, account_id: str | None, limit: int, cursor: str | None
) -> Page[AuditRow]:
    """Changes, the newest first. Raises BadRequest for a wrong cursor."""
    before = after_time(cursor)
    async with reading(services.engine) as conn:
        rows = await audit.page(conn, action=action, target=target, account_id=account_id, limit=limit + 1, before=before)
    return cut(rows, limit, lambda row: (row.at, row.id))
