"""`/admin/v1/audit`."""

from fastapi import APIRouter

from gateway.control import schemas
from gateway.control.context import UsedServices
from gateway.control.policy import GuardedRoute, operator
from gateway.control.schemas import PAGE, Cursor, Filter, Limit, when
from gateway.control.services import audit
from gateway.storage.sql.audit import AuditRow

router = APIRouter(prefix="/audit", tags=["audit"], route_class=GuardedRoute)


def _shown(row: AuditRow) -> schemas.AuditEntry:
    return schemas.AuditEntry(
        id=row.id,
        at=when(row.at),
        actor=row.actor,
        action=row.action,
        target=row.target,
        account_id=row.account_id,
        before=None if row.before is None else dict(row.before),
        after=None if row.after is None else dict(row.after),
        client=row.client,
    )


@router.get("")
@operator
async def list_audit(
    *,
    services: UsedServices,
    action: Filter = None,
    target: Filter = None,
    account_id: Filter = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> schemas.Listing[schemas.AuditEntry]:
    """Who changed what, the newest first."""
    page = await audit.find(services, action=action, target=target, account_id=account_id, limit=limit, cursor=cursor)
    return schemas.Listing(data=[_shown(row) for row in page.rows], next_cursor=page.next_cursor)
