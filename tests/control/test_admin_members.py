"""Who has which role where, and who may give and take it."""

from contextlib import nullcontext

import pytest

from gateway.control.context import Caller
from gateway.control.problems import Forbidden
from gateway.control.services.members import require_giving
from gateway.domain.roles import Identity, Membership, Place, Role
from tests.control.admin_api import Control
from tests.control.people_world import (
    Team,
    add_account,
    add_person,
    browser,
    held,
    invite,
    quick_passwords,
    roles,
    send,
    team,
)

__all__ = ["quick_passwords", "team"]

pytestmark = pytest.mark.usefixtures("quick_passwords")
DAY = 24 * 3_600_000
GONE = "This link was used, withdrawn, or has expired"


# Which role one may give where


@pytest.mark.parametrize(
    ("giver", "given", "status"),
    [
        ("owner", "owner in account", 201),
        ("owner", "viewer in account", 201),
        ("owner", "admin in workspace", 201),
        ("owner", "operator in installation", 403),
        ("owner", "admin in account", 400),
        ("owner", "owner in workspace", 400),
        ("owner", "operator in account", 400),
        ("admin", "admin in workspace", 201),
        ("admin", "viewer in workspace", 201),
        ("admin", "viewer in account", 403),
        ("admin", "owner in account", 403),
        ("admin", "member in foreign workspace", 404),
        ("owner", "member in foreign workspace", 404),
        ("owner", "owner in foreign account", 404),
        ("owner", "member in missing workspace", 404),
        ("owner", "member in both, which disagree", 400),
    ],
)
async def test_which_roles_one_may_give(control: Control, team: Team, giver: str, given: str, status: int) -> None:
    """Nobody gives a role above their own, outside their place, or where nobody can hold it."""
    foreign_account, foreign_workspace = await add_account(control)
    role, _, place = given.partition(" in ")
    body = {
        "account": {"account_id": team.account_id},
        "workspace": {"workspace_id": team.workspace_id},
        "installation": {},
        "foreign account": {"account_id": foreign_account},
        "foreign workspace": {"workspace_id": foreign_workspace},
        "missing workspace": {"workspace_id": "llm-none"},
        "both, which disagree": {"account_id": foreign_account, "workspace_id": team.workspace_id},
    }[place]
    person = team.owner if giver == "owner" else team.admin
    reply = await invite(control, person, role, body)
    assert reply.status_code == status, reply.text
    assert (await control.actions()).count("member.invite") == (status == 201)


def test_nobody_gives_a_role_with_more_rights() -> None:
    """Whatever else lets somebody in: a role with rights that they do not have themselves is not theirs to give."""
    place = Place("acc-1", "llm-1")
    for role, given, allowed in [
        (Role.ADMIN, Role.ADMIN, True),
        (Role.ADMIN, Role.VIEWER, True),
        (Role.MEMBER, Role.MEMBER, False),
        (Role.VIEWER, Role.VIEWER, False),
        (Role.MEMBER, Role.ADMIN, False),
    ]:
        caller = Caller(Identity("usr-1", "a@example.com", "A", (Membership(role, place),)))
        with nullcontext() if allowed else pytest.raises(Forbidden):
            require_giving(caller, given, place)
        with pytest.raises(Forbidden):
            require_giving(caller, given, Place("acc-1", "llm-2"))


# Roles that are held


async def test_members_of_a_place(control: Control, team: Team) -> None:
    """A workspace lists its own roles, an account those of its workspaces too, the installation all; searched and by pages."""
    await add_person(control, held("viewer", team.account_id, team.workspace_id), name="Zoë Long-Name")
    emails = {}
    for name, place in {
        "workspace": {"workspace_id": team.workspace_id},
        "account": {"account_id": team.account_id},
        "installation": {},
    }.items():
        emails[name] = [row["email"] for row in (await control.get("/members", params=place)).json()["data"]]
    assert (len(emails["workspace"]), len(emails["account"]), len(emails["installation"])) == (2, 3, 4)
    assert emails["account"][0] == "owner@example.com"
    account = {"account_id": team.account_id}
    first = (await control.get("/members", params={**account, "limit": 2})).json()
    rest = (await control.get("/members", params={**account, "limit": 2, "cursor": first["next_cursor"]})).json()
    assert [row["email"] for row in first["data"] + rest["data"]] == emails["account"]
    (found,) = (await control.get("/members", params={**account, "q": "long-n"})).json()["data"]
    assert (found["name"], found["role"], found["workspace_id"]) == ("Zoë Long-Name", "viewer", team.workspace_id)


