"""The pages of workspaces and of accounts, in a browser."""

import re

import pytest

from tests.control.console.console_world import Console, check_accessible, check_fits, expect

pytestmark = pytest.mark.xdist_group("console-workspaces")

WIDE = "長" * 30
HOSTILE = ["<script>alert(1)</script>", "=cmd()|' /C calc'!A0", "{{7*7}}", '"><img src=x onerror=x>']


def test_a_workspace_is_made(console: Console) -> None:
    """Create Workspace asks for a name of at most 30 characters, counts them, and goes on to grant the new workspace models."""
    account = console.account("Makers")
    owner = console.person("owner", account_id=account)
    default = console.gateway.admin("GET", f"/workspaces?account_id={account}")["data"][0]["id"]
    with console.page(owner) as page:
        page.goto(f"/console/w/{default}/workspaces")
        check_accessible(page)
        check_fits(page)
        page.get_by_role("button", name="Create Workspace 1/300").click()
        dialog = page.get_by_role("dialog", name="Create workspace")
        name = dialog.get_by_role("textbox", name="Name")
        expect(name).to_be_focused()
        name.fill(f"{WIDE}長")
        expect(dialog.get_by_text("31/30")).to_be_visible()
        dialog.get_by_role("button", name="Create", exact=True).click()
        expect(name).to_have_attribute("aria-invalid", "true")
        check_accessible(page)
        check_fits(page)
        name.fill("   ")
        dialog.get_by_role("button", name="Create", exact=True).click()
        expect(name).to_have_attribute("aria-invalid", "true")
        name.fill(WIDE)
        dialog.get_by_role("button", name="Create", exact=True).click()
        expect(page).to_have_url(re.compile(r"/console/w/llm-\w+/edit$"))
        expect(page.get_by_text(f"The workspace {WIDE} is made. Grant it models next.")).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_have_text(WIDE)
    rows = console.gateway.admin("GET", f"/workspaces?account_id={account}")["data"]
    assert [row["name"] for row in rows] == ["default", WIDE]


def test_workspaces_are_listed_and_found(console: Console) -> None:
    """Each row has name, ID, when it was made, its keys and its models; names of any kind are shown as they are; search finds a
    part of the name or of the ID, and says so where there is nothing; Edit and Open lead to the workspace's pages.
    """
    account = console.account()
    first = console.workspace("Research", account)
    for name in (WIDE, *HOSTILE):
        console.workspace(name, account)
    console.gateway.admin("PUT", f"/workspaces/{first}/grants/demo-chat", {"rpm": 5})
    console.gateway.create_key(first)
    owner = console.person("owner", account_id=account)
    with console.page(owner) as page:
        page.goto(f"/console/w/{first}/workspaces")
        rows = page.locator("#workspaces tbody tr")
        expect(rows).to_have_count(7)
        expect(rows.nth(0)).to_contain_text("Reaches every model, and cannot be modified")
        expect(rows.nth(0).get_by_role("cell", name="All", exact=True)).to_be_visible()
        research = rows.nth(1)
        expect(research).to_contain_text("You are here")
        expect(research.locator("[data-label=ID]")).to_have_text(first)
        expect(research.locator("[data-label='API keys']")).to_have_text("1")
        expect(research.locator("[data-label=Models]")).to_have_text("1")
        for name in HOSTILE:
            expect(rows.filter(has_text=name)).to_have_count(1)
        check_accessible(page)
        check_fits(page)
        page.get_by_role("link", name="Edit Research").click()
        expect(page).to_have_url(re.compile(f"/console/w/{first}/edit$"))
        page.get_by_role("link", name="All workspaces").click()
        page.get_by_role("link", name=f"Open {WIDE}").click()
        expect(page).to_have_url(re.compile("/keys$"))
        page.goto(f"/console/w/{first}/workspaces")
        for text, count in (("reSEAR", 1), (first[4:14], 1), ("<script", 1), ("%", 0)):
            page.get_by_role("searchbox", name="Search by name or ID").fill(text)
            page.get_by_role("searchbox", name="Search by name or ID").press("Enter")
            expect(page).to_have_url(re.compile(r"\?q="))
            expect(rows).to_have_count(count)
        expect(page.get_by_role("heading", name="No workspace fits")).to_be_visible()
        check_accessible(page)
        page.get_by_role("link", name="Show all").click()
        expect(rows).to_have_count(7)


