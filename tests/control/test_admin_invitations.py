"""Invitations to a role, and the one-time links that they are."""

import asyncio
from unittest.mock import AsyncMock

import pytest

from gateway.control.services import invitations
from gateway.storage.sql import members, users
from gateway.storage.sql.engine import writing
from gateway.storage.sql.users import UserStatus
from tests.control.admin_api import Control
from tests.control.people_world import (
    OPERATOR,
    PASSWORD,
    Team,
    add_person,
    add_workspace,
    browser,
    held,
    invite,
    join,
    quick_passwords,
    roles,
    send,
    team,
)

__all__ = ["quick_passwords", "team"]

pytestmark = pytest.mark.usefixtures("quick_passwords")
DAY = 24 * 3_600_000
GONE = "This link was used, withdrawn, or has expired"


# Invitations


async def test_an_invitation_gives_its_role(control: Control, team: Team) -> None:
    """Whoever opens an invitation chooses name and password, has the role in the place and no other, and is signed in."""
    reply = await invite(control, team.admin, "member", {"workspace_id": team.workspace_id}, "New@Example.com")
    made = reply.json()
    assert (reply.status_code, made["email"], made["created_by"]) == (201, "new@example.com", "admin@example.com")
    assert (made["account_id"], made["workspace_id"]) == (team.account_id, team.workspace_id)
    async with browser(control) as page:
        shown = await page.get(made["path"])
        assert all(part in shown.text for part in ("new@example.com", "admin@example.com", "member"))
        joined = await page.form(made["path"], name="New", password=PASSWORD)
        assert (joined.status_code, joined.headers["location"]) == (303, "/console/")
        me = (await page.get("/admin/v1/me")).json()
    assert (me["email"], me["name"]) == ("new@example.com", "New")
    assert me["roles"] == [{"role": "member", "account_id": team.account_id, "workspace_id": team.workspace_id}]
    assert [each for each in await control.actions() if each.startswith("member.")] == ["member.join", "member.invite"]


async def test_an_invitation_is_used_once(control: Control, team: Team) -> None:
    """Of many who open the same invitation together one joins, and for all others the link is gone."""
    path = (await invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id})).json()["path"]
    replies = await asyncio.gather(*(join(control, path, f"New {number}") for number in range(8)))
    statuses = sorted(reply.status_code for reply in replies)
    # A loser comes too late for the link, or first finds that the address has a password by now.
    assert statuses[0] == 303
    assert set(statuses[1:]) <= {400, 404}
    assert (await join(control, path)).status_code == 404
    assert len((await control.get("/users", params={"q": "new@example.com"})).json()["data"]) == 1
    assert (await control.actions()).count("member.join") == 1


async def test_two_invitations_of_one_address(control: Control, team: Team) -> None:
    """A second invitation of the same address takes the password that was chosen with the first, and gives its role too."""
    one = (await invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id})).json()["path"]
    two = (await invite(control, team.owner, "viewer", {"account_id": team.account_id})).json()["path"]
    assert (await join(control, one)).status_code == 303
    wrong = await join(control, two, password="some other password")
    assert wrong.status_code == 400
    assert "There is a password for this e-mail address already" in wrong.text
    assert (await join(control, two)).status_code == 303
    assert await roles(control, "new@example.com") == {("viewer", team.workspace_id), ("viewer", team.account_id)}


async def test_invitations_give_nobody_elses_place(control: Control, team: Team) -> None:
    """An invitation of an address that is known takes that person's password: it is no way into their account."""
    victim = await add_person(control, OPERATOR, email="victim@example.com")
    path = (await invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id}, victim.email)).json()["path"]
    async with browser(control) as attacker:
        for form in ({"password": "chosen by the attacker"}, {"password": "chosen by the attacker", "email": "x@example.com"}):
            reply = await attacker.http.post(path, data={"name": "Victim", **form})
            assert reply.status_code == 400
            assert "set-cookie" not in reply.headers
    assert await roles(control, "x@example.com") == set()
    async with browser(control) as page:
        assert (await page.form("/console/sign-in", email=victim.email, password=PASSWORD)).status_code == 303


