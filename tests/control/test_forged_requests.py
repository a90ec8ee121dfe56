"""What other sites make a browser send, and where they would have it sent: nothing of it works."""

from collections.abc import AsyncIterator

import pytest

from gateway.control import sessions
from gateway.control.context import People
from gateway.storage.sql.engine import AsyncEngine
from tests.control.admin_api import TOKEN, Control, opened
from tests.control.people_world import (
    OPERATOR,
    ORIGIN,
    PASSWORD,
    Browser,
    Person,
    add_person,
    add_session,
    browser,
    quick_passwords,
)

__all__ = ["quick_passwords"]

SIGN_IN = "/console/sign-in"


pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
async def kim(control: Control) -> Person:
    return await add_person(control, OPERATOR, email="kim@example.com")


@pytest.fixture
async def stranger(control: Control) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    async with browser(control) as opened_browser:
        yield opened_browser


async def test_pages_send_to_the_form_and_back(control: Control, stranger: Browser) -> None:
    """Nobody gets a page without signing in; the form leads back to it, with what was asked for."""
    reply = await stranger.get("/console/profile?q=a%26b")
    assert reply.status_code == 303
    assert reply.headers["location"] == "/console/sign-in?next=%2Fconsole%2Fprofile%3Fq%3Da%2526b"
    form = await stranger.get(reply.headers["location"])
    assert 'value="/console/profile?q=a%26b"' in form.text


# Open redirects


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/console/\\evil.example",
        "/console//evil.example",
        "/console/../..//evil.example",
        "javascript:alert(1)",
        "/console/\r\nset-cookie: a=b",
        "/console/\u2028",
        "/admin/v1/docs",
        "console/profile",
        "",
    ],
)
async def test_nobody_is_sent_elsewhere(control: Control, kim: Person, stranger: Browser, target: str) -> None:
    """After signing in, and when signed in already, one lands on a page of the console, whatever `next` says."""
    reply = await stranger.form(SIGN_IN, email=kim.email, password=PASSWORD, next=target)
    assert (reply.status_code, reply.headers["location"]) == (303, "/console/")
    reply = await stranger.http.get(SIGN_IN, params={"next": target})
    assert (reply.status_code, reply.headers["location"]) == (303, "/console/")


async def test_next_page_is_kept(control: Control, kim: Person, stranger: Browser) -> None:
    """A page of the console that was asked for is where one lands, also after a wrong password."""
    target = "/console/w/llm-x/keys?q=a%26b"
    form = await stranger.form(SIGN_IN, email=kim.email, password="wrong password", next=target)
    assert f'value="{target}"' in form.text
    reply = await stranger.form(SIGN_IN, email=kim.email, password=PASSWORD, next=target)
    assert reply.headers["location"] == target


# Forged requests

FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://gateway.test.evil.example"},
    {"origin": "http://gateway.test:8081"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": ORIGIN, "sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("token", [None, "", "wrong", "0" * 64, "\u00e9"])
async def test_changes_take_the_pages_token(control: Control, kim: Person, token: str | None) -> None:
    """A request that changes something and comes by cookie without the session's own token is refused, and changes nothing."""
    async with browser(control, kim) as page:
        del page.http.headers["x-csrf-token"]
        headers = [] if token is None else [(b"x-csrf-token", token.encode())]
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            reply = await page.http.request(method, "/admin/v1/accounts", json={"name": "forged"}, headers=headers)
            assert reply.status_code in (403, 405), method
        reply = await page.http.post("/admin/v1/accounts", json={"name": "forged"}, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "csrf")
        assert (await page.send("GET", "/accounts")).status_code == 200
    assert await control.actions() == []


async def test_another_sessions_token_does_not_count(control: Control, kim: Person) -> None:
    """The token of one's other session, or of another person's, is refused: it belongs to one cookie."""
    other = await add_session(control, kim.user)
    async with browser(control, kim) as page:
        page.http.headers["x-csrf-token"] = sessions.csrf_token(other.secret)
        assert (await page.send("POST", "/accounts", {"name": "forged"})).status_code == 403


@pytest.mark.parametrize("headers", FOREIGN)
async def test_changes_from_elsewhere_are_refused(control: Control, kim: Person, headers: dict[str, str]) -> None:
    """What the browser says comes from another site is refused even with the right token."""
    async with browser(control, kim) as page:
        reply = await page.http.post("/admin/v1/accounts", json={"name": "forged"}, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "csrf")
    assert await control.actions() == []


@pytest.mark.parametrize("headers", FOREIGN)
async def test_forms_from_elsewhere_are_refused(control: Control, kim: Person, headers: dict[str, str]) -> None:
    """No other site can sign a browser in (as its own person, say), or out."""
    async with browser(control, kim) as page:
        for path in (SIGN_IN, "/console/sign-out", "/console/link/anything"):
            reply = await page.form(path, headers, email=kim.email, password=PASSWORD, csrf=sessions.csrf_token(kim.secret))
            assert reply.status_code == 403, path
            assert "set-cookie" not in reply.headers
        assert (await page.get("/admin/v1/me")).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", "\u00e9"])
async def test_signing_out_takes_the_token(control: Control, kim: Person, token: str) -> None:
    """A form without the session's token does not sign out."""
    async with browser(control, kim) as page:
        assert (await page.form("/console/sign-out", csrf=token)).status_code == 403
        assert (await page.get("/admin/v1/me")).status_code == 200


async def test_public_url_is_an_origin(engine: AsyncEngine) -> None:
    """Behind a proxy that changes the host, the address of the settings counts as one's own."""
    async with opened(engine, People(public_url="https://gateway.example")) as control:
        kim = await add_person(control, OPERATOR)
        async with browser(control, origin="http://10.0.0.1:8080") as page:
            headers = {"origin": "https://gateway.example"}
            assert (await page.form(SIGN_IN, headers, email=kim.email, password=PASSWORD)).status_code == 303


async def test_the_admin_token_needs_no_page(control: Control) -> None:
    """A script with the admin token sends no cookie, so that no token of a page is asked of it."""
    assert (await control.post("/accounts", {"name": "by script"})).status_code == 201


async def test_a_wrong_bearer_is_not_helped_by_a_cookie(control: Control, kim: Person) -> None:
    """A request with an Authorization header is taken at its word: a session beside it does not count."""
    async with browser(control, kim) as page:
        assert (await page.get("/admin/v1/me", headers={"authorization": "Bearer wrong"})).status_code == 401
        found = await page.get("/admin/v1/me", headers={"authorization": f"Bearer {TOKEN}"})
        assert found.json()["user_id"] is None