async def test_change_and_remove_a_role(control: Control, team: Team) -> None:
    """A role is changed, and taken, from the next request on; both are written down with who it was."""
    lee = await add_person(control, held("member", team.account_id, team.workspace_id), email="lee@example.com")
    place = {"workspace_id": team.workspace_id}
    keys = f"/workspaces/{team.workspace_id}/api-keys"
    assert (await send(control, lee, "POST", keys, {})).status_code == 201
    reply = await send(control, team.admin, "PATCH", f"/members/{lee.id}", {"role": "viewer", **place})
    assert (reply.status_code, reply.json()["role"]) == (200, "viewer")
    listed = (await control.get("/members", params={**place, "q": lee.email})).json()["data"]
    assert reply.json() == listed[0]
    assert (await send(control, lee, "POST", keys, {})).status_code == 403
    async with browser(control, team.admin) as page:
        gone = await page.http.delete(f"/admin/v1/members/{lee.id}", params=place)
        assert gone.status_code == 204
        assert (await page.http.delete(f"/admin/v1/members/{lee.id}", params=place)).status_code == 404
    assert (await send(control, lee, "GET", keys)).status_code == 403
    rows = (await control.get("/audit", params={"action": "member", "target": lee.id})).json()["data"]
    assert [(row["action"], row["before"], row["after"]) for row in rows] == [
        ("member.remove", {"role": "viewer", "email": "lee@example.com"}, None),
        ("member.set", {"role": "member"}, {"role": "viewer", "email": "lee@example.com"}),
    ]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_nobody_changes_a_role_above_their_own(control: Control, team: Team, method: str) -> None:
    """An admin of a workspace cannot touch the account's owner, nor an owner the operator; nor raise themselves."""
    async with browser(control, team.admin) as page:
        path, place = f"/admin/v1/members/{team.owner.id}", {"account_id": team.account_id}
        if method == "PATCH":
            reply = await page.http.patch(path, json={"role": "viewer", **place})
        else:
            reply = await page.http.delete(path, params=place)
        assert reply.status_code == 403
        raised = await page.send("PATCH", f"/members/{team.admin.id}", {"role": "owner", "account_id": team.account_id})
        assert raised.status_code == 403
        operator = await page.send("PATCH", f"/members/{team.admin.id}", {"role": "operator"})
        assert operator.status_code == 403
    assert await roles(control, team.owner.email) == {("owner", team.account_id)}
    assert await roles(control, team.admin.email) == {("admin", team.workspace_id)}


async def test_a_role_is_changed_not_made(control: Control, team: Team) -> None:
    """Changing a role takes one in that very place: it makes nobody a member who was none."""
    outsider = await add_person(control)
    for person in (outsider, team.owner):
        body = {"role": "viewer", "workspace_id": team.workspace_id}
        assert (await control.patch(f"/members/{person.id}", body)).status_code == 404
    assert (await control.patch("/members/usr-none", {"role": "operator"})).status_code == 404


async def test_leaving_by_oneself(control: Control, team: Team) -> None:
    """Whoever may manage members may give up their own role, and then may not any more."""
    async with browser(control, team.admin) as page:
        path, place = f"/admin/v1/members/{team.admin.id}", {"workspace_id": team.workspace_id}
        assert (await page.http.delete(path, params=place)).status_code == 204
        assert (await page.get("/admin/v1/members", params=place)).status_code == 403


def test_places_of_roles() -> None:
    """A role in a workspace is in nothing else: neither in its account nor in another workspace."""
    one = Membership(Role.ADMIN, Place("acc-1", "llm-1"))
    assert one.place.holds(Place("acc-1", "llm-1"))
    assert not any(one.place.holds(each) for each in (Place(), Place("acc-1"), Place("acc-1", "llm-2"), Place("acc-2", "llm-2")))
    assert Place("acc-1").holds(Place("acc-1", "llm-1"))
    assert not Place("acc-1").holds(Place())
    assert not Place("acc-1").holds(Place("acc-2", "llm-1"))
