"""The people page: operators see everybody, keep people out, sign them out, and make links to a new password."""

import re

import pytest
from playwright.sync_api import Locator, Page

from tests.control.console.console_world import PASSWORD, Console, check_accessible, check_fits, expect

pytestmark = pytest.mark.xdist_group("console-people")


def url(console: Console, query: str = "") -> str:
    return f"/console/w/{console.gateway.default_workspace()}/people{query}"


def row(page: Page, text: str) -> Locator:
    return page.get_by_role("table", name="People").get_by_role("row").filter(has_text=text)


def choose(page: Page, name: str, item: str) -> Locator:
    page.get_by_role("button", name=f"More actions for {name}").click()
    page.get_by_role("menuitem", name=item).click()
    return page.get_by_role("dialog")


def test_people_are_shown(console: Console) -> None:
    """Everybody is there with roles and where, searchable, and oneself is marked."""
    account = console.account("Name of the <b>account</b>")
    workspace = console.workspace("長" * 30, account)
    kim = console.person("member", workspace_id=workspace, name="Kim " + "長" * 26)
    with console.page(console.operator) as page:
        page.goto(url(console))
        check_accessible(page)
        check_fits(page)
        page.get_by_role("searchbox").fill(kim.email)
        page.keyboard.press("Enter")
        expect(row(page, kim.email)).to_contain_text("長" * 30 + " (Name of the <b>account</b>)")
        expect(row(page, kim.email)).to_contain_text("Member")
        page.goto(url(console, f"?q={console.operator.email}"))
        expect(row(page, console.operator.email)).to_contain_text("You")
        page.goto(url(console, "?q=nobody-of-this-name"))
        expect(page.get_by_role("heading", name="Nobody found")).to_be_visible()
        check_accessible(page)


def test_somebody_is_kept_out_and_let_in(console: Console) -> None:
    """A disabled person is signed out at once and cannot sign in; enabled, they can."""
    kim = console.person("operator", name="Kim Kept-Out")
    with console.page(console.operator) as page, console.page(kim) as other:
        other.goto("/console/profile")
        page.goto(url(console, f"?q={kim.email}"))
        dialog = choose(page, "Kim Kept-Out", "Disable")
        check_accessible(page)
        dialog.get_by_role("button", name="Disable").click()
        expect(row(page, kim.email)).to_contain_text("Disabled")
        other.reload()
        expect(other).to_have_url(re.compile("/console/sign-in"))
        other.get_by_label("E-mail address").fill(kim.email)
        other.get_by_label("Password").fill(PASSWORD)
        other.get_by_role("button", name="Sign in").click()
        expect(other.get_by_text("The e-mail address or the password is wrong.")).to_be_visible()
        dialog = choose(page, "Kim Kept-Out", "Enable")
        check_accessible(page)
        dialog.get_by_role("button", name="Enable").click()
        expect(row(page, kim.email)).to_contain_text("Active")
        other.get_by_label("Password").fill(PASSWORD)
        other.get_by_role("button", name="Sign in").click()
        expect(other).to_have_url(re.compile("/console/profile$"))


def test_somebody_is_signed_out(console: Console) -> None:
    """Ending all sessions of somebody is told with their number, and counts at once."""
    kim = console.person("operator", name="Kim Signed-Out")
    with console.page(console.operator) as page, console.page(kim) as other:
        page.goto(url(console, f"?q={kim.email}"))
        dialog = choose(page, "Kim Signed-Out", "End all sessions")
        check_accessible(page)
        dialog.get_by_role("button", name="End sessions").click()
        expect(page.get_by_text("Sessions that ended: 1.")).to_be_visible()
        other.goto("/console/profile")
        expect(other).to_have_url(re.compile("/console/sign-in"))


def test_link_to_a_new_password(console: Console) -> None:
    """The link is shown once, opens once, and lets its person choose a password that counts from then on."""
    kim = console.person("operator", name="Kim Forgetful")
    with console.page(console.operator) as page, console.page() as other:
        page.goto(url(console, f"?q={kim.email}"))
        dialog = choose(page, "Kim Forgetful", "Link to a new password")
        check_accessible(page)
        dialog.get_by_role("button", name="Make the link").click()
        expect(dialog.get_by_role("button", name="Copy link")).to_be_focused()
        expect(dialog.locator("[data-link-for]")).to_have_text(kim.email)
        check_accessible(page)
        link = dialog.locator("[data-link]").inner_text()
        with page.expect_navigation():
            dialog.get_by_role("button", name="Done").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert link.rpartition("/")[2] not in page.content()
        other.goto(link)
        check_accessible(other)
        other.get_by_label("New password").fill("a new password of Kim")
        other.get_by_role("button", name="Set the password").click()
        expect(other.get_by_role("link", name=re.compile("Kim Forgetful"))).to_be_attached()
        other.goto(link)
        expect(other.get_by_text("This link was used, withdrawn, or has expired")).to_be_visible()


def test_what_cannot_be_done_is_told(console: Console) -> None:
    """What cannot be done is said in the dialog: here, that a person who is out gets no link."""
    kim = console.person("operator", name="Kim Out")
    user_id = console.gateway.admin("GET", f"/users?q={kim.email}")["data"][0]["id"]
    with console.page(console.operator) as page:
        page.goto(url(console, f"?q={kim.email}"))
        console.gateway.admin("PATCH", f"/users/{user_id}", {"status": "disabled"})
        dialog = choose(page, "Kim Out", "Link to a new password")
        dialog.get_by_role("button", name="Make the link").click()
        expect(dialog.get_by_text("This person is disabled; enable them first.")).to_be_visible()
        check_accessible(page)


def test_only_operators_see_people(console: Console) -> None:
    """An owner of an account finds no such page."""
    account = console.account()
    workspace = console.workspace(account_id=account)
    owner = console.person("owner", account_id=account)
    with console.page(owner) as page:
        page.goto(f"/console/w/{workspace}/keys")
        expect(page.get_by_role("link", name="People")).to_have_count(0)
        page.goto(f"/console/w/{workspace}/people")
        expect(page.get_by_role("heading", name="Not for you")).to_be_visible()
