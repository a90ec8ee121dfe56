"""What two people do to one person at the same time, on SQLite and PostgreSQL."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from gateway.control import passwords
from gateway.control.context import Caller
from gateway.control.services import invitations
from gateway.domain.roles import operator
from gateway.storage.sql import links, sessions, users
from gateway.storage.sql.engine import create_engine, reading, writing
from tests.control.admin_api import Control, opened
from tests.control.people_world import (
    OPERATOR,
    PASSWORD,
    Person,
    add_account,
    add_person,
    browser,
    cheap_hash,
    invite,
    join,
    quick_passwords,
    roles,
    send,
)
from tests.storage.conftest import POSTGRES, migrated_postgres, new_postgres, postgres

__all__ = ["migrated_postgres", "new_postgres", "postgres", "quick_passwords"]

pytestmark = pytest.mark.usefixtures("quick_passwords")
SIGN_IN = "/console/sign-in"
NEW = "quite another long password"


@pytest.fixture(params=["sqlite", POSTGRES])
def database(request: pytest.FixtureRequest, migrated: Path, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{shutil.copy(migrated, tmp_path / 'either.db')}"
    make: Callable[[str], str] = request.getfixturevalue("new_postgres")
    return make(request.getfixturevalue("migrated_postgres"))


@pytest.fixture
async def either(database: str) -> AsyncIterator[Control]:
    """The admin API on either database."""
    engine = create_engine(database)
    try:
        async with opened(engine) as made:
            yield made
    finally:
        await engine.dispose()


@pytest.fixture
async def kim(either: Control) -> Person:
    return await add_person(either, OPERATOR, email="kim@example.com")


async def stored(control: Control, person: Person) -> str | None:
    async with reading(control.services.engine) as conn:
        return await users.secret(conn, person.id)


async def count_sessions(control: Control, person: Person) -> int:
    async with reading(control.services.engine) as conn:
        return len(await sessions.of_user(conn, person.id, alive_since=0, seen_since=0))


def meanwhile(control: Control, monkeypatch: pytest.MonkeyPatch, change: Callable[[], Awaitable[None]]) -> None:
    """Have something happen once, between the look at a password and what follows it."""
    verify, left = control.services.passwords.verify, [change]

    async def slow(known: str | None, password: str) -> bool:
        right = await verify(known, password)
        while left:
            await left.pop()()
        return right

    monkeypatch.setattr(control.services.passwords, "verify", slow)


def new_password(control: Control, person: Person) -> Callable[[], Awaitable[None]]:
    """As by a link of an operator: another password, and every session ends."""

    async def change() -> None:
        async with writing(control.services.engine) as conn:
            await users.set_password(conn, person.id, cheap_hash(NEW))
            await sessions.delete_of_user(conn, person.id)

    return change


async def test_a_password_that_is_changed_meanwhile_opens_nothing(
    either: Control, kim: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who signs in with a password that is changed while it is looked at has no session afterwards."""
    meanwhile(either, monkeypatch, new_password(either, kim))
    async with browser(either) as page:
        reply = await page.form(SIGN_IN, email=kim.email, password=PASSWORD)
    assert (reply.status_code, "set-cookie" in reply.headers) == (401, False)
    assert await count_sessions(either, kim) == 0


async def test_a_new_password_is_not_undone_by_the_old_one(either: Control, kim: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither making an old hash anew nor changing one's own password puts a password in the place of one set meanwhile."""
    meanwhile(either, monkeypatch, new_password(either, kim))
    reply = await send(either, kim, "POST", "/me/password", {"current": PASSWORD, "new": "chosen by the attacker"})
    assert (reply.status_code, reply.json()["errors"][0]["param"]) == (400, "current")
    assert await stored(either, kim) == cheap_hash(NEW)
    lee = await add_person(either, email="lee@example.com")
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=16, parallelism=1))
    meanwhile(either, monkeypatch, new_password(either, lee))
    async with browser(either) as page:
        assert (await page.form(SIGN_IN, email=lee.email, password=PASSWORD)).status_code == 401
    assert await stored(either, lee) == cheap_hash(NEW)


