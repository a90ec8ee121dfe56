"""Sessions: how they begin, in what cookie, and when they end."""

from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest

from gateway.control import sessions
from gateway.control.context import People
from gateway.control.schemas import when
from gateway.domain.roles import INSTALLATION, Membership, Role
from gateway.storage.sql import members, users
from gateway.storage.sql.engine import AsyncEngine, StorageUnavailable, reading, writing
from gateway.storage.sql.users import UserStatus
from tests.control.admin_api import Control, opened
from tests.control.people_world import OPERATOR, PASSWORD, Browser, Person, add_person, add_session, browser, quick_passwords

__all__ = ["quick_passwords"]

SIGN_IN = "/console/sign-in"
HOUR, DAY = 3_600_000, 24 * 3_600_000


pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
async def kim(control: Control) -> Person:
    return await add_person(control, OPERATOR, email="kim@example.com")


@pytest.fixture
async def stranger(control: Control) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    async with browser(control) as opened_browser:
        yield opened_browser


async def _try(stranger: Browser, email: str = "kim@example.com", password: str = PASSWORD) -> int:
    return (await stranger.form(SIGN_IN, email=email, password=password)).status_code


async def _sessions(control: Control) -> int:
    async with reading(control.services.engine) as conn:
        return len((await conn.exec_driver_sql("SELECT id FROM sessions")).all())


# Sessions


async def test_cookie_over_http(control: Control, kim: Person, stranger: Browser) -> None:
    """The cookie is for this host alone, unreadable for scripts, not sent along by other sites, and ends with the session."""
    reply = await stranger.form(SIGN_IN, email=kim.email, password=PASSWORD)
    (cookie,) = reply.headers.get_list("set-cookie")
    name, *flags = cookie.split("; ")
    assert name.startswith("gateway-session=")
    assert sorted(flags) == ["HttpOnly", f"Max-Age={30 * 24 * 3600}", "Path=/", "SameSite=lax"]


async def test_cookie_over_https(engine: AsyncEngine) -> None:
    """Where people come by HTTPS the cookie is also Secure and has the prefix `__Host-`, and none without it counts."""
    people = People(public_url="https://gateway.example")
    async with opened(engine, people) as control:
        kim = await add_person(control, OPERATOR)
        async with browser(control, origin="https://gateway.example") as stranger:
            reply = await stranger.form(SIGN_IN, email=kim.email, password=PASSWORD)
            (cookie,) = reply.headers.get_list("set-cookie")
            name, *flags = cookie.split("; ")
            assert name.startswith("__Host-gateway-session=")
            assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} < set(flags)
            assert not any(flag.startswith("Domain") for flag in flags)
            assert (await stranger.get("/admin/v1/me")).status_code == 200
        async with browser(control, kim, origin="https://gateway.example") as planted:
            assert (await planted.get("/admin/v1/me")).status_code == 401


async def test_session_fixation(control: Control, kim: Person) -> None:
    """A session that was in the browser before signing in is never the one after it, and has ended."""
    attacker = await add_person(control)
    for planted in (attacker.secret, "made-up-secret"):
        async with browser(control) as victim:
            victim.http.cookies.set(sessions.PLAIN_COOKIE, planted, domain="gateway.test")
            reply = await victim.form(SIGN_IN, email=kim.email, password=PASSWORD)
            assert reply.status_code == 303
            given = reply.headers["set-cookie"].partition(";")[0].partition("=")[2]
            assert given not in (attacker.secret, "made-up-secret", kim.secret)
        async with browser(control, attacker) as old:
            assert (await old.get("/admin/v1/me")).status_code == 401


async def test_two_sign_ins_are_two_sessions(control: Control, kim: Person) -> None:
    """Each browser has a session of its own; signing out in one leaves the other."""
    other = await add_session(control, kim.user)
    async with browser(control, kim) as one, browser(control, other) as two:
        reply = await one.form("/console/sign-out", csrf=sessions.csrf_token(kim.secret))
        assert (reply.status_code, reply.headers["location"]) == (303, "/console/sign-in?reason=out")
        one.http.cookies.set(sessions.PLAIN_COOKIE, kim.secret, domain="gateway.test")
        assert (await one.get("/admin/v1/me")).status_code == 401
        assert (await two.get("/admin/v1/me")).status_code == 200


