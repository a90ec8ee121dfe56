"""The audit trail."""

from collections.abc import Mapping
from typing import Any

from gateway.control.context import Caller, Services, UncheckedAccess
from gateway.control.paging import Page, after_time, cut
from gateway.domain import ids
from gateway.domain.roles import INSTALLATION, Place, Right
from gateway.storage.sql import audit
from gateway.storage.sql.audit import AuditRow, Wanted
from gateway.storage.sql.engine import AsyncConnection, reading


async def record(
    conn: AsyncConnection,
    services: Services,
    caller: Caller,
    action: str,
    target: str,
    *,
    place: Place = INSTALLATION,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write who did what into the transaction of the change itself. `before` and `after` must hold no secret.

    A change that nobody asked the caller's rights for is not committed: raises UncheckedAccess.
    """
    if not caller.checked:
        raise UncheckedAccess(f"{action} of {target} was made without a look at who may do it")
    now = services.now_ms()
    await audit.insert(
        conn,
        AuditRow(
            id=ids.call_id(now),
            at=now,
            actor=caller.actor,
            action=action,
            target=target,
            account_id=place.account_id,
            workspace_id=place.workspace_id,
            before=before,
            after=after,
            client=caller.client,
        ),
    )


async def find(services: Services, caller: Caller, wanted: Wanted, *, limit: int, cursor: str | None) -> Page[AuditRow]:
    """Changes that the caller may read of, the newest first. Raises BadRequest for a wrong cursor."""
    caller.require_signed_in()
    before = after_time(cursor)
    visible = caller.identity.visible(Right.READ_AUDIT)
    async with reading(services.engine) as conn:
        rows = await audit.page(conn, wanted, visible=visible, limit=limit + 1, before=before)
    return cut(rows, limit, lambda row: (row.at, row.id))
