"""The grants picker, in a browser."""

import re
import time

import httpx2
import pytest
from playwright.sync_api import Dialog

from tests.control.console.console_world import Console, check_accessible, check_fits, expect
from tests.control.console.grants_world import Team, box, confirm, review, row, rpm, save, search, tpm

pytestmark = pytest.mark.xdist_group("console-grants")


def call(console: Console, key: str, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {key}"}
    return httpx2.post(f"{console.gateway.base_url}/chat/completions", json=body, headers=headers).status_code


def test_models_are_granted_limited_and_taken_at_once(console: Console) -> None:
    """What is chosen and typed is told in a summary, from what to what, saved as one change, and in force at once."""
    team = Team(console)
    first, second = team.model("first", rpm=600, tpm=90_000), team.model("second", rpm=600)
    team.grant(first, rpm=500, tpm=5000)
    team.grant(second)
    key = console.gateway.create_key(team.workspace)["key"]
    assert call(console, key, "demo-chat") == 403
    with console.page(team.owner) as page:
        page.goto(team.path)
        expect(page.get_by_role("button", name="Save Changes")).to_be_disabled()
        box(page, "demo-chat").check()
        rpm(page, "demo-chat").fill("1,200")
        rpm(page, first).fill("300")
        tpm(page, first).fill("")
        box(page, second).uncheck()
        expect(page.get_by_text("Not saved yet: 1 granted, 1 with other limits, 1 taken away.")).to_be_visible()
        dialog = review(page)
        expect(dialog.locator(".change-added")).to_contain_text("demo-chatTimes / min 1,200Token / min no own limit")
        expect(dialog.locator(".change-changed")).to_contain_text(
            f"{first}Times / min 500 becomes  → 300Token / min 5,000 becomes  → no own limit"
        )
        expect(dialog.locator(".change-removed")).to_contain_text(second)
        check_accessible(page)
        check_fits(page)
        assert set(team.granted()) == {first, second}
        confirm(dialog)
        expect(page.get_by_text("Saved: 1 granted, 1 with other limits, 1 taken away.")).to_be_visible()
        assert team.granted() == {"demo-chat": (1200, None), first: (300, None)}
        assert call(console, key, "demo-chat") == 200
        expect(page.get_by_text("No changes yet.")).to_be_visible()
        # The page goes on with what is stored now, with no other load.
        rpm(page, first).fill("301")
        save(page)
        page.reload()
        expect(rpm(page, first)).to_have_value("301")
        expect(rpm(page, "demo-chat")).to_have_value("1,200")
        expect(box(page, second)).not_to_be_checked()
    actors = {entry["actor"] for entry in console.gateway.admin("GET", f"/audit?workspace_id={team.workspace}&limit=4")["data"]}
    assert actors == {team.owner.email}


def test_what_is_wrong_is_said_at_the_field(console: Console) -> None:
    """Text that is no number, a limit above the account's, and Token / min without Times / min are told at their fields before
    anything is sent, and saving goes to the first of them, wherever it is.
    """
    team = Team(console)
    one, other = team.model("one", rpm=600, tpm=1000), team.model("other", rpm=50)
    with console.page(team.owner) as page:
        page.goto(team.path)
        expect(rpm(page, one)).to_be_disabled()
        expect(row(page, one)).to_contain_text("account: 600")
        expect(row(page, other)).to_contain_text("account: no limit")
        box(page, one).check()
        for typed, said in (
            ("601", "Above the account's 600."),
            ("6o0", "Enter a whole number, such as 600, or leave it blank."),
            ("-5", "Enter a number from 1 to 100,000,000, or leave it blank."),
            ("0", "Enter a number from 1 to 100,000,000, or leave it blank."),
        ):
            rpm(page, one).fill(typed)
            rpm(page, one).blur()
            expect(row(page, one).locator(".field-error")).to_have_text([said])
            expect(rpm(page, one)).to_have_attribute("aria-invalid", "true")
            expect(rpm(page, one)).to_have_accessible_description(said)
        check_accessible(page)
        check_fits(page)
        rpm(page, one).fill("")
        tpm(page, one).fill("5")
        tpm(page, one).blur()
        expect(row(page, one)).to_contain_text("Token / min cannot stand without Times / min; fill that in as well.")
        search(page, other)
        page.get_by_role("button", name="Save Changes").click()
        expect(tpm(page, one)).to_be_focused()
        expect(page.get_by_text("One model has a limit that cannot be set.")).to_be_visible()
        expect(page.get_by_role("dialog", name="Save changes")).to_be_hidden()
        rpm(page, one).fill(" 600 ")
        save(page)
    assert team.granted() == {one: (600, 5)}


def test_what_the_gateway_refuses_is_said_at_the_field(console: Console) -> None:
    """A limit that the account's was lowered below since the page was loaded is refused at its field, and nothing is saved."""
    team = Team(console)
    model, hidden = team.model("model", rpm=600), team.model("other", rpm=600)
    with console.page(team.owner) as page:
        page.goto(team.path)
        for each in (model, hidden):
            box(page, each).check()
            rpm(page, each).fill("500")
        console.gateway.admin("PUT", f"/accounts/{team.account}/limits/{hidden}", {"rpm": 100})
        search(page, model)
        confirm(review(page))
        expect(rpm(page, hidden)).to_be_focused()
        expect(row(page, hidden)).to_contain_text("rpm 500 is above the account's 100 for this model.")
        assert team.granted() == {}
        rpm(page, hidden).fill("100")
        save(page)
    assert team.granted() == {model: (500, None), hidden: (100, None)}


def test_of_two_editors_the_second_is_told(console: Console) -> None:
    """Who saves after somebody else has is told who changed what, nothing of theirs is saved, and loading again shows it."""
    team = Team(console)
    model = team.model("model", rpm=600)
    team.grant(model, rpm=10)
    admin = console.person("admin", workspace_id=team.workspace)
    with console.page(team.owner) as mine, console.page(admin) as theirs:
        for page in (mine, theirs):
            page.goto(team.path)
            rpm(page, model).fill("20")
        rpm(theirs, model).fill("30")
        save(theirs)
        dialog = review(mine)
        confirm(dialog)
        expect(dialog.get_by_role("alert")).to_contain_text("Somebody else changed the models of this workspace meanwhile.")
        expect(dialog.get_by_role("alert")).to_contain_text(
            f"{admin.email} changed {model}: Times / min 30, Token / min no own limit"
        )
        expect(dialog.get_by_role("button", name="Confirm and save")).to_be_disabled()
        check_accessible(mine)
        check_fits(mine)
        assert team.granted() == {model: (30, None)}
        mine.on("dialog", lambda asked: asked.accept())
        dialog.get_by_role("button", name="Load again").click()
        expect(rpm(mine, model)).to_have_value("30")
        rpm(mine, model).fill("40")
        save(mine)
    assert team.granted() == {model: (40, None)}


def test_leaving_with_unsaved_changes_is_asked_about(console: Console) -> None:
    """Following a link with something unsaved asks first; after Discard, or once saved, nothing is asked."""
    team = Team(console)
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    with console.page(team.owner) as page:
        page.on("dialog", stay)
        page.goto(team.path)
        box(page, "demo-chat").check()
        page.get_by_role("link", name="All workspaces").click()
        expect(box(page, "demo-chat")).to_be_checked()
        assert asked == ["beforeunload"]
        page.get_by_role("button", name="Discard").click()
        expect(box(page, "demo-chat")).not_to_be_checked()
        page.get_by_role("link", name="All workspaces").click()
        expect(page).to_have_url(re.compile("/workspaces$"))
    assert asked == ["beforeunload"]


def test_models_are_found_and_chosen_in_bulk(console: Console) -> None:
    """Search, vendor, type and "Only granted" narrow the table; "Select this page" and "all shown" choose what is shown."""
    team = Team(console)
    alpha = team.model("alpha", vendor="Acme", type="chat")
    beta = team.model("beta", vendor='"><img src=x onerror=alert(1)>', type="embedding")
    gamma = team.model("gamma")
    with console.page(team.owner) as page:
        page.goto(team.path)
        shown = page.locator("tr[data-model]:visible")
        search(page, team.prefix.upper())
        expect(shown).to_have_count(3)
        search(page, f"{team.prefix} acme")
        expect(shown).to_have_text([re.compile("alpha")])
        search(page, team.prefix)
        page.get_by_role("combobox", name="Vendor").select_option(label='"><img src=x onerror=alert(1)>')
        expect(shown).to_have_text([re.compile("beta")])
        page.get_by_role("combobox", name="Vendor").select_option(label="No vendor named")
        expect(shown).to_have_text([re.compile("gamma")])
        page.get_by_role("combobox", name="Type").select_option(label="Chat")
        expect(page.get_by_text("No model fits.")).to_be_visible()
        expect(page.get_by_text("0 models are shown.")).to_be_attached()
        check_accessible(page)
        page.get_by_role("button", name="Clear the filters").click()
        search(page, team.prefix)
        box(page, gamma).check()
        whole = page.get_by_role("checkbox", name="Select this page")
        assert whole.evaluate("box => box.indeterminate")
        whole.check()
        expect(box(page, alpha)).to_be_checked()
        page.get_by_role("button", name="Clear all shown").click()
        expect(whole).not_to_be_checked()
        page.get_by_role("button", name="Select all 3 shown").click()
        box(page, beta).uncheck()
        search(page, "")
        page.get_by_role("checkbox", name="Only granted").check()
        expect(shown).to_have_count(2)
        save(page)
    assert set(team.granted()) == {alpha, gamma}


def test_five_hundred_models(console: Console) -> None:
    """With 500 models the table shows 50 at a time, a key pressed in the search is answered within a tenth of a second, and all
    can be granted in one save.
    """
    team = Team(console)
    with team.many(500) as names, console.page(team.owner) as page:
        page.goto(team.path)
        shown = page.locator("tr[data-model]:visible")
        search(page, team.prefix)
        expect(shown).to_have_count(50)
        check_fits(page)
        page.get_by_role("button", name="Next page").click()
        expect(page.get_by_text(re.compile("^Models 51.100 of 500")).first).to_be_visible()
        expect(box(page, names[50])).to_be_visible()
        took = page.evaluate(
            """() => {
              const input = document.querySelector('[data-picker-search]');
              const begun = performance.now();
              for (const text of ['m', 'ma', 'man', 'many-4']) {
                input.value = text;
                input.dispatchEvent(new Event('input', { bubbles: true }));
                document.body.getBoundingClientRect();
              }
              return (performance.now() - begun) / 4;
            }"""
        )
        assert took < 100, took
        search(page, f"{team.prefix}/many-49")
        expect(shown).to_have_count(10)
        search(page, team.prefix)
        page.get_by_role("button", name="Select all 500 shown").click()
        begun = time.monotonic()
        save(page)
        assert time.monotonic() - begun < 10
        assert len(team.granted()) == 500
        page.get_by_role("button", name="Clear all shown").click()
        save(page)
    assert team.granted() == {}


def test_models_that_are_gone_can_be_taken(console: Console) -> None:
    """A model that is granted and no longer in the catalogue is shown as such, stays when others change, and can be taken."""
    team = Team(console)
    with team.many(1) as names:
        team.grant(names[0], rpm=5)
    with console.page(team.owner) as page:
        page.goto(team.path)
        expect(row(page, names[0])).to_contain_text("Not in the catalogue")
        check_accessible(page)
        box(page, "demo-chat").check()
        save(page)
        assert team.granted() == {names[0]: (5, None), "demo-chat": (None, None)}
        box(page, names[0]).uncheck()
        save(page)
        expect(row(page, names[0])).to_have_count(0)
        box(page, "demo-chat").uncheck()
        save(page)
    assert team.granted() == {}


def test_sums_above_the_accounts_are_warned_of(console: Console) -> None:
    """A limit that exceeds the account's only together with other workspaces is warned of at its row before and in a notice after
    it is saved; one that lies above an account's that was lowered is told, too.
    """
    team = Team(console)
    model, lowered = team.model("model", rpm=600), team.model("lowered", rpm=600)
    team.grant(lowered, rpm=500)
    console.gateway.admin("PUT", f"/accounts/{team.account}/limits/{lowered}", {"rpm": 100})
    other = console.workspace(account_id=team.account)
    console.gateway.admin("PUT", f"/workspaces/{other}/grants/{model}", {"rpm": 500})
    with console.page(team.owner) as page:
        page.goto(team.path)
        expect(row(page, lowered)).to_contain_text("Above the account's 100, which holds.")
        box(page, model).check()
        rpm(page, model).fill("100")
        expect(row(page, model).locator(".field-warning:visible")).to_have_count(0)
        rpm(page, model).fill("101")
        expect(row(page, model)).to_contain_text("All workspaces together: 601 of 600.")
        save(page)
        expect(
            page.get_by_text(f"The account's workspaces are granted 601 rpm of {model} together; the account has 600.")
        ).to_be_visible()
        check_accessible(page)
        check_fits(page)
    assert team.granted()[model] == (101, None)


def test_default_workspace_reaches_everything(console: Console) -> None:
    """The default workspace's page says why it cannot be limited, and lists every model at the account's limits, to be read."""
    team = Team(console)
    model = team.model("model", rpm=600, tpm=7000)
    console.gateway.admin("PUT", f"/accounts/{team.account}/limits/{model}", {"rpm": 123})
    default = console.gateway.admin("GET", f"/workspaces?account_id={team.account}")["data"][0]["id"]
    with console.page(team.owner) as page:
        page.goto(f"/console/w/{default}/edit")
        expect(page.get_by_text("The default workspace reaches every model, up to the account's limits.")).to_be_visible()
        expect(page.get_by_text("cannot be renamed or limited")).to_be_visible()
        search(page, model)
        expect(row(page, model)).to_contain_text("123")
        expect(row(page, model)).to_contain_text("7,000")
        expect(page.get_by_role("checkbox")).to_have_count(0)
        expect(page.get_by_role("button", name="Save Changes")).to_have_count(0)
        expect(page.get_by_role("button", name="Rename")).to_have_count(0)
        check_accessible(page)
        check_fits(page)


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_who_may_not_change_it_sees_it(console: Console, role: str) -> None:
    """Viewers and members see what is granted, with its limits and the account's, and nothing to change it with."""
    team = Team(console)
    model = team.model("model", rpm=600)
    person = console.person(role, workspace_id=team.workspace)
    with console.page(person) as page:
        page.goto(team.path)
        expect(page.get_by_role("heading", name="No model is granted yet")).to_be_visible()
        check_accessible(page)
        team.grant(model, rpm=50)
        page.reload()
        expect(row(page, model)).to_contain_text("50")
        expect(row(page, model)).to_contain_text("account: 600")
        expect(page.locator("tr[data-model]")).to_have_count(1)
        expect(page.get_by_role("checkbox")).to_have_count(0)
        expect(page.get_by_role("button", name="Save Changes")).to_have_count(0)
        expect(page.get_by_role("button", name="Rename")).to_have_count(0)
        check_accessible(page)
        check_fits(page)


def test_admins_grant_and_do_not_rename(console: Console) -> None:
    """A workspace's admin grants models; its name is for the account's owner."""
    team = Team(console)
    admin = console.person("admin", workspace_id=team.workspace)
    with console.page(admin) as page:
        page.goto(team.path)
        expect(page.get_by_role("button", name="Rename")).to_have_count(0)
        box(page, "demo-chat").check()
        save(page)
    assert set(team.granted()) == {"demo-chat"}


def test_a_workspace_is_renamed(console: Console) -> None:
    """The owner renames it to at most 30 characters, wide ones too; a longer name is refused at the field."""
    team = Team(console)
    wide = "長" * 30
    with console.page(team.owner) as page:
        page.goto(team.path)
        name = page.get_by_role("textbox", name="Name")
        name.fill(f"{wide}長")
        expect(page.get_by_text("31/30")).to_be_visible()
        page.get_by_role("button", name="Rename").click()
        expect(page.locator("[data-field=name] .field-error")).to_be_visible()
        expect(name).to_be_focused()
        name.fill(wide)
        page.get_by_role("button", name="Rename").click()
        expect(page.get_by_text("The workspace is renamed.")).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_have_text(wide)
        check_accessible(page)
        check_fits(page)
    assert console.gateway.admin("GET", f"/workspaces/{team.workspace}")["name"] == wide
