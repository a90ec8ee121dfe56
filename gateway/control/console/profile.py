"""`/console/profile`: oneself, and one's sessions."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.control.console import home
from gateway.control.console.agents import browser_of
from gateway.control.console.view import view_of
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.services import accounts, people, workspaces
from gateway.domain.roles import Right

router = APIRouter(prefix="/console", route_class=GuardedRoute)


@router.get("/profile")
@needs(Right.SIGNED_IN)
async def profile(*, request: Request, services: UsedServices, caller: KnownCaller) -> Response:
    sessions = await people.own_sessions(services, caller)
    every = await workspaces.find(services, caller, account_id=None, search=None, limit=1000, cursor=None)
    known = await accounts.find(services, caller, limit=1000, cursor=None)
    names = {row.id: row.name for row in every.rows} | {row.id: row.name for row in known.rows}
    context: dict[str, Any] = {
        "identity": caller.identity,
        "sessions": [(row, browser_of(row.agent)) for row in sessions],
        "current": "" if caller.session is None else caller.session.id,
        "names": names,
        "bounds": services.people,
    }
    first = await home.first_workspace(services, caller)
    if first is None:
        return home.page(request, caller, "profile.html", "Profile", **context)
    view = await view_of(request=request, services=services, caller=caller, workspace_id=first)
    return view.page("profile.html", "Profile", **context)
