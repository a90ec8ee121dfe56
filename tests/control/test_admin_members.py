"""Who gets which role where: invitations, the links that they are, and the roles that are held."""

import asyncio
from dataclasses import dataclass

import httpx2
import pytest

from gateway.domain.roles import Membership, Place, Role
from gateway.storage.sql import members, users
from gateway.storage.sql.engine import reading, writing
from gateway.storage.sql.users import UserStatus
from tests.control.admin_api import Control
from tests.control.people_world import (
    OPERATOR,
    PASSWORD,
    Person,
    add_account,
    add_person,
    add_workspace,
    browser,
    held,
    owner,
    quick_passwords,
)

__all__ = ["quick_passwords"]

pytestmark = pytest.mark.usefixtures("quick_passwords")
DAY = 24 * 3_600_000
GONE = "This link was used, withdrawn, or has expired"


@dataclass
class Team:
    """An account with a workspace, its owner and its admin."""

    account_id: str
    workspace_id: str
    owner: Person
    admin: Person


@pytest.fixture
async def team(control: Control) -> Team:
    await add_person(control, OPERATOR)
    account_id, _ = await add_account(control)
    workspace_id = await add_workspace(control, account_id)
    boss = await add_person(control, owner(account_id), email="owner@example.com")
    admin = await add_person(control, held("admin", account_id, workspace_id), email="admin@example.com")
    return Team(account_id, workspace_id, boss, admin)


async def _send(control: Control, person: Person, method: str, path: str, body: object = None) -> httpx2.Response:
    async with browser(control, person) as page:
        return await page.send(method, path, body)


async def _invite(
    control: Control, person: Person, role: str, place: dict[str, str], email: str = "new@example.com"
) -> httpx2.Response:
    return await _send(control, person, "POST", "/invitations", {"email": email, "role": role, **place})


async def _join(control: Control, path: str, name: str = "New", password: str = PASSWORD) -> httpx2.Response:
    async with browser(control, client="192.0.2.50") as page:
        return await page.form(path, name=name, password=password)


async def _roles(control: Control, email: str) -> set[tuple[str, str]]:
    """What somebody holds: role and place."""
    async with reading(control.services.engine) as conn:
        found = await users.by_email(conn, email)
        return (
            set() if found is None else {(each.role.value, each.place.scope) for each in await members.of_user(conn, found[0].id)}
        )


# Invitations


async def test_an_invitation_gives_its_role(control: Control, team: Team) -> None:
    """Whoever opens an invitation chooses name and password, has the role in the place and no other, and is signed in."""
    reply = await _invite(control, team.admin, "member", {"workspace_id": team.workspace_id}, "New@Example.com")
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
    path = (await _invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id})).json()["path"]
    replies = await asyncio.gather(*(_join(control, path, f"New {number}") for number in range(8)))
    statuses = sorted(reply.status_code for reply in replies)
    # A loser comes too late for the link, or first finds that the address has a password by now.
    assert statuses[0] == 303
    assert set(statuses[1:]) <= {400, 404}
    assert (await _join(control, path)).status_code == 404
    assert len((await control.get("/users", params={"q": "new@example.com"})).json()["data"]) == 1
    assert (await control.actions()).count("member.join") == 1


async def test_two_invitations_of_one_address(control: Control, team: Team) -> None:
    """A second invitation of the same address takes the password that was chosen with the first, and gives its role too."""
    one = (await _invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id})).json()["path"]
    two = (await _invite(control, team.owner, "viewer", {"account_id": team.account_id})).json()["path"]
    assert (await _join(control, one)).status_code == 303
    wrong = await _join(control, two, password="some other password")
    assert wrong.status_code == 400
    assert "There is a password for this e-mail address already" in wrong.text
    assert (await _join(control, two)).status_code == 303
    assert await _roles(control, "new@example.com") == {("viewer", team.workspace_id), ("viewer", team.account_id)}