async def test_who_is_disabled_meanwhile_has_no_session(either: Control, kim: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is disabled while they sign in has no session, which would count again once they are enabled."""
    lee = await add_person(either, email="lee@example.com")

    async def disable() -> None:
        reply = await send(either, kim, "PATCH", f"/users/{lee.id}", {"status": "disabled"})
        assert reply.status_code == 200

    meanwhile(either, monkeypatch, disable)
    async with browser(either) as page:
        assert (await page.form(SIGN_IN, email=lee.email, password=PASSWORD)).status_code == 401
    assert await count_sessions(either, lee) == 0


async def test_a_session_that_begins_as_somebody_is_disabled_ends(either: Control, kim: Person) -> None:
    """Disabling waits for a sign-in that is under way, and then ends its session."""
    lee = await add_person(either, email="lee@example.com")
    async with writing(either.services.engine) as conn:
        assert await users.hold(conn, lee.id) is not None
        disabling = asyncio.create_task(send(either, kim, "PATCH", f"/users/{lee.id}", {"status": "disabled"}))
        await asyncio.sleep(0.3)
        assert not disabling.done()
        row = (await sessions.of_user(conn, lee.id, alive_since=0, seen_since=0))[0]
        await sessions.insert(conn, type(row)("ses-new", lee.id, row.created_at, row.seen_at, None, None), b"d" * 32)
    assert (await disabling).status_code == 200
    assert await count_sessions(either, lee) == 0


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
async def test_forgetting_waits_for_nobody(either: Control, kim: Person) -> None:
    """Old sessions and links that somebody else ends just now keep nobody waiting who signs in or invites."""
    lee = await add_person(either, email="lee@example.com")
    assert (await invite(either, kim, "operator", {})).status_code == 201
    either.clock.now += 20 * 24 * 3_600_000
    async with writing(either.services.engine) as conn, browser(either) as page, asyncio.timeout(5):
        await sessions.delete_of_user(conn, lee.id)
        await links.delete_of_author(conn, kim.email)
        assert (await page.form(SIGN_IN, email=kim.email, password=PASSWORD)).status_code == 303
        admin = await either.http.post("/admin/v1/invitations", json={"email": "new@example.com", "role": "operator"})
        assert admin.status_code == 201
    async with reading(either.services.engine) as conn:
        assert (await conn.exec_driver_sql("SELECT count(*) FROM links")).scalar_one() == 1
    assert await count_sessions(either, lee) == 0


async def test_invitations_to_one_place_at_once(either: Control, kim: Person) -> None:
    """Who opens several invitations to one place together gets in by each, and has the highest of the roles."""
    account_id, _ = await add_account(either)
    lee = await add_person(either, email="lee@example.com")
    paths = [
        (await invite(either, kim, role, {"account_id": account_id}, lee.email)).json()["path"]
        for role in ("owner", "viewer", "owner", "viewer")
    ]
    replies = await asyncio.gather(*(join(either, path) for path in paths))
    assert [reply.status_code for reply in replies] == [303] * 4
    assert await roles(either, lee.email) == {("owner", account_id)}


async def test_the_last_two_operators_at_once(either: Control, kim: Person) -> None:
    """Of two operators who disable each other at the same time one stays."""
    lee = await add_person(either, OPERATOR, email="lee@example.com")
    replies = await asyncio.gather(
        send(either, kim, "PATCH", f"/users/{lee.id}", {"status": "disabled"}),
        send(either, lee, "PATCH", f"/users/{kim.id}", {"status": "disabled"}),
    )
    assert sorted(reply.status_code for reply in replies) in ([200, 401], [200, 409])


async def test_the_first_starts_link_makes_no_second_operator(either: Control) -> None:
    """The link of the first start, which takes any e-mail address, opens nothing any more once there is an operator."""
    caller = Caller(operator("first start", "first start"))
    made = await invitations.first_operator(either.services, caller)
    assert made is not None
    link = made.secret
    async with browser(either) as page:
        assert (await page.get(f"/console/link/{link}")).status_code == 200
    kim = await add_person(either, OPERATOR, email="kim@example.com")
    async with browser(either) as page:
        assert (await page.get(f"/console/link/{link}")).status_code == 404
        reply = await page.form(f"/console/link/{link}", email="eve@example.com", name="Eve", password=PASSWORD)
    assert (reply.status_code, "set-cookie" in reply.headers) == (404, False)
    assert await roles(either, kim.email) == {("operator", "")}
