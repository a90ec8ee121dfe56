"""Turns whatever stops a request into a problem document, and gives every reply its request ID."""

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as FrameworkRefusal
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.control import problems
from gateway.control.console.refusals import is_console, problem_page, to_sign_in
from gateway.control.problems import BadRequest, FieldError, Problem, answer
from gateway.control.routes.users import LINK_PATH
from gateway.domain import ids
from gateway.domain.credentials import hide_keys
from gateway.domain.faults import StorageUnavailable
from gateway.ops import logs
from gateway.storage.sql.policy import NotYetInForce, UnknownAccount

_log = logging.getLogger(__name__)

_LONGEST_NAME = 100
_MESSAGES = {
    "missing": "This field is required.",
    "extra_forbidden": "There is no such field here; leave it out.",
    "string_pattern_mismatch": "It has characters that are not allowed here.",
    "string_unicode": "It is not valid Unicode text.",
    "model_attributes_type": "Send a JSON object, with the header Content-Type: application/json.",
}


class Envelope:
    """The outermost layer: makes the request ID, sets it on every reply, bounds the body, and answers 500 to what nothing else
    caught.

    The ID is the gateway's own, never the client's: a log line must lead to one request. The framework's own bound on bodies
    would answer in its words instead of ours.
    """

    def __init__(self, app: ASGIApp, now_ms: Callable[[], int], max_body_bytes: int) -> None:
        self.app = app
        self.now_ms = now_ms
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = ids.call_id(self.now_ms())
        current = logs.request_id.set(request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_body_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        async def stamped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self.app(scope, bounded, stamped)
        except Exception:  # the last resort: whatever it was, the client gets a problem document and the log the cause
            _log.exception("%s %s failed (request %s)", scope["method"], _loggable(scope["path"]), request_id)
            if started:
                raise
            refuse = answer_for(scope["path"])
            await refuse(Problem(), request_id)(scope, receive, stamped)
        finally:
            logs.request_id.reset(current)


def _loggable(path: str) -> str:
    """A path as the log may have it: without what opens a one-time link."""
    before, link, _secret = path.partition(LINK_PATH)
    return (before + link)[:200]


def _param(location: tuple[Any, ...]) -> str:
    """The name of the field that an error is about: its own, and in a list its place there and what is wrong of that, such as
    `grants.3.rpm`; without pydantic's names of types.
    """
    if len(location) < 2 or isinstance(location[1], int):  # noqa: PLR2004 — the part of the request, then the field
        return "body"
    place = next((index for index, part in enumerate(location) if isinstance(part, int)), len(location))
    return ".".join(str(part)[:_LONGEST_NAME] for part in (location[1], *location[place : place + 2]))


def _field_errors(errors: Iterable[Any]) -> list[FieldError]:
    found: dict[str, FieldError] = {}
    for error in errors:
        param = _param(error["loc"])
        if param == "body" and error["type"] == "missing":
            message = _MESSAGES["model_attributes_type"]
        elif error["type"] == "json_invalid":
            message = f"The body is not valid JSON: {error['ctx']['error']} at character {error['loc'][-1]}."
        else:
            message = _MESSAGES.get(error["type"], error["msg"].rstrip(".") + ".")
        found.setdefault(param, FieldError(param, message))
    return list(found.values())


def _allowed(request: Request) -> list[str]:
    """The methods that the request's path takes, over all routes: each route knows its own only."""
    scope = {**request.scope, "method": ""}
    return sorted(
        {
            method
            for context in iter_route_contexts(request.app.routes)
            if context.methods and context.include_in_schema and context.matches(scope)[0] is not Match.NONE
            for method in context.methods
        }
    )


def _hint(path: str) -> str:
    """Where to look instead: most who are lost outside the admin API have an OpenAI client with a wrong base URL."""
    listed = "the admin API's addresses are listed at /admin/v1/docs."
    return listed if path.startswith("/admin/") else f"an OpenAI client's base URL ends in /compatible-mode/v1, and {listed}"


def _from_http(request: Request, error: FrameworkRefusal) -> Problem:
    """The framework's own refusals in our words."""
    where = f"{request.method} {hide_keys(request.url.path)[:200]}"
    match error.status_code:
        case 404:
            return problems.NotFound(f"There is no {where}; {_hint(request.url.path)}")
        case 405:
            allowed = _allowed(request)
            return problems.MethodNotAllowed(
                f"There is no {where}; use {' or '.join(allowed)}.", headers={"allow": ", ".join(allowed)}
            )
        case 413:
            return problems.TooLarge()
        case 400:
            return BadRequest.field("body", "The body cannot be read; send a JSON object in UTF-8.")
        case _:
            return Problem()


def answer_for(path: str) -> Callable[[Problem, str], Response]:
    """How a refusal looks under a path: a page for people in the console, a problem document elsewhere."""
    return problem_page if is_console(path) else answer


def install(app: FastAPI) -> None:
    """Register the handlers with the application."""

    def respond(request: Request, problem: Problem) -> Response:
        if isinstance(problem, problems.Unauthorized) and request.method == "GET" and is_console(request.url.path):
            return to_sign_in(request)
        return answer_for(request.url.path)(problem, request.state.request_id)

    @app.exception_handler(Problem)
    async def refused(request: Request, error: Problem) -> Response:
        return respond(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = _field_errors(error.errors())
        return respond(request, BadRequest(" ".join(f"{each.param}: {each.message}" for each in errors[:5]), errors=errors))

    @app.exception_handler(FrameworkRefusal)
    async def framework(request: Request, error: FrameworkRefusal) -> Response:
        return respond(request, _from_http(request, error))

    @app.exception_handler(StorageUnavailable)
    async def away(request: Request, error: StorageUnavailable) -> Response:
        _log.warning("the database cannot be reached (request %s): %s", request.state.request_id, error)
        return respond(request, problems.Unavailable())

    @app.exception_handler(NotYetInForce)
    async def not_yet(request: Request, error: NotYetInForce) -> Response:
        _log.warning("a change is saved and not yet in force (request %s): %s", request.state.request_id, error)
        return respond(request, problems.SavedNotInForce())

    @app.exception_handler(UnknownAccount)
    async def unknown_account(request: Request, _error: UnknownAccount) -> Response:
        return respond(request, problems.NotFound("There is no account of this ID."))
