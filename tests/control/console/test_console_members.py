"""The members page: who has which role, invitations by a one-time link, changing and taking roles."""

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass

import pytest
from playwright.sync_api import Locator, Page

from tests.control.console.console_world import PASSWORD, Console, Person, check_accessible, check_fits, expect

pytestmark = pytest.mark.xdist_group("console-members")
WIDE = "長" * 30


@dataclass
class Team:
    """An account with a workspace and its owner."""

    account_id: str
    workspace_id: str
    owner: Person

    def url(self, scope: str = "workspace") -> str:
        return f"/console/w/{self.workspace_id}/members?scope={scope}"


@pytest.fixture
def team(console: Console) -> Team:
    account_id = console.account()
    return Team(account_id, console.workspace(account_id=account_id), console.person("owner", account_id=account_id))


def row(page: Page, text: str) -> Locator:
    return page.get_by_role("table", name="Members").get_by_role("row").filter(has_text=text)


def roles(console: Console, **place: str) -> dict[str, str]:
    query = "&".join(f"{key}={value}" for key, value in place.items())
    return {each["email"]: each["role"] for each in console.gateway.admin("GET", f"/members?{query}")["data"]}


def test_invitation_is_handed_over(console: Console, team: Team) -> None:
    """Inviting shows a link once, with Copy and its end; whoever opens it has the role, and the link is nowhere else."""
    with console.page(team.owner) as page, console.page() as other:
        page.goto(team.url())
        expect(page.get_by_role("heading", name="Nobody has a role here yet")).to_be_visible()
        check_accessible(page)
        page.get_by_role("button", name="Invite").first.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_label("E-mail address")).to_be_focused()
        check_accessible(page)
        dialog.get_by_label("E-mail address").fill("no address")
        dialog.get_by_role("button", name="Make the link").click()
        expect(dialog.get_by_text("Give an e-mail address")).to_be_visible()
        dialog.get_by_label("E-mail address").fill(f"new-{team.workspace_id}@example.com")
        dialog.get_by_label("Admin", exact=True).check()
        dialog.get_by_role("button", name="Make the link").click()
        page.context.grant_permissions(["clipboard-write"])
        dialog.get_by_role("button", name="Copy link").click()
        expect(dialog.get_by_text("Copied").first).to_be_visible()
        link = dialog.locator("[data-link]").inner_text()
        assert link.startswith(f"{console.gateway.address}/console/link/")
        expect(dialog.get_by_text("Hand this link over yourself: the gateway sends no e-mail.")).to_be_visible()
        expect(dialog.locator("time")).to_have_text(re.compile(r"\d+ \w+ 20\d\d"))
        check_accessible(page)
        page.keyboard.press("Escape")
        expect(dialog).to_be_visible()
        dialog.get_by_role("button", name="Done").click()
        expect(dialog).to_have_count(0)
        page.get_by_role("searchbox").press("Control+V")
        expect(page.get_by_role("searchbox")).to_have_value(link)
        invited = page.get_by_role("table", name="Open invitations").get_by_role("row").nth(1)
        expect(invited).to_contain_text(f"new-{team.workspace_id}@example.com")
        assert link.rpartition("/")[2] not in page.content()
        other.goto(link)
        other.get_by_label("Your name").fill(WIDE)
        other.get_by_label("Password").fill(PASSWORD)
        other.get_by_role("button", name="Join").click()
        expect(other).to_have_url(re.compile(f"/console/w/{team.workspace_id}/"))
        page.reload()
        expect(row(page, WIDE)).to_contain_text("Admin")
        expect(page.get_by_role("heading", name="Open invitations")).to_have_count(0)
    assert roles(console, workspace_id=team.workspace_id) == {f"new-{team.workspace_id}@example.com": "admin"}


