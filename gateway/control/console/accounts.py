"""`/console/w/{id}/accounts`: all accounts, for operators."""

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.console.view import PageView
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter
from gateway.control.services import accounts
from gateway.domain.roles import Right

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)


@router.get("/accounts")
@needs(Right.MANAGE_ACCOUNTS)
async def accounts_page(*, view: PageView, q: Filter = None, cursor: Cursor = None) -> Response:
    search = (q or "").strip()
    page = await accounts.find(view.services, view.caller, search=search or None, limit=PAGE, cursor=cursor)
    return view.page(
        "accounts.html",
        "Accounts",
        rows=page.rows,
        owned=await accounts.workspaces_of(view.services, view.caller, [row.id for row in page.rows]),
        query=search,
        cursor=cursor,
        next_cursor=page.next_cursor,
        most=view.services.workspaces_per_account,
    )
