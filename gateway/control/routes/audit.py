"""`/admin/v1/audit`."""

from fastapi import APIRouter

from gateway.control import schemas_usage as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter, Limit, Listing, Moment, when
from gateway.control.services import audit
from gateway.control.services.usage import read_time
from gateway.domain.roles import Right
from gateway.storage.sql.audit import AuditRow, Wanted

router = APIRouter(prefix="/audit", tags=["audit"], route_class=GuardedRoute)


def _shown(row: AuditRow) -> schemas.AuditEntry:
    return schemas.AuditEntry(
        id=row.id,
        at=when(row.at),
        actor=row.actor,
        action=row.action,
        target=row.target,
        account_id=row.account_id,
        workspace_id=row.workspace_id,
        before=None if row.before is None else dict(row.before),
        after=None if row.after is None else dict(row.after),
        client=row.client,
    )


@router.get("")
@needs(Right.READ_AUDIT)
async def list_audit(
    *,
    services: UsedServices,
    caller: KnownCaller,
    action: Filter = None,
    target: Filter = None,
    actor: Filter = None,
    account_id: Filter = None,
    workspace_id: Filter = None,
    start: Moment = None,
    end: Moment = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Listing[schemas.AuditEntry]:
    """Who changed what, the newest first; `action` may be the first part of one, such as `key`."""
    wanted = Wanted(
        action=action,
        target=target,
        actor=actor,
        account_id=account_id,
        workspace_id=workspace_id,
        start_ms=None if start is None else read_time("start", start),
        end_ms=None if end is None else read_time("end", end),
    )
    page = await audit.find(services, caller, wanted, limit=limit, cursor=cursor)
    return Listing(data=[_shown(row) for row in page.rows], next_cursor=page.next_cursor)
