"""`/console/w/{id}/workspaces`: the workspaces of the account at hand."""

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.console.view import PageView, View
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter
from gateway.control.services import workspaces
from gateway.domain.roles import Place, Right
from gateway.storage.sql.workspaces import WorkspaceRow

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)


@router.get("/workspaces")
@needs(Right.READ_WORKSPACE)
async def workspaces_page(*, view: PageView, q: Filter = None, cursor: Cursor = None) -> Response:
    """Those that one sees; how many there are in all is for who may make one."""
    search = (q or "").strip()
    services, caller, account_id = view.services, view.caller, view.account.id
    page = await workspaces.find(
        services, caller, account_id=account_id, search=search or None, limit=PAGE, cursor=cursor, counted=True
    )
    manages = view.may_in_account(Right.MANAGE_WORKSPACES)
    return view.page(
        "workspaces.html",
        "Workspaces",
        rows=page.rows,
        editable={row.id for row in page.rows if _may_edit(view, row)},
        query=search,
        cursor=cursor,
        next_cursor=page.next_cursor,
        manages=manages,
        count=await workspaces.count(services, caller, account_id) if manages else 0,
        most=services.workspaces_per_account,
    )


def _may_edit(view: View, row: WorkspaceRow) -> bool:
    return not row.is_default and view.caller.identity.may(Right.MANAGE_GRANTS, Place(row.account_id, row.id))