def test_invitation_is_withdrawn(console: Console, team: Team) -> None:
    """An open invitation can be withdrawn; its link opens nothing any more."""
    body = {"email": "late@example.com", "role": "viewer", "account_id": team.account_id}
    link = console.gateway.admin("POST", "/invitations", body)["path"]
    with console.page(team.owner) as page:
        page.goto(team.url("account"))
        page.get_by_role("button", name="Withdraw the invitation of late@example.com").click()
        check_accessible(page)
        page.get_by_role("dialog").get_by_role("button", name="Withdraw").click()
        expect(page.get_by_text("The invitation is withdrawn.")).to_be_visible()
        expect(page.get_by_text("late@example.com")).to_have_count(0)
    assert console.gateway.get(link).status_code == 404


def test_roles_are_changed_and_taken(console: Console, team: Team) -> None:
    """A role is changed to another of its place, or taken after a question; both count at once."""
    kim = console.person("member", workspace_id=team.workspace_id, name="Kim")
    with console.page(team.owner) as page:
        page.goto(team.url())
        page.get_by_role("button", name="Change the role of Kim").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_label("Member", exact=True)).to_be_checked()
        expect(dialog.get_by_role("radio")).to_have_count(3)
        check_accessible(page)
        dialog.get_by_label("Viewer", exact=True).check()
        dialog.get_by_role("button", name="Change role").click()
        expect(page.get_by_text("The role is changed.")).to_be_visible()
        expect(row(page, "Kim")).to_contain_text("Viewer")
        assert roles(console, workspace_id=team.workspace_id) == {kim.email: "viewer"}
        page.get_by_role("button", name="Remove Kim").click()
        check_accessible(page)
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.get_by_role("heading", name="Nobody has a role here yet")).to_be_visible()
    assert roles(console, workspace_id=team.workspace_id) == {}


def test_roles_of_an_account(console: Console, team: Team) -> None:
    """Owners see everybody of the account with where, are marked themselves, and invite to the account."""
    console.person("member", workspace_id=team.workspace_id, name="Kim")
    console.person("viewer", account_id=team.account_id, name="Lee")
    with console.page(team.owner) as page:
        page.goto(team.url())
        page.get_by_role("link", name="Whole account").click()
        expect(row(page, "Kim")).to_contain_text("team")
        expect(row(page, "Lee")).to_contain_text("The whole account")
        expect(row(page, team.owner.email)).to_contain_text("You")
        check_accessible(page)
        page.get_by_role("button", name="Change the role of Lee").click()
        expect(page.get_by_role("dialog").get_by_role("radio")).to_have_count(2)
        page.get_by_role("dialog").get_by_label("Owner", exact=True).check()
        page.get_by_role("dialog").get_by_role("button", name="Change role").click()
        expect(row(page, "Lee")).to_contain_text("Owner")
        page.get_by_role("button", name="Invite").first.click()
        expect(page.get_by_role("dialog").get_by_role("radio")).to_have_count(2)
        page.keyboard.press("Escape")
        page.get_by_role("button", name=f"Remove {team.owner.name}").click()
        expect(page.get_by_role("dialog").get_by_text("This is you")).to_be_visible()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.get_by_role("heading", name="Not for you")).to_be_visible()


def test_admins_see_their_workspace_alone(console: Console, team: Team) -> None:
    """An admin of a workspace manages its members, and neither sees nor opens a wider list; others see no members at all."""
    admin = console.person("admin", workspace_id=team.workspace_id)
    member = console.person("member", workspace_id=team.workspace_id, name="Kim")
    with console.page(admin) as page:
        page.goto(team.url())
        expect(row(page, "Kim")).to_be_visible()
        expect(page.get_by_role("link", name="Whole account")).to_have_count(0)
        expect(page.get_by_role("button", name=f"Change the role of {admin.name}")).to_be_visible()
        for scope in ("account", "all"):
            page.goto(team.url(scope))
            expect(page.get_by_role("heading", name="Not for you")).to_be_visible()
    with console.page(member) as page:
        page.goto(f"/console/w/{team.workspace_id}/keys")
        expect(page.get_by_role("link", name="Members")).to_have_count(0)
        page.goto(team.url())
        expect(page.get_by_role("heading", name="Not for you")).to_be_visible()