def test_two_hundred_workspaces(console: Console) -> None:
    """Two hundred workspaces are shown a hundred at a time, each once, also within a search."""
    account = console.account()
    made = [console.workspace(f"many {number:03d}", account) for number in range(200)]
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{made[0]}/workspaces?q=many")
        rows = page.locator("#workspaces tbody tr")
        expect(rows).to_have_count(100)
        check_fits(page)
        seen = rows.locator("[data-label=ID]").all_inner_texts()
        page.get_by_role("link", name="Next page").click()
        expect(page.get_by_role("link", name="First page")).to_be_visible()
        expect(rows).to_have_count(100)
        seen += rows.locator("[data-label=ID]").all_inner_texts()
        assert [text.strip() for text in seen] == made
        expect(page.get_by_role("link", name="Next page")).to_have_count(0)
        page.get_by_role("link", name="First page").click()
        expect(rows.first).to_contain_text("many 000")


def test_who_may_not_make_one_sees_their_own(console: Console) -> None:
    """Somebody with a role in one workspace sees that one alone, learns no number of others, and can make none."""
    account = console.account()
    own = console.workspace("own", account)
    console.workspace("another", account)
    member = console.person("member", workspace_id=own)
    with console.page(member) as page:
        page.goto(f"/console/w/{own}/workspaces")
        expect(page.locator("#workspaces tbody tr")).to_have_count(1)
        expect(page.get_by_role("button", name="Create Workspace")).to_have_count(0)
        expect(page.get_by_role("link", name="Details of own")).to_be_visible()
        assert "another" not in page.content()
        check_accessible(page)
        assert page.goto(f"/console/w/{own}/accounts").status == 403  # type: ignore[union-attr]  # a page always answers


def test_accounts_are_for_operators(console: Console) -> None:
    """An operator sees every account with its workspaces, finds one, opens it, and makes one, which opens as well."""
    account = console.account(f"Findable {WIDE}")
    console.workspace("more", account)
    here = console.gateway.default_workspace()
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{here}/accounts")
        check_accessible(page)
        check_fits(page)
        page.get_by_role("searchbox", name="Search by name or ID").fill("findABLE")
        page.get_by_role("searchbox", name="Search by name or ID").press("Enter")
        rows = page.locator("#accounts tbody tr")
        expect(rows).to_have_count(1)
        expect(rows.locator("[data-label=ID]")).to_have_text(account)
        expect(rows.locator("[data-label=Workspaces]")).to_have_text("2 of 300")
        page.get_by_role("link", name=f"Open Findable {WIDE}").click()
        default = next(
            row for row in console.gateway.admin("GET", f"/workspaces?account_id={account}")["data"] if row["is_default"]
        )
        expect(page).to_have_url(re.compile(f"/console/w/{default['id']}/keys$"))
        page.goto(f"/console/w/{here}/accounts?q=nothing-like-this")
        expect(page.get_by_role("heading", name="No account fits")).to_be_visible()
        check_accessible(page)
        page.get_by_role("button", name="Create account").click()
        dialog = page.get_by_role("dialog", name="Create account")
        dialog.get_by_role("button", name="Create", exact=True).click()
        expect(dialog.get_by_role("textbox", name="Name")).to_have_attribute("aria-invalid", "true")
        check_accessible(page)
        check_fits(page)
        dialog.get_by_role("textbox", name="Name").fill(HOSTILE[0])
        dialog.get_by_role("button", name="Create", exact=True).click()
        expect(page.get_by_text(f"The account {HOSTILE[0]} is made.")).to_be_visible()
        expect(page).to_have_url(re.compile("/keys$"))
    assert HOSTILE[0] in [row["name"] for row in console.gateway.admin("GET", "/accounts?limit=1000")["data"]]