async def test_guessing_by_invitation_is_slowed_down(control: Control, team: Team) -> None:
    """An invitation is no way around the throttle on passwords."""
    control.clock.step = 0
    path = (await invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id}, team.owner.email)).json()["path"]
    statuses = [(await join(control, path, password="wrong password")).status_code for _ in range(7)]
    assert statuses == [400] * 5 + [429] * 2


async def test_a_link_does_not_tell_who_is_known(control: Control, team: Team) -> None:
    """The page of an invitation is the same for an address that is known and for one that is not; a made-up link is gone."""
    pages = []
    for email in (team.owner.email, "nobody@example.com"):
        path = (await invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id}, email)).json()["path"]
        async with browser(control) as page:
            shown = await page.get(path)
            pages.append((shown.status_code, shown.text.replace(email, "EMAIL")))
    assert pages[0] == pages[1]
    async with browser(control) as page:
        for made_up in ("x", "x" * 43, "x" * 5000, "%00", "%ff%fe"):
            reply = await page.get(f"/console/link/{made_up}")
            assert (reply.status_code, GONE in reply.text) == (404, True), made_up


async def test_invitations_expire(control: Control, team: Team) -> None:
    """After a week an invitation opens nothing, is listed no more, and leaves no row behind at the next one."""
    made = (await invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id})).json()
    control.clock.now += 7 * DAY
    assert (await join(control, made["path"])).status_code == 404
    place = {"workspace_id": team.workspace_id}
    assert (await control.get("/invitations", params=place)).json()["data"] == []
    again = (await control.post("/invitations", {"email": "b@example.com", "role": "viewer", **place})).json()
    assert [row["id"] for row in (await control.get("/invitations", params=place)).json()["data"]] == [again["id"]]
    assert (await control.delete(f"/invitations/{made['id']}")).status_code == 404


async def test_invitations_are_withdrawn(control: Control, team: Team) -> None:
    """A withdrawn invitation opens nothing; lists show those that are open, without their links."""
    made = (await invite(control, team.owner, "viewer", {"account_id": team.account_id})).json()
    (row,) = (await control.get("/invitations", params={"account_id": team.account_id})).json()["data"]
    assert row == {key: value for key, value in made.items() if key not in ("url", "path")}
    assert (await send(control, team.admin, "DELETE", f"/invitations/{made['id']}")).status_code == 403
    assert (await send(control, team.owner, "DELETE", f"/invitations/{made['id']}")).status_code == 204
    assert (await join(control, made["path"])).status_code == 404
    assert (await control.delete(f"/invitations/{made['id']}")).status_code == 404
    assert (await control.actions())[0] == "member.withdraw"


@pytest.mark.parametrize("how", ["removed", "demoted", "disabled"])
async def test_invitations_end_with_their_authors_right(control: Control, team: Team, how: str) -> None:
    """Whoever loses the right to give a role leaves no invitation to it behind; others' invitations stay."""
    place = {"workspace_id": team.workspace_id}
    lost = (await invite(control, team.admin, "member", place)).json()["path"]
    kept = (await invite(control, team.owner, "member", place, "b@example.com")).json()["path"]
    if how == "removed":
        await control.http.delete(f"/admin/v1/members/{team.admin.id}", params=place)
    elif how == "demoted":
        await control.patch(f"/members/{team.admin.id}", {"role": "member", **place})
    else:
        await control.patch(f"/users/{team.admin.id}", {"status": "disabled"})
    assert [row["email"] for row in (await control.get("/invitations", params=place)).json()["data"]] == ["b@example.com"]
    assert [(await join(control, path)).status_code for path in (lost, kept)] == [404, 303]