def test_everybody(console: Console, team: Team) -> None:
    """An operator sees every role there is, and invites operators; the last operator's role cannot be taken."""
    with console.page(console.operator) as page:
        page.goto(team.url("all") + f"&q={team.owner.email}")
        expect(row(page, team.owner.email)).to_contain_text("Owner")
        page.goto(team.url("all") + f"&q={console.operator.email}")
        expect(row(page, console.operator.email)).to_contain_text("Everything")
        check_accessible(page)
        page.get_by_role("button", name="Invite").first.click()
        expect(page.get_by_role("dialog").get_by_role("radio", name="Operator")).to_be_checked()
        page.keyboard.press("Escape")


def test_search_and_phones(console: Console, team: Team) -> None:
    """Search finds by name and e-mail, says so when nobody fits, and the page fits a phone with the longest names there are."""
    console.person("member", workspace_id=team.workspace_id, name=WIDE)
    console.person("member", workspace_id=team.workspace_id, name='"><img src=x onerror=alert(1)>' * 3)
    body = {"email": "x" * 100 + "@example.com", "role": "viewer", "workspace_id": team.workspace_id}
    console.gateway.admin("POST", "/invitations", body)
    with console.page(team.owner) as page:
        page.goto(team.url())
        check_fits(page)
        page.get_by_role("searchbox", name="Search by name or e-mail").fill("長長")
        page.keyboard.press("Enter")
        expect(page.get_by_role("table", name="Members").get_by_role("row")).to_have_count(2)
        expect(page.get_by_role("searchbox", name="Search by name or e-mail")).to_have_value("長長")
        page.goto(team.url() + "&q=%3Cnobody%3E")
        expect(page.get_by_text("Nobody here has “<nobody>”")).to_be_visible()
        check_accessible(page)
        page.get_by_role("link", name="Show all members").click()
        expect(page.get_by_role("table", name="Members").get_by_role("row")).to_have_count(3)
        page.get_by_role("button", name="Invite").first.click()
        check_fits(page)


def test_many_members(console: Console, team: Team) -> None:
    """Two hundred members are two pages and more, each reached by a link, with invitations on the first."""
    add_members(console, team, 200)
    with console.page(team.owner) as page:
        page.goto(team.url())
        expect(page.get_by_role("table", name="Members").locator("tbody tr")).to_have_count(100)
        check_fits(page)
        page.get_by_role("link", name="Next page").click()
        expect(page.get_by_role("table", name="Members").locator("tbody tr")).to_have_count(100)
        expect(row(page, "Person 199")).to_be_visible()
        expect(page.get_by_role("link", name="Next page")).to_have_count(0)
        page.get_by_role("link", name="First page").click()
        expect(row(page, "Person 000")).to_be_visible()


def add_members(console: Console, team: Team, count: int) -> None:
    """Members put into the database beside the running gateway: joining one by one would take minutes."""
    ids = [f"usr-{team.workspace_id[4:12]}{number:08}" for number in range(count)]
    people = [(user_id, f"{user_id}@example.com", f"Person {number:03}") for number, user_id in enumerate(ids)]
    held = [(user_id, team.workspace_id, team.account_id, team.workspace_id, place) for place, user_id in enumerate(ids)]
    with closing(sqlite3.connect(console.gateway.data_dir / "gateway.db", timeout=20)) as connection, connection:
        connection.executemany("INSERT INTO users (id, email, name, status, created_at) VALUES (?, ?, ?, 'active', 1)", people)
        connection.executemany(
            "INSERT INTO members (user_id, scope, role, account_id, workspace_id, created_at) VALUES (?, ?, 'viewer', ?, ?, ?)",
            held,
        )
