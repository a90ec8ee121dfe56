"""`/console/`: on to the first workspace that one sees."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.control.console import render
from gateway.control.console.view import shown_person
from gateway.control.context import Caller, KnownCaller, Services, UsedServices
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
    """The API keys of the first workspace."""
    first = await first_workspace(services, caller)
    if first is not None:
        return RedirectResponse(f"/console/w/{first}/keys", status_code=303)
    return page(request, caller, "nothing.html", title="No workspace yet")


async def first_workspace(services: Services, caller: Caller) -> str | None:
    """The ID of the first workspace that is seen: of the default account, if that is, else the oldest; None without any."""
    default = await accounts.default_id(services)
    for account_id in (default, None):
        found = await workspaces.find(services, caller, account_id=account_id, search=None, limit=1, cursor=None)
        if found.rows:
            return found.rows[0].id
    return None


def page(request: Request, caller: Caller, template: str, title: str, **context: Any) -> Response:
    """A page for somebody who sees no workspace."""
    me, csrf = shown_person(caller.identity, None), getattr(request.state, "csrf", "")
    return render.page(template, title=title, csrf=csrf, me=me, **context)