async def test_other_places_invitations_stay(control: Control, team: Team) -> None:
    """Losing a role withdraws what was given by it, and nothing that the author may still give elsewhere."""
    other = await add_workspace(control, team.account_id, "other")
    async with writing(control.services.engine) as conn:
        await members.put(conn, team.admin.id, held("admin", team.account_id, other), 1)
    lost = (await invite(control, team.admin, "member", {"workspace_id": team.workspace_id})).json()["path"]
    kept = (await invite(control, team.admin, "member", {"workspace_id": other}, "b@example.com")).json()["path"]
    await control.http.delete(f"/admin/v1/members/{team.admin.id}", params={"workspace_id": team.workspace_id})
    assert [(await join(control, path)).status_code for path in (lost, kept)] == [404, 303]


@pytest.mark.parametrize("how", ["removed", "disabled"])
async def test_an_invitation_made_meanwhile_gives_nothing(
    control: Control, team: Team, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invitation that was being made, or opened, while its author lost the right, gives nothing."""
    made = (await invite(control, team.admin, "member", {"workspace_id": team.workspace_id})).json()
    looked = await invitations.look(control.services, made["path"].rpartition("/")[2])
    async with writing(control.services.engine) as conn:
        if how == "removed":
            await members.delete(conn, team.admin.id, team.workspace_id)
        else:
            await users.set_status(conn, team.admin.id, UserStatus.DISABLED)
    async with browser(control) as page:
        assert (await page.get(made["path"])).status_code == 404
    monkeypatch.setattr(invitations, "look", AsyncMock(return_value=looked))
    assert (await join(control, made["path"])).status_code == 404
    assert await roles(control, "new@example.com") == set()


async def test_an_invitation_takes_no_role_away(control: Control, team: Team) -> None:
    """An invitation to less than one has changes nothing; one to more replaces the role that was held there."""
    place = {"account_id": team.account_id}
    less = (await invite(control, team.owner, "viewer", place, team.owner.email)).json()["path"]
    assert (await join(control, less)).status_code == 303
    assert await roles(control, team.owner.email) == {("owner", team.account_id)}
    more = (await control.post("/invitations", {"email": team.admin.email, "role": "owner", **place})).json()["path"]
    assert (await join(control, more)).status_code == 303
    assert await roles(control, team.admin.email) == {("admin", team.workspace_id), ("owner", team.account_id)}


@pytest.mark.parametrize("name", ["", " \t", "\0", "Kim\0", "Kim\nExample", "\x1b[31mKim", "x" * 121])
async def test_impossible_names_are_refused(control: Control, team: Team, name: str) -> None:
    """A name that is blank, too long, or has control characters, which PostgreSQL may not hold, is told of; the link stays."""
    path = (await invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id})).json()["path"]
    assert (await join(control, path, name=name)).status_code == 400
    assert (await join(control, path, name=" Zo\u00eb \U0001f600 " + "x" * 112)).status_code == 303


async def test_what_an_invitation_asks_for(control: Control, team: Team) -> None:
    """Without a name, or with a weak password, one is told at the field, and the link stays."""
    path = (await invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id})).json()["path"]
    nameless = await join(control, path, name=" ")
    assert (nameless.status_code, "Give your name" in nameless.text) == (400, True)
    weak = await join(control, path, password="new@example.com")
    assert (weak.status_code, "e-mail address" in weak.text) == (400, True)
    assert (await join(control, path)).status_code == 303


@pytest.mark.parametrize("email", ["", "x", "no address at all", "a@" + "x" * 200, "@b", "a b@c"])
async def test_impossible_addresses_are_refused(control: Control, email: str) -> None:
    """An invitation takes an e-mail address; what is none is refused at its field."""
    reply = await control.post("/invitations", {"email": email, "role": "operator"})
    assert (reply.status_code, reply.json()["errors"][0]["param"]) == (400, "email")
