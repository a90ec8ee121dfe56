"""People by the admin API: what an operator does with everybody, and everybody with themselves."""

from typing import Any

import pytest

from gateway.control.context import People
from gateway.storage.sql import users
from gateway.storage.sql.engine import AsyncEngine, writing
from gateway.storage.sql.users import UserStatus
from tests.control.admin_api import Control, opened
from tests.control.people_world import (
    OPERATOR,
    PASSWORD,
    Person,
    add_account,
    add_person,
    add_session,
    browser,
    held,
    owner,
    quick_passwords,
)

__all__ = ["quick_passwords"]

pytestmark = pytest.mark.usefixtures("quick_passwords")
CHOSEN = "another good password"


@pytest.fixture
async def kim(control: Control) -> Person:
    """The only operator."""
    return await add_person(control, OPERATOR, email="kim@example.com")


async def _is_signed_in(control: Control, person: Person) -> bool:
    async with browser(control, person) as page:
        return (await page.get("/admin/v1/me")).status_code == 200


async def _can_sign_in(control: Control, email: str, password: str = PASSWORD) -> bool:
    async with browser(control, client="192.0.2.200") as page:
        return (await page.form("/console/sign-in", email=email, password=password)).status_code == 303


# Everybody


async def test_people_are_listed(control: Control, kim: Person) -> None:
    """Everybody is listed with all of their roles, in the order they came, a page at a time; never a password."""
    account_id, _ = await add_account(control)
    await add_person(control, owner(account_id), held("member", control.account_id, control.workspace_id), name="Lee")
    first = (await control.get("/users", params={"limit": 1})).json()
    assert [row["email"] for row in first["data"]] == ["kim@example.com"]
    (lee,) = (await control.get("/users", params={"limit": 1, "cursor": first["next_cursor"]})).json()["data"]
    assert (lee["name"], lee["status"], lee["last_sign_in_at"]) == ("Lee", "active", None)
    assert {(role["role"], role["account_id"], role["workspace_id"]) for role in lee["roles"]} == {
        ("owner", account_id, None),
        ("member", control.account_id, control.workspace_id),
    }
    assert lee == (await control.get(f"/users/{lee['id']}")).json()
    assert lee.keys() == {"id", "email", "name", "status", "created_at", "last_sign_in_at", "roles"}
    assert (await control.get("/users/usr-none")).status_code == 404


@pytest.mark.parametrize(("wanted", "found"), [("KIM@", 1), ("example", 2), ("long n", 1), ("%", 0), ("_", 0), ("", 2)])
async def test_people_are_searched(control: Control, kim: Person, wanted: str, found: int) -> None:
    """A part of the name or of the address finds somebody, in any case; no character stands for others."""
    await add_person(control, name="A long Name")
    assert len((await control.get("/users", params={"q": wanted})).json()["data"]) == found


async def test_disabled_people_are_out_at_once(control: Control, kim: Person) -> None:
    """Somebody who is disabled has no session, cannot sign in, and has no open link; enabled again, they sign in as before."""
    lee = await add_person(control, OPERATOR)
    invited = (await _invite_as(control, lee)).json()["path"]
    reset = (await control.post(f"/users/{lee.id}/reset-link")).json()["path"]
    reply = await control.patch(f"/users/{lee.id}", {"status": "disabled"})
    assert (reply.status_code, reply.json()["status"]) == (200, "disabled")
    assert not await _is_signed_in(control, lee)
    assert not await _can_sign_in(control, lee.email)
    async with browser(control) as page:
        for link in (invited, reset):
            assert (await page.get(link)).status_code == 404
    assert (await control.post(f"/users/{lee.id}/reset-link")).status_code == 409
    assert (await control.patch(f"/users/{lee.id}", {"status": "active"})).json()["status"] == "active"
    assert not await _is_signed_in(control, lee)
    assert await _can_sign_in(control, lee.email)
    actions = await control.actions()
    assert [each for each in actions if each.startswith("user.") and each != "user.sign_in"][:2] == [
        "user.enable",
        "user.disable",
    ]


async def _invite_as(control: Control, person: Person) -> Any:
    async with browser(control, person) as page:
        return await page.send("POST", "/invitations", {"email": "invited@example.com", "role": "operator"})


