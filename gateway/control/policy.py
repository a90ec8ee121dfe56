"""Access, denied by default: each route declares who may use it, and a route that declares nothing stops the start.

The declaration is enforced by the route itself, before any byte of the body is read. A route without one asks for the admin
token too, so that even a check that was forgotten opens nothing.
"""

from collections.abc import Callable, Coroutine, Iterable
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts

from gateway.control.auth import authenticate
from gateway.control.context import services_of
from gateway.control.problems import BadRequest, FieldError

_ATTRIBUTE = "__access__"
_LONGEST_NAME = 100
_MOST_ERRORS = 5

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Access(StrEnum):
    PUBLIC = "public"
    """Anybody, without a credential."""
    OPERATOR = "operator"
    """Whoever holds the admin token."""


class UndeclaredPolicy(Exception):  # noqa: N818 — says what is missing
    """A route that does not say who may use it, or whose word nothing enforces."""


def public(endpoint: Endpoint) -> Endpoint:
    """Declare that anybody may use the route of this endpoint."""
    setattr(endpoint, _ATTRIBUTE, Access.PUBLIC)
    return endpoint


def operator(endpoint: Endpoint) -> Endpoint:
    """Declare that the route of this endpoint is the operator's."""
    setattr(endpoint, _ATTRIBUTE, Access.OPERATOR)
    return endpoint


def access_of(endpoint: Callable[..., Any] | None) -> Access | None:
    """What an endpoint declares; None where it declares nothing."""
    declared: Access | None = getattr(endpoint, _ATTRIBUTE, None)
    return declared


class GuardedRoute(APIRoute):
    """A route that authenticates before it reads the body, unless it is declared public."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if access_of(self.endpoint) is Access.PUBLIC:
            return handle

        known = {parameter.alias for parameter in self.dependant.query_params}

        async def guarded(request: Request) -> Response:
            request.state.caller = authenticate(request, services_of(request).admin_token)
            _refuse_unknown(request.query_params.keys(), known)
            return await handle(request)

        return guarded


def _refuse_unknown(given: Iterable[str], known: AbstractSet[str]) -> None:
    """A misspelt filter must not answer with more than was asked for."""
    unknown = [name for name in dict.fromkeys(given) if name not in known]
    if unknown:
        takes = f"this address takes {', '.join(sorted(known))}" if known else "this address takes none"
        errors = [FieldError(name[:_LONGEST_NAME], f"There is no such parameter; {takes}.") for name in unknown[:_MOST_ERRORS]]
        raise BadRequest(f"There is no such query parameter; {takes}.", errors=errors)


def check_routes(app: FastAPI) -> None:
    """Raise UndeclaredPolicy, naming the route, unless every route says who may use it and enforces that."""
    for context in iter_route_contexts(app.routes):
        access = access_of(context.endpoint)
        name = f"{'|'.join(sorted(context.methods or ()))} {context.path}".strip()
        if access is None:
            raise UndeclaredPolicy(f"The route {name} declares no access policy; mark its endpoint with @operator or @public.")
        if access is Access.OPERATOR and not isinstance(context.original_route, GuardedRoute):
            raise UndeclaredPolicy(
                f"The route {name} is the operator's, but is no GuardedRoute, so nothing would ask for the token."
            )