async def test_invitations_give_nobody_elses_place(control: Control, team: Team) -> None:
    """An invitation of an address that is known takes that person's password: it is no way into their account."""
    victim = await add_person(control, OPERATOR, email="victim@example.com")
    path = (await _invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id}, victim.email)).json()["path"]
    async with browser(control) as attacker:
        for form in ({"password": "chosen by the attacker"}, {"password": "chosen by the attacker", "email": "x@example.com"}):
            reply = await attacker.http.post(path, data={"name": "Victim", **form})
            assert reply.status_code == 400
            assert "set-cookie" not in reply.headers
    assert await _roles(control, "x@example.com") == set()
    async with browser(control) as page:
        assert (await page.form("/console/sign-in", email=victim.email, password=PASSWORD)).status_code == 303


async def test_guessing_by_invitation_is_slowed_down(control: Control, team: Team) -> None:
    """An invitation is no way around the throttle on passwords."""
    control.clock.step = 0
    path = (await _invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id}, team.owner.email)).json()["path"]
    statuses = [(await _join(control, path, password="wrong password")).status_code for _ in range(7)]
    assert statuses == [400] * 5 + [429] * 2


async def test_a_link_does_not_tell_who_is_known(control: Control, team: Team) -> None:
    """The page of an invitation is the same for an address that is known and for one that is not; a made-up link is gone."""
    pages = []
    for email in (team.owner.email, "nobody@example.com"):
        path = (await _invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id}, email)).json()["path"]
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
    made = (await _invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id})).json()
    control.clock.now += 7 * DAY
    assert (await _join(control, made["path"])).status_code == 404
    place = {"workspace_id": team.workspace_id}
    assert (await control.get("/invitations", params=place)).json()["data"] == []
    again = (await control.post("/invitations", {"email": "b@example.com", "role": "viewer", **place})).json()
    assert [row["id"] for row in (await control.get("/invitations", params=place)).json()["data"]] == [again["id"]]
    assert (await control.delete(f"/invitations/{made['id']}")).status_code == 404


async def test_invitations_are_withdrawn(control: Control, team: Team) -> None:
    """A withdrawn invitation opens nothing; lists show those that are open, without their links."""
    made = (await _invite(control, team.owner, "viewer", {"account_id": team.account_id})).json()
    (row,) = (await control.get("/invitations", params={"account_id": team.account_id})).json()["data"]
    assert row == {key: value for key, value in made.items() if key not in ("url", "path")}
    assert (await _send(control, team.admin, "DELETE", f"/invitations/{made['id']}")).status_code == 403
    assert (await _send(control, team.owner, "DELETE", f"/invitations/{made['id']}")).status_code == 204
    assert (await _join(control, made["path"])).status_code == 404
    assert (await control.delete(f"/invitations/{made['id']}")).status_code == 404
    assert (await control.actions())[0] == "member.withdraw"


@pytest.mark.parametrize("how", ["removed", "demoted", "disabled"])
async def test_invitations_end_with_their_authors_right(control: Control, team: Team, how: str) -> None:
    """Whoever loses the right to give a role leaves no invitation to it behind; others' invitations stay."""
    place = {"workspace_id": team.workspace_id}
    lost = (await _invite(control, team.admin, "member", place)).json()["path"]
    kept = (await _invite(control, team.owner, "member", place, "b@example.com")).json()["path"]
    if how == "removed":
        await control.http.delete(f"/admin/v1/members/{team.admin.id}", params=place)
    elif how == "demoted":
        await control.patch(f"/members/{team.admin.id}", {"role": "member", **place})
    else:
        await control.patch(f"/users/{team.admin.id}", {"status": "disabled"})
    assert [(await _join(control, path)).status_code for path in (lost, kept)] == [404, 303]


