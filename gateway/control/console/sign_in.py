"""Signing in and out, and one-time links: pages that work without script, and before anybody is known."""

import hmac

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.control import auth, sessions
from gateway.control.console import render
from gateway.control.console.forms import next_page, read_form
from gateway.control.context import Caller, Services, UsedServices
from gateway.control.policy import GuardedRoute, public
from gateway.control.problems import BadCsrfToken, BadRequest, NotFound, Problem, TooManyAttempts, Unauthorized
from gateway.control.services import invitations
from gateway.control.services import sign_in as service
from gateway.storage.sql.links import LinkKind, LinkRow

router = APIRouter(prefix="/console", route_class=GuardedRoute)

_LONGEST_SECRET = 100
_REASONS = {"ended": "Your session has ended. Sign in again to go on.", "out": "You are signed out."}


async def present(request: Request, services: Services) -> Caller | None:
    """Who is signed in already, if anybody is."""
    secret = request.cookies.get(sessions.cookie_name(services, request))
    found = await sessions.find_session(services, secret) if secret else None
    return None if found is None else Caller(found[1], auth.address(request, services), found[0])


@router.get("/sign-in")
@public
async def show_sign_in(*, request: Request, services: UsedServices) -> Response:
    """The form; whoever is signed in already goes on."""
    target = next_page(request.query_params.get("next"))
    if await present(request, services) is not None:
        return RedirectResponse(target, status_code=303)
    reason = _REASONS.get(request.query_params.get("reason", ""), "")
    return _form(target, reason=reason)


def _form(target: str, *, email: str = "", reason: str = "", problem: Problem | None = None) -> HTMLResponse:
    error = "" if problem is None else problem.detail
    return _refused(render.page("sign_in.html", title="Sign in", target=target, email=email, error=error, reason=reason), problem)


def _refused(page: HTMLResponse, problem: Problem | None) -> HTMLResponse:
    """A form that says what is wrong, with the status and the headers of that, such as when to try again."""
    if problem is not None:
        page.status_code = problem.status
        page.headers.update(problem.headers)
    return page


@router.post("/sign-in")
@public
async def sign_in(*, request: Request, services: UsedServices) -> Response:
    """A new session, always: one that was there before ends, whoever put its cookie there."""
    auth.check_origin(request, services)
    form = await read_form(request)
    email, target = form.get("email", ""), next_page(form.get("next"))
    try:
        secret = await service.sign_in(
            services,
            email,
            form.get("password", ""),
            client=auth.address(request, services),
            agent=request.headers.get("user-agent"),
        )
    except (Unauthorized, TooManyAttempts) as problem:
        return _form(target, email=email, problem=problem)
    return await _signed_in(request, services, secret, target)


async def _signed_in(request: Request, services: Services, secret: str, target: str) -> Response:
    before = await present(request, services)
    if before is not None:
        await service.sign_out(services, before)
    response = RedirectResponse(target, status_code=303, headers={"cache-control": "no-store"})
    sessions.set_cookie(response, services, request, secret)
    return response


@router.post("/sign-out")
@public
async def sign_out(*, request: Request, services: UsedServices) -> Response:
    """End the session, wherever its cookie may have been copied to."""
    auth.check_origin(request, services)
    form = await read_form(request)
    secret = request.cookies.get(sessions.cookie_name(services, request), "")
    caller = await present(request, services)
    if caller is not None:
        given = form.get("csrf", "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), sessions.csrf_token(secret).encode()):
            raise BadCsrfToken
        await service.sign_out(services, caller)
    response = RedirectResponse("/console/sign-in?reason=out", status_code=303)
    sessions.clear_cookies(response)
    return response


@router.get("/link/{secret}")
@public
async def show_link(*, services: UsedServices, secret: str) -> Response:
    """What a one-time link is for; looking does not use it, since programs look at links that are sent around."""
    return _link_form(await _look(services, secret))


async def _look(services: Services, secret: str) -> LinkRow:
    if len(secret) > _LONGEST_SECRET:
        raise NotFound(invitations.GONE)
    return await invitations.look(services, secret)


def _link_form(row: LinkRow, form: dict[str, str] | None = None, problem: Problem | None = None) -> HTMLResponse:
    given = form or {}
    errors = {} if problem is None else {each.param: each.message for each in problem.errors}
    title = "Choose a new password" if row.kind is LinkKind.RESET else "Join the gateway"
    page = render.page(
        "link.html",
        title=title,
        row=row,
        is_reset=row.kind is LinkKind.RESET,
        email=row.email or given.get("email", ""),
        name=given.get("name", ""),
        errors=errors,
        error="" if problem is None or errors else problem.detail,
    )
    return _refused(page, problem)


@router.post("/link/{secret}")
@public
async def open_link(*, request: Request, services: UsedServices, secret: str) -> Response:
    """Use the link, and sign in."""
    auth.check_origin(request, services)
    form = await read_form(request)
    row = await _look(services, secret)
    try:
        session = await invitations.open_link(
            services,
            secret,
            email=form.get("email", ""),
            name=form.get("name", ""),
            password=form.get("password", ""),
            client=auth.address(request, services),
            agent=request.headers.get("user-agent"),
        )
    except (BadRequest, TooManyAttempts) as problem:
        return _link_form(row, form, problem)
    return await _signed_in(request, services, session, "/console/")
