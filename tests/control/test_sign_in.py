"""Signing in: with what, how often, and what it tells of others."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import verify_secret

from gateway.control import passwords
from gateway.control.services import throttling
from gateway.storage.sql import users
from gateway.storage.sql.engine import AsyncConnection, AsyncEngine, reading, writing
from gateway.storage.sql.users import UserStatus
from tests.control.admin_api import Control
from tests.control.people_world import (
    CHEAP,
    OPERATOR,
    PASSWORD,
    Browser,
    Person,
    add_person,
    browser,
    cheap_hash,
    quick_passwords,
)

__all__ = ["quick_passwords"]

SIGN_IN = "/console/sign-in"
WRONG = "The e-mail address or the password is wrong."
HOUR = 3_600_000


pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
async def kim(control: Control) -> Person:
    return await add_person(control, OPERATOR, email="kim@example.com")


@pytest.fixture
async def stranger(control: Control) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    async with browser(control) as opened_browser:
        yield opened_browser


async def _try(stranger: Browser, email: str = "kim@example.com", password: str = "wrong password") -> int:
    return (await stranger.form(SIGN_IN, email=email, password=password)).status_code


# Signing in


async def test_sign_in_begins_a_session(control: Control, kim: Person, stranger: Browser) -> None:
    """E-mail and password, in any case and form that a keyboard sends, begin a session that the API knows."""
    reply = await stranger.form(SIGN_IN, email=" KIM@Example.com ", password=PASSWORD)
    assert (reply.status_code, reply.headers["location"]) == (303, "/console/")
    me = (await stranger.get("/admin/v1/me")).json()
    assert (me["user_id"], me["roles"][0]["role"]) == (kim.id, "operator")
    assert (await control.actions())[0] == "user.sign_in"
    async with reading(control.services.engine) as conn:
        found = await users.by_email(conn, "kim@example.com")
    assert found is not None
    assert found[0].last_sign_in_at is not None


async def test_unicode_passwords(control: Control, stranger: Browser) -> None:
    """A password counts in whatever Unicode form it is typed: composed, decomposed or of full width."""
    await add_person(control, email="zoe@example.com", password="caf\u00e9 au lait, s'il vous pla\u00eet")
    reply = await stranger.form(SIGN_IN, email="zoe@example.com", password="cafe\u0301 au lait, s'il vous plai\u0302t")
    assert reply.status_code == 303


async def test_old_hashes_are_made_anew(
    control: Control, kim: Person, stranger: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash that was made with weaker parameters is replaced by Argon2id's at the next sign-in; the password stays the same."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher())
    assert await _try(stranger, password=PASSWORD) == 303
    async with reading(control.services.engine) as conn:
        stored = await users.secret(conn, kim.id)
    assert stored not in (None, cheap_hash(PASSWORD))
    assert stored is not None
    assert stored.startswith("$argon2id$v=19$m=65536,")
    assert await control.services.passwords.verify(stored, PASSWORD)


# What tells nobody who has an account


async def test_sign_in_tells_nobody_apart(control: Control, kim: Person) -> None:
    """Unknown, wrong, disabled and without a password: the same answer to the byte, and the same work on one hash."""
    off = await add_person(control, email="off@example.com")
    async with writing(control.services.engine) as conn:
        await users.set_status(conn, off.id, UserStatus.DISABLED)
        await conn.exec_driver_sql(
            "INSERT INTO users (id, email, name, status, created_at) VALUES ('u', 'new@example.com', '', 'active', 1)"
        )
    answers, work = set(), []
    for email, password in [
        ("kim@example.com", "wrong password"),
        ("off@example.com", PASSWORD),
        ("new@example.com", PASSWORD),
        ("nobody@example.com", PASSWORD),
    ]:
        async with browser(control) as stranger:
            with patch("argon2._password_hasher.verify_secret", wraps=verify_secret) as verified:
                reply = await stranger.form(SIGN_IN, email=email, password=password)
            work.append([extract_parameters(call.args[0].decode()) for call in verified.call_args_list])
        kept = {name: value for name, value in reply.headers.items() if name != "x-request-id"}
        answers.add(
            (reply.status_code, reply.text.replace(email, "EMAIL"), str(kept).replace(reply.headers["content-length"], ""))
        )
        assert WRONG in reply.text
        assert "set-cookie" not in reply.headers
    assert len(answers) == 1
    assert work == [[extract_parameters(CHEAP.hash("x"))]] * 4


async def test_throttling_tells_nobody_apart(control: Control, kim: Person) -> None:
    """Whether there is such a person cannot be told from when attempts begin to be refused."""
    control.clock.step = 0
    seen: list[list[int]] = []
    for email in ("kim@example.com", "nobody@example.com"):
        async with browser(control, client=f"192.0.2.{len(seen)}") as stranger:
            seen.append([await _try(stranger, email) for _ in range(8)])
    assert seen[0] == seen[1] == [401] * 5 + [429] * 3


# Throttling


async def test_attempts_on_one_person_are_slowed_down(control: Control, kim: Person, stranger: Browser) -> None:
    """After five failures each attempt has to wait twice as long, is told how long, and the right password waits as well."""
    control.clock.step = 0
    assert [await _try(stranger) for _ in range(5)] == [401] * 5
    waits = []
    for _ in range(4):
        reply = await stranger.form(SIGN_IN, email="kim@example.com", password=PASSWORD)
        assert reply.status_code == 429
        waits.append(int(reply.headers["retry-after"]))
        assert f"try again in {waits[-1]} seconds" in reply.text
        control.clock.now += waits[-1] * 1000
        assert await _try(stranger) == 401
    assert waits == [1, 2, 4, 8]
    control.clock.now += 16_000
    assert await _try(stranger, password=PASSWORD) == 303
    assert [await _try(stranger) for _ in range(5)] == [401] * 5


async def test_waits_end(control: Control, kim: Person, stranger: Browser) -> None:
    """Nobody is locked out for good: a wait is a quarter of an hour at most, and an hour without failures forgets them all."""
    control.clock.step = 0
    for _ in range(60):
        status = await _try(stranger)
        control.clock.now += 900_000 if status == 429 else 0
    reply = await stranger.form(SIGN_IN, email="kim@example.com", password="wrong password")
    assert int(reply.headers.get("retry-after", 0)) <= 900
    control.clock.now += HOUR
    assert [await _try(stranger) for _ in range(6)] == [401] * 5 + [429]


async def test_many_addresses_on_one_person(control: Control, kim: Person) -> None:
    """An e-mail address that many network addresses try is slowed down too; other people are not."""
    control.clock.step = 0
    await add_person(control, email="lee@example.com")
    statuses = []
    for number in range(26):
        async with browser(control, client=f"192.0.2.{number}") as stranger:
            statuses.append(await _try(stranger))
    assert statuses == [401] * 25 + [429]
    async with browser(control, client="192.0.2.1") as other:
        assert await _try(other, "lee@example.com", PASSWORD) == 303


async def test_one_address_on_many_people(control: Control, kim: Person, stranger: Browser) -> None:
    """A network address that tries many people is slowed down; the same person from elsewhere is not."""
    control.clock.step = 0
    statuses = [await _try(stranger, f"person{number}@example.com") for number in range(51)]
    assert statuses == [401] * 50 + [429]
    assert await _try(stranger, password=PASSWORD) == 429
    async with browser(control, client="192.0.2.1") as other:
        assert await _try(other, password=PASSWORD) == 303


async def test_attempts_at_once_gain_nothing(control: Control, kim: Person, stranger: Browser) -> None:
    """Of twenty attempts at the same time as many are tried as one after another."""
    control.clock.step = 0
    statuses = await asyncio.gather(*(_try(stranger) for _ in range(20)))
    assert sorted(statuses) == [401] * 5 + [429] * 15


async def test_addresses_of_one_ipv6_network_are_one(control: Control, kim: Person) -> None:
    """Who has a network of IPv6 has each address in it, and gains nothing by that; the next network is somebody else's."""
    control.clock.step = 0
    statuses = []
    for number in range(51):
        async with browser(control, client=f"2001:db8:0:7:{number + 1:x}::{number:x}") as stranger:
            statuses.append(await _try(stranger, f"person{number}@example.com"))
    assert statuses == [401] * 50 + [429]
    async with browser(control, client="2001:db8:0:8::1") as other:
        assert await _try(other, password=PASSWORD) == 303