async def test_the_last_operator_stays(control: Control, kim: Person) -> None:
    """Neither can the last operator who can sign in be disabled, nor lose the role; one who is disabled does not count."""
    lee = await add_person(control, OPERATOR)
    async with writing(control.services.engine) as conn:
        await users.set_status(conn, lee.id, UserStatus.DISABLED)
    for reply in (
        await control.patch(f"/users/{kim.id}", {"status": "disabled"}),
        await control.delete(f"/members/{kim.id}"),
    ):
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")
        assert "last operator" in reply.json()["detail"]
    assert await _is_signed_in(control, kim)
    await control.patch(f"/users/{lee.id}", {"status": "active"})
    assert (await control.patch(f"/users/{kim.id}", {"status": "disabled"})).status_code == 200


async def test_repeating_a_status_changes_nothing(control: Control, kim: Person) -> None:
    """To enable somebody who is enabled is answered, and no change is written down."""
    before = await control.actions()
    assert (await control.patch(f"/users/{kim.id}", {"status": "active"})).status_code == 200
    assert await control.actions() == before


async def test_sessions_of_somebody_are_ended(control: Control, kim: Person) -> None:
    """An operator signs somebody out everywhere, and is told of how many sessions; others stay."""
    lee = await add_person(control)
    again = await add_session(control, lee.user)
    reply = await control.http.delete(f"/admin/v1/users/{lee.id}/sessions")
    assert (reply.status_code, reply.json()) == (200, {"ended": 2})
    assert [await _is_signed_in(control, each) for each in (lee, again, kim)] == [False, False, True]
    assert (await control.http.delete("/admin/v1/users/usr-none/sessions")).status_code == 404


async def test_reset_link(control: Control, kim: Person) -> None:
    """A link to a new password works once, ends every session, signs in, and makes the links before it void."""
    old = (await control.post(f"/users/{kim.id}/reset-link")).json()["path"]
    reply = await control.post(f"/users/{kim.id}/reset-link")
    made = reply.json()
    assert reply.status_code == 201
    assert made["url"] == f"http://127.0.0.1:8080{made['path']}"
    assert made["path"].startswith("/console/link/")
    async with browser(control) as page:
        assert (await page.get(old)).status_code == 404
        shown = await page.get(made["path"])
        assert "kim@example.com" in shown.text
        assert await _is_signed_in(control, kim)
        refused = await page.form(made["path"], password="short")
        assert (refused.status_code, "Use at least 12 characters" in refused.text) == (400, True)
        taken = await page.form(made["path"], password=CHOSEN)
        assert (taken.status_code, taken.headers["location"]) == (303, "/console/")
        assert (await page.get("/admin/v1/me")).json()["user_id"] == kim.id
        assert (await page.get(made["path"])).status_code == 404
        assert (await page.form(made["path"], password=CHOSEN)).status_code == 404
    assert not await _is_signed_in(control, kim)
    assert await _can_sign_in(control, kim.email, CHOSEN)
    assert not await _can_sign_in(control, kim.email)


async def test_reset_link_expires(control: Control, kim: Person) -> None:
    """A link to a new password opens nothing a day after it was made."""
    path = (await control.post(f"/users/{kim.id}/reset-link")).json()["path"]
    async with browser(control) as page:
        control.clock.now += 24 * 3_600_000
        assert (await page.get(path)).status_code == 404
        assert (await page.form(path, password=CHOSEN)).status_code == 404


async def test_public_url_in_links(engine: AsyncEngine) -> None:
    """A link names the address that the settings say people come by."""
    async with opened(engine, People(public_url="https://gateway.example")) as control:
        kim = await add_person(control, OPERATOR)
        made = (await control.post(f"/users/{kim.id}/reset-link")).json()
        assert made["url"] == "https://gateway.example" + made["path"]


# Oneself


async def test_who_one_is(control: Control, kim: Person) -> None:
    """One is told who one is, and with which roles; the admin token is nobody."""
    async with browser(control, kim) as page:
        me = (await page.get("/admin/v1/me")).json()
    assert me == {
        "user_id": kim.id,
        "email": "kim@example.com",
        "name": "Kim",
        "roles": [{"role": "operator", "account_id": None, "workspace_id": None}],
    }
    assert (await control.get("/me")).json()["user_id"] is None


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/me"), ("POST", "/me/password"), ("GET", "/me/sessions")])
async def test_the_admin_token_is_nobody(control: Control, method: str, path: str) -> None:
    """What is about a person who signed in is refused to the admin token."""
    body = {"name": "x"} if path == "/me" else {"current": PASSWORD, "new": CHOSEN}
    reply = await control.http.request(method, f"/admin/v1{path}", json=None if method == "GET" else body)
    assert reply.status_code == 403
    assert "nobody" in reply.json()["detail"]