async def test_signing_out_takes_the_cookies_away(control: Control, kim: Person) -> None:
    """Signing out ends the session in the database, and tells the browser to forget both cookies."""
    async with browser(control, kim) as signed_in:
        reply = await signed_in.form("/console/sign-out", csrf=sessions.csrf_token(kim.secret))
    cookies = reply.headers.get_list("set-cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == [sessions.SECURE_COOKIE, sessions.PLAIN_COOKIE]
    assert all("Max-Age=0" in cookie for cookie in cookies)
    assert await _sessions(control) == 0
    assert (await control.actions())[0] == "user.sign_out"


async def test_idle_sessions_end(control: Control, kim: Person) -> None:
    """A session ends twelve hours after it was last used, and using it holds that off."""
    control.clock.step = 0
    async with browser(control, kim) as page:
        for _ in range(3):
            control.clock.now += 12 * HOUR - 1
            assert (await page.get("/admin/v1/me")).status_code == 200
        control.clock.now += 12 * HOUR
        assert (await page.get("/admin/v1/me")).status_code == 401
        assert (await page.send("PATCH", "/me", {"name": "x"})).status_code == 401


async def test_reading_needs_no_writing(control: Control, kim: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database takes no changes, whoever is signed in goes on reading; that they do is written down once it can be."""
    control.clock.step = 0
    control.clock.now += HOUR

    async with browser(control, kim) as page:
        with monkeypatch.context() as patched:
            patched.setattr(sessions, "writing", Mock(side_effect=StorageUnavailable("it takes no changes")))
            assert (await page.get("/admin/v1/me")).status_code == 200
        assert (await page.get("/admin/v1/me/sessions")).json()["data"][0]["seen_at"] == when(control.clock.now)


async def test_sessions_end_after_a_month(control: Control, kim: Person) -> None:
    """However often it is used, a session ends thirty days after it began."""
    control.clock.step = 0
    async with browser(control, kim) as page:
        began = control.clock.now
        for _ in range(71):
            control.clock.now += 10 * HOUR
            assert (await page.get("/admin/v1/me")).status_code == 200
        control.clock.now = began + 30 * DAY - 1
        assert (await page.get("/admin/v1/me")).status_code == 200
        control.clock.now += 1
        assert (await page.get("/admin/v1/me")).status_code == 401


async def test_a_session_of_somebody_disabled_does_not_count(control: Control, kim: Person) -> None:
    """Even a session that is still there, as one that began while its person was being disabled, opens nothing."""
    async with writing(control.services.engine) as conn:
        await users.set_status(conn, kim.id, UserStatus.DISABLED)
    async with browser(control, kim) as page:
        assert (await page.get("/admin/v1/me")).status_code == 401


async def test_ended_sessions_are_forgotten(control: Control, kim: Person, stranger: Browser) -> None:
    """The next sign-in deletes the rows of sessions that have ended by themselves."""
    control.clock.now += 12 * HOUR
    assert await _try(stranger, password=PASSWORD) == 303
    assert await _sessions(control) == 1


async def test_a_session_is_stored_as_its_digest(control: Control, kim: Person) -> None:
    """Whoever reads the database, or a page's token against forged requests, cannot make the cookie of it."""
    async with reading(control.services.engine) as conn:
        (row,) = (await conn.exec_driver_sql("SELECT * FROM sessions")).all()
    assert kim.secret.encode() not in b" ".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    assert kim.secret not in sessions.csrf_token(kim.secret)


async def test_rights_are_those_of_now(control: Control, kim: Person) -> None:
    """A role that is taken, or given, counts from the next request of a session that goes on."""
    other = await add_person(control, OPERATOR)
    async with browser(control, other) as page:
        assert (await page.send("POST", "/accounts", {"name": "one"})).status_code == 201
        assert (await control.delete(f"/members/{other.id}")).status_code == 204
        assert (await page.send("POST", "/accounts", {"name": "two"})).status_code == 403
        assert (await page.get("/admin/v1/users")).status_code == 403
        async with writing(control.services.engine) as conn:
            await members.put(conn, other.id, Membership(Role.OPERATOR, INSTALLATION), 1)
        assert (await page.send("POST", "/accounts", {"name": "three"})).status_code == 201
