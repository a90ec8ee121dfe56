"""Who may use the admin API."""

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from gateway.control.app import create_control
from gateway.control.context import Caller, UncheckedAccess
from gateway.control.policy import GuardedRoute, UndeclaredPolicy, check_routes, needs, public
from gateway.control.services.audit import record
from gateway.domain.roles import Right, operator
from gateway.storage.sql import accounts
from gateway.storage.sql.accounts import AccountRow
from gateway.storage.sql.engine import writing
from tests.control.admin_api import TOKEN, Control

RAW = TOKEN.encode()
PUBLIC = {"/admin/v1/openapi.json", "/admin/v1/docs", "/admin/v1/docs/style.css"}


async def plain(_request: Request) -> Response:
    return PlainTextResponse("fine")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer wrong")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"")],
        [(b"authorization", RAW)],
        [(b"authorization", b"Basic " + RAW)],
        [(b"authorization", b"Bearer " + RAW + b"x")],
        [(b"authorization", b"Bearer " + RAW[:-1])],
        [(b"authorization", b"Bearer " + RAW), (b"authorization", b"Bearer " + RAW)],
        [(b"authorization", b"Bearer \xff\xfe")],
        [(b"cookie", b"token=" + RAW), (b"x-admin-token", RAW)],
    ],
)
async def test_every_route_refuses_without_the_token(control: Control, headers: list[tuple[bytes, bytes]]) -> None:
    """Every route but the API's description answers 401 to whoever does not hold the admin token, whatever the body is."""
    transport = httpx2.ASGITransport(app=control.app)
    asked = 0
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as http:
        for context in iter_route_contexts(control.app.routes):
            if (context.path_format or "").startswith("/console"):
                continue  # pages, which send to the form: tests/control/console
            for method in context.methods or ():
                path = (context.path_format or "").replace("{", "").replace("}", "")
                reply = await http.request(method, path, headers=headers, content=b"{broken")
                if context.path_format in PUBLIC:
                    assert reply.status_code == 200
                    continue
                assert reply.status_code == 401, (method, path)
                assert reply.headers["www-authenticate"].startswith("Bearer ")
                assert reply.json()["error"]["code"] == "invalid_admin_token"
                assert TOKEN not in reply.text
                asked += 1
    assert asked >= 33
    assert await control.actions() == []


async def test_scheme_is_read_in_any_case(control: Control) -> None:
    """The scheme's name is case-insensitive (RFC 9110, section 11.1)."""
    assert (await control.get("/accounts", headers={"authorization": f"bEaReR {TOKEN}"})).status_code == 200


async def test_api_key_is_told_apart(control: Control) -> None:
    """Whoever sends an API key where the admin token belongs is told so, without the key being repeated."""
    reply = await control.get("/accounts", headers={"authorization": "Bearer sk-abcdefgh"})
    assert reply.status_code == 401
    assert "API key" in reply.json()["detail"]
    assert "abcdefgh" not in reply.text


async def test_token_is_asked_before_the_body_is_read(control: Control) -> None:
    """Without the token, no byte of the body is read."""

    async def receive() -> dict[str, object]:
        raise AssertionError("the body was read")

    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/admin/v1/accounts",
        "raw_path": b"/admin/v1/accounts",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"100")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    await control.app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 401


def test_undeclared_route_stops_the_start(control: Control) -> None:
    """A route that declares no policy stops the start, and the error names it."""
    with pytest.raises(UndeclaredPolicy, match="/livez"):
        create_control(control.services, [Route("/livez", plain)])


def test_mounts_stop_the_start(control: Control) -> None:
    """A mounted application, whose routes nobody looked at, stops the start."""
    with pytest.raises(UndeclaredPolicy, match="/inner"):
        create_control(control.services, [Mount("/inner", routes=[Route("/", public(plain))])])


def test_the_frameworks_own_pages_need_a_policy_too() -> None:
    """The framework's pages of documentation count as routes like any other."""
    with pytest.raises(UndeclaredPolicy, match="openapi"):
        check_routes(FastAPI())


def test_declaration_without_enforcement_stops_the_start(control: Control) -> None:
    """A route that is declared to take a right but would ask nobody for it stops the start."""

    @needs(Right.SIGNED_IN)
    async def bare() -> None: ...

    router = APIRouter()
    router.add_api_route("/bare", bare)
    with pytest.raises(UndeclaredPolicy, match="GuardedRoute"):
        create_control(control.services, router.routes)


async def test_undeclared_route_is_closed_even_unchecked(control: Control) -> None:
    """Even where the check was passed by, a guarded route without a policy lets nobody in."""

    async def forgotten() -> str:
        return "open"

    control.app.router.routes.append(GuardedRoute("/forgotten", forgotten))
    assert (await control.http.get("/forgotten")).status_code == 403
    assert (await control.http.get("/forgotten", headers={"authorization": "Bearer x"})).status_code == 401


async def test_what_nobody_asked_about_is_not_answered(control: Control) -> None:
    """A route whose services never asked what the caller may answers an internal error, and shows nothing."""

    @needs(Right.SIGNED_IN)
    async def careless() -> str:
        return "a secret"

    control.app.router.routes.append(GuardedRoute("/careless", careless))
    reply = await control.http.get("/careless")
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in reply.text


async def test_a_change_nobody_asked_about_is_not_saved(control: Control) -> None:
    """A change whose caller was never asked for a right is rolled back, whatever else was written with it."""
    caller = Caller(operator("careless", "careless"))

    async def change() -> None:
        async with writing(control.services.engine) as conn:
            await accounts.insert(conn, AccountRow("acc-x", "X", is_default=False, created_at=1))
            await record(conn, control.services, caller, "account.create", "acc-x")

    with pytest.raises(UncheckedAccess):
        await change()
    assert (await control.get("/accounts/acc-x")).status_code == 404


async def test_extra_public_routes_are_served(control: Control) -> None:
    """Routes that are handed in and declared public are served without a token, with a request ID."""
    app = create_control(control.services, [Route("/livez", public(plain))])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://gateway.test") as http:
        reply = await http.get("/livez")
    assert (reply.status_code, reply.text) == (200, "fine")
    assert reply.headers["x-request-id"]


def test_empty_token_is_refused(control: Control) -> None:
    """Without an admin token the admin API does not start."""
    from dataclasses import replace

    with pytest.raises(ValueError, match="GATEWAY_ADMIN_TOKEN"):
        create_control(replace(control.services, admin_token=""))


def test_services_show_no_secret(control: Control) -> None:
    """Neither the admin token nor the pepper is in the text form of the services."""
    assert TOKEN not in repr(control.services)
    assert "pepper-of" not in repr(control.services)