async def test_rename_oneself(control: Control, kim: Person) -> None:
    """One's name changes for everybody, and the change is written down."""
    async with browser(control, kim) as page:
        assert (await page.send("PATCH", "/me", {"name": "  Kim Lee "})).status_code == 204
        assert (await page.get("/admin/v1/me")).json()["name"] == "Kim Lee"
        assert (await page.send("PATCH", "/me", {"name": " "})).status_code == 400
    (row,) = (await control.get("/audit", params={"action": "user.rename"})).json()["data"]
    assert (row["actor"], row["before"], row["after"]) == ("kim@example.com", {"name": "Kim"}, {"name": "Kim Lee"})


async def test_change_ones_password(control: Control, kim: Person) -> None:
    """A new password takes the present one, ends all other sessions and open links, and not the one at hand."""
    other = await add_session(control, kim.user)
    link = (await control.post(f"/users/{kim.id}/reset-link")).json()["path"]
    async with browser(control, kim) as page:
        wrong = await page.send("POST", "/me/password", {"current": "wrong password", "new": CHOSEN})
        assert [error["param"] for error in wrong.json()["errors"]] == ["current"]
        weak = await page.send("POST", "/me/password", {"current": PASSWORD, "new": "kim@example.com"})
        assert [error["param"] for error in weak.json()["errors"]] == ["new"]
        assert await _is_signed_in(control, other)
        assert (await page.send("POST", "/me/password", {"current": PASSWORD, "new": CHOSEN})).status_code == 204
        assert (await page.get("/admin/v1/me")).status_code == 200
        assert (await page.get(link)).status_code == 404
    assert not await _is_signed_in(control, other)
    assert [await _can_sign_in(control, kim.email, each) for each in (PASSWORD, CHOSEN)] == [False, True]


async def test_guessing_ones_password_is_slowed_down(control: Control, kim: Person) -> None:
    """Whoever finds a browser signed in cannot try out its person's password without end."""
    control.clock.step = 0
    async with browser(control, kim) as page:
        body = {"current": "wrong password", "new": CHOSEN}
        statuses = [(await page.send("POST", "/me/password", body)).status_code for _ in range(7)]
    assert statuses == [400] * 5 + [429] * 2


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "at least 12"),
        ("x" * 300, "at most 256"),
        ("abababababab", "different characters"),
        ("kim@example.com", "e-mail"),
        ("my kim@example.com!", "e-mail"),
    ],
)
async def test_weak_passwords(control: Control, kim: Person, password: str, why: str) -> None:
    """A password that is short, all the same, or one's address is refused at its field, with what to do."""
    async with browser(control, kim) as page:
        reply = await page.send("POST", "/me/password", {"current": PASSWORD, "new": password})
    assert reply.status_code == 400
    assert why in reply.json()["errors"][0]["message"]


async def test_ones_sessions(control: Control, kim: Person) -> None:
    """One sees one's own sessions, those that go on, and ends one; nobody else's."""
    other, foreign = await add_session(control, kim.user), await add_person(control)
    async with browser(control, kim) as page:
        rows = (await page.get("/admin/v1/me/sessions")).json()["data"]
        assert {row["id"]: row["is_current"] for row in rows} == {kim.session_id: True, other.session_id: False}
        assert rows[0].keys() == {"id", "created_at", "seen_at", "client", "agent", "is_current"}
        assert (await page.send("DELETE", f"/me/sessions/{foreign.session_id}")).status_code == 404
        assert (await page.send("DELETE", f"/me/sessions/{other.session_id}")).status_code == 204
        assert len((await page.get("/admin/v1/me/sessions")).json()["data"]) == 1
        assert (await page.send("DELETE", f"/me/sessions/{kim.session_id}")).status_code == 204
        assert (await page.get("/admin/v1/me/sessions")).status_code == 401
    assert await _is_signed_in(control, foreign)
    assert not await _is_signed_in(control, other)
