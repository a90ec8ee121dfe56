"""The audit trail."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.control.context import Caller, Services, UncheckedAccess
from gateway.control.paging import Page, after_time, cut
from gateway.domain import ids
from gateway.domain.roles import INSTALLATION, Place, Right
from gateway.storage.sql import audit
from gateway.storage.sql.audit import AuditRow, Wanted
from gateway.storage.sql.engine import AsyncConnection, reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was done to which target. `before` and `after` must hold no secret."""

    action: str
    target: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


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
    change = Change(action=action, target=target, before=before, after=after)
    await record_all(conn, services, caller, [change], place=place)


async def record_all(
    conn: AsyncConnection, services: Services, caller: Caller, changes: Iterable[Change], *, place: Place = INSTALLATION
) -> None:
    """The same for several changes that are made at once. Raises UncheckedAccess."""
    if not caller.checked:
        told = ", ".join(f"{change.action} of {change.target}" for change in changes)
        raise UncheckedAccess(f"{told} was made without a look at who may do it")
    now = services.now_ms()
    await audit.insert(
        conn,
        *(
            AuditRow(
                id=ids.call_id(now),
                at=now,
                actor=caller.actor,
                action=change.action,
                target=change.target,
                account_id=place.account_id,
                workspace_id=place.workspace_id,
                before=change.before,
                after=change.after,
                client=caller.client,
            )
            for change in changes
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
