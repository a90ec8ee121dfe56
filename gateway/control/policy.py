"""Access, denied by default: each route declares the right that it takes, and a route that declares nothing stops the start.

The declaration is enforced by the route itself, before any byte of the body is read: who calls has to be known, and to have the
right in some place. Whether it is the right place, the services ask (`Caller.require`); a route whose services never asked
answers nothing but an internal error, so that a check that was forgotten opens nothing.
"""

from collections.abc import Callable, Coroutine, Iterable
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts

from gateway.control.auth import authenticate
from gateway.control.context import UncheckedAccess, services_of
from gateway.control.problems import BadRequest, FieldError, Forbidden
from gateway.domain.roles import Right

_ATTRIBUTE = "__access__"
_LONGEST_NAME = 100
_MOST_ERRORS = 5

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


PUBLIC: Final = "public"
"""Anybody, without a credential."""

Access = Right | Literal["public"]


class UndeclaredPolicy(Exception):  # noqa: N818 — says what is missing
    """A route that does not say who may use it, or whose word nothing enforces."""


def public(endpoint: Endpoint) -> Endpoint:
    """Declare that anybody may use the route of this endpoint."""
    setattr(endpoint, _ATTRIBUTE, PUBLIC)
    return endpoint


def needs(right: Right) -> Callable[[Endpoint], Endpoint]:
    """Declare the right that the route of an endpoint takes."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, right)
        return endpoint

    return declare


def access_of(endpoint: Callable[..., Any] | None) -> Access | None:
    """What an endpoint declares; None where it declares nothing."""
    declared: Access | None = getattr(endpoint, _ATTRIBUTE, None)
    return declared


class GuardedRoute(APIRoute):
    """A route that asks who calls, and what they may, before it reads the body, unless it is declared public."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        access = access_of(self.endpoint)
        if access == PUBLIC:
            return handle

        known = {parameter.alias for parameter in self.dependant.query_params}

        async def guarded(request: Request) -> Response:
            caller = request.state.caller = await authenticate(request, services_of(request))
            if not isinstance(access, Right) or not caller.identity.may_somewhere(access):
                raise Forbidden
            _refuse_unknown(request.query_params.keys(), known)
            response = await handle(request)
            if not caller.checked:
                raise UncheckedAccess(f"{request.method} {self.path} was answered without a look at who may have it")
            return response

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
            raise UndeclaredPolicy(f"The route {name} declares no access policy; mark its endpoint with @needs(…) or @public.")
        if access != PUBLIC and not isinstance(context.original_route, GuardedRoute):
            raise UndeclaredPolicy(f"The route {name} takes a right, but is no GuardedRoute, so nothing would ask for it.")