async def test_a_flood_of_attempts_waits_for_itself(
    control: Control, kim: Person, stranger: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many sign in at once, two at most are at the database to be counted, so that nobody waits there behind them."""
    now, most = 0, 0

    @asynccontextmanager
    async def counted(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        try:
            async with writing(engine) as conn:
                yield conn
        finally:
            now -= 1

    monkeypatch.setattr(throttling, "writing", counted)
    statuses = await asyncio.gather(*(_try(stranger, f"person{number}@example.com") for number in range(30)))
    assert (set(statuses), most) == ({401}, 2)


async def test_refused_attempts_try_no_password(control: Control, kim: Person, stranger: Browser) -> None:
    """An attempt that comes too soon costs no work on a password, and does not lengthen the wait."""
    control.clock.step = 0
    for _ in range(5):
        await _try(stranger)
    with patch.object(passwords, "_verified", wraps=passwords._verified) as verified:
        assert [await _try(stranger) for _ in range(50)] == [429] * 50
    assert verified.call_count == 0
    control.clock.now += 1000
    assert await _try(stranger, password=PASSWORD) == 303


# Forms as nobody's browser sends them


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"email": "kim@example.com"}', "application/json"),
        (b"email=a&email=b", "application/x-www-form-urlencoded"),
        (b"email=%ff%fe", "application/x-www-form-urlencoded"),
        (b"&".join(b"f%d=1" % number for number in range(30)), "application/x-www-form-urlencoded"),
        (b"email=" + b"a" * 20_000, "application/x-www-form-urlencoded"),
        (b"email=a", "text/plain"),
    ],
)
async def test_odd_forms_are_refused(control: Control, stranger: Browser, content: bytes, kind: str) -> None:
    """A form that no browser would send from the page is a 400, not a fault."""
    reply = await stranger.http.post(SIGN_IN, content=content, headers={"content-type": kind})
    assert reply.status_code == 400


@pytest.mark.parametrize(
    "email", ["", "no address", "@", "a@", "@b", "a b@c", "\ud800@x".encode("utf-8", "replace").decode(), "x" * 300 + "@y"]
)
async def test_impossible_addresses_are_wrong(control: Control, stranger: Browser, email: str) -> None:
    """What cannot be an e-mail address is answered like any other wrong one."""
    reply = await stranger.form(SIGN_IN, email=email, password=PASSWORD)
    assert reply.status_code == 401
    assert WRONG in reply.text


# Passwords are nowhere


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.DEBUG)
    for name in ("sqlalchemy", "aiosqlite", "httpx2"):
        # Its own debug lines hold every row that is read; that level is for developers, at their own databases.
        logging.getLogger(name).setLevel(logging.WARNING)
    yield caplog
    for name in ("sqlalchemy", "aiosqlite", "httpx2"):
        logging.getLogger(name).setLevel(logging.NOTSET)


async def test_passwords_and_secrets_are_nowhere(control: Control, everything_logged: pytest.LogCaptureFixture) -> None:
    """No password, hash, session or link stands in a reply, in the audit trail or in the log, whether things go well or not."""
    kim = await add_person(control, OPERATOR)
    tried, chosen = "tried Secret password", "a chosen Secret password"
    said = []
    async with browser(control, client="192.0.2.7") as page:
        said.append(await page.form(SIGN_IN, email=kim.email, password=tried))
        link = (await control.post("/invitations", {"email": "new@example.com", "role": "operator"})).json()["path"]
        said.append(await page.form(link, name="", password=chosen))
        said.append(await page.form(link, name="New", password=chosen))
        reset = (await control.post(f"/users/{kim.id}/reset-link")).json()["path"]
        with patch("gateway.storage.sql.users.set_password", side_effect=RuntimeError("broken")):
            said.append(await page.form(reset, password=chosen))
        assert [reply.status_code for reply in said] == [401, 400, 303, 500]
    async with browser(control, kim) as page:
        said.append(await page.send("POST", "/me/password", {"current": tried, "new": chosen}))
        said.append(await page.send("POST", "/me/password", {"current": PASSWORD, "new": chosen}))
        said.extend(
            [await page.get(f"/admin/v1/{path}") for path in ("audit?limit=1000", "users", "members", "me", "me/sessions")]
        )
    text = "".join(reply.text for reply in said) + everything_logged.text
    secret_parts = [tried, chosen, PASSWORD, "argon2", kim.secret, link.rpartition("/")[2], reset.rpartition("/")[2]]
    assert [part for part in secret_parts if part in text] == []
    assert "failed" in everything_logged.text  # the log is not empty
