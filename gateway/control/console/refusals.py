"""Refusals as pages for people."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.control.console import render
from gateway.control.problems import Problem

_TITLES = {
    400: "That does not work",
    401: "Sign in",
    403: "Not for you",
    404: "Nothing here",
    405: "That does not work",
    429: "Too many attempts",
    503: "Not available",
}
_BROKEN = "Something went wrong"


def is_console(path: str) -> bool:
    return path == "/console" or path.startswith("/console/")


def to_sign_in(request: Request) -> Response:
    """To the form, and from there back to the page that was asked for."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/console/sign-in?next={quote(wanted, safe='')}", status_code=303)


def problem_page(problem: Problem, request_id: str) -> Response:
    """A page that says what is wrong, and the way out."""
    page = render.page(
        "problem.html", problem.status, title=_TITLES.get(problem.status, _BROKEN), text=problem.detail, request_id=request_id
    )
    page.headers.update(problem.headers)
    return page
