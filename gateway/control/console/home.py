"""`/console/`: on to the first workspace that one sees."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.control.console import render
from gateway.control.console.view import shown_person
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs, public
from gateway.control.services import accounts, workspaces
from gateway.domain.roles import Right

router = APIRouter(prefix="/console", route_class=GuardedRoute)


@router.get("")
@public
async def to_the_console() -> Response:
    return RedirectResponse("/console/", status_code=308)


@router.get("/")
@needs(Right.SIGNED_IN)
async def home(*, request: Request, services: UsedServices, caller: KnownCaller) -> Response:
    """The API keys of the first workspace: of the default account, if that is seen, else the oldest."""
    default = await accounts.default_id(services)
    for account_id in (default, None):
        page = await workspaces.find(services, caller, account_id=account_id, search=None, limit=1, cursor=None)
        if page.rows:
            return RedirectResponse(f"/console/w/{page.rows[0].id}/keys", status_code=303)
    me = shown_person(caller.identity, None)
    return render.page("nothing.html", title="No workspace yet", csrf=request.state.csrf, me=me)