async def test_other_places_invitations_stay(control: Control, team: Team) -> None:
    """Losing a role withdraws what was given by it, and nothing that the author may still give elsewhere."""
    other = await add_workspace(control, team.account_id, "other")
    async with writing(control.services.engine) as conn:
        await members.put(conn, team.admin.id, held("admin", team.account_id, other), 1)
    lost = (await _invite(control, team.admin, "member", {"workspace_id": team.workspace_id})).json()["path"]
    kept = (await _invite(control, team.admin, "member", {"workspace_id": other}, "b@example.com")).json()["path"]
    await control.http.delete(f"/admin/v1/members/{team.admin.id}", params={"workspace_id": team.workspace_id})
    assert [(await _join(control, path)).status_code for path in (lost, kept)] == [404, 303]


@pytest.mark.parametrize("how", ["removed", "disabled"])
async def test_an_invitation_made_meanwhile_gives_nothing(control: Control, team: Team, how: str) -> None:
    """An invitation that was being made while its author lost the right, so that nothing withdrew it, opens nothing either."""
    made = (await _invite(control, team.admin, "member", {"workspace_id": team.workspace_id})).json()
    async with writing(control.services.engine) as conn:
        if how == "removed":
            await members.delete(conn, team.admin.id, team.workspace_id)
        else:
            await users.set_status(conn, team.admin.id, UserStatus.DISABLED)
    assert (await _join(control, made["path"])).status_code == 404
    assert await _roles(control, "new@example.com") == set()


async def test_an_invitation_takes_no_role_away(control: Control, team: Team) -> None:
    """An invitation to less than one has changes nothing; one to more replaces the role that was held there."""
    place = {"account_id": team.account_id}
    less = (await _invite(control, team.owner, "viewer", place, team.owner.email)).json()["path"]
    assert (await _join(control, less)).status_code == 303
    assert await _roles(control, team.owner.email) == {("owner", team.account_id)}
    more = (await control.post("/invitations", {"email": team.admin.email, "role": "owner", **place})).json()["path"]
    assert (await _join(control, more)).status_code == 303
    assert await _roles(control, team.admin.email) == {("admin", team.workspace_id), ("owner", team.account_id)}


async def test_what_an_invitation_asks_for(control: Control, team: Team) -> None:
    """Without a name, or with a weak password, one is told at the field, and the link stays."""
    path = (await _invite(control, team.admin, "viewer", {"workspace_id": team.workspace_id})).json()["path"]
    nameless = await _join(control, path, name=" ")
    assert (nameless.status_code, "Give your name" in nameless.text) == (400, True)
    weak = await _join(control, path, password="new@example.com")
    assert (weak.status_code, "e-mail address" in weak.text) == (400, True)
    assert (await _join(control, path)).status_code == 303


@pytest.mark.parametrize("email", ["", "x", "no address at all", "a@" + "x" * 200, "@b", "a b@c"])
async def test_impossible_addresses_are_refused(control: Control, email: str) -> None:
    """An invitation takes an e-mail address; what is none is refused at its field."""
    reply = await control.post("/invitations", {"email": email, "role": "operator"})
    assert (reply.status_code, reply.json()["errors"][0]["param"]) == (400, "email")


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
    reply = await _invite(control, person, role, body)
    assert reply.status_code == status, reply.text
    assert (await control.actions()).count("member.invite") == (status == 201)


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
    assert (await _send(control, lee, "POST", keys, {})).status_code == 201
    reply = await _send(control, team.admin, "PATCH", f"/members/{lee.id}", {"role": "viewer", **place})
    assert (reply.status_code, reply.json()["role"]) == (200, "viewer")
    assert (await _send(control, lee, "POST", keys, {})).status_code == 403
    async with browser(control, team.admin) as page:
        gone = await page.http.delete(f"/admin/v1/members/{lee.id}", params=place)
        assert gone.status_code == 204
        assert (await page.http.delete(f"/admin/v1/members/{lee.id}", params=place)).status_code == 404
    assert (await _send(control, lee, "GET", keys)).status_code == 403
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
    assert await _roles(control, team.owner.email) == {("owner", team.account_id)}
    assert await _roles(control, team.admin.email) == {("admin", team.workspace_id)}


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
