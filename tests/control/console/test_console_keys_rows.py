"""The table of API keys and what is done to one, in a browser."""

import re
import time

import openai
import pytest

from gateway.control.console.keys import shown
from gateway.control.context import People
from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus
from gateway.storage.sql.keys import KeyRow
from tests.control.console.console_world import Console, check_accessible, check_fits, expect
from tests.control.console.keys_world import HOSTILE, act, assert_hidden, change, keys_of, secret_in, status, team

pytestmark = pytest.mark.xdist_group("console-keys")

DAY_MS = 24 * 3_600_000
NOW = 1_800_000_000_000


def test_search_by_id(console: Console) -> None:
    """A part of an ID finds its key, also in capitals and with blanks around; emptied, the search shows all."""
    workspace_id = team(console)
    made = [console.gateway.create_key(workspace_id) for _ in range(3)]
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        search = page.get_by_placeholder("Search by API Key ID")
        search.fill(f" {made[1]['id'][5:].upper()} ")
        search.press("Enter")
        expect(page.get_by_role("row")).to_have_count(2)
        expect(page.get_by_role("row").nth(1)).to_contain_text(made[1]["id"])
        search.fill(HOSTILE)
        search.press("Enter")
        expect(page.get_by_text("No API key found")).to_be_visible()
        expect(page.get_by_text(HOSTILE)).to_be_visible()
        check_accessible(page)
        check_fits(page)
        page.get_by_role("link", name="Show all keys").click()
        expect(page.get_by_role("row")).to_have_count(4)


def test_the_description_is_edited(console: Console) -> None:
    """The description changes up to 200 characters, whatever they are; more is an error at the field."""
    workspace_id = team(console)
    made = console.gateway.create_key(workspace_id, description="長" * 200)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        check_fits(page)
        page.get_by_role("button", name=f"Edit {made['id']}").click()
        dialog = page.get_by_role("dialog", name="Edit API key")
        field = dialog.get_by_label("Description")
        expect(field).to_have_value("長" * 200)
        expect(dialog.get_by_text("200/200")).to_be_visible()
        field.fill("😀" * 201)
        expect(dialog.get_by_text("201/200")).to_be_visible()
        dialog.get_by_role("button", name="Save changes").click()
        expect(dialog.get_by_text("at most 200 characters")).to_be_visible()
        check_accessible(page)
        check_fits(page)
        field.fill(HOSTILE)
        dialog.get_by_role("button", name="Save changes").click()
        expect(page.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
        expect(page.get_by_text("The description is saved.")).to_be_visible()
    assert keys_of(console, workspace_id)[0]["description"] == HOSTILE


def test_disable_and_enable(console: Console) -> None:
    """A disabled key passes no call until it is enabled again."""
    workspace_id = team(console)
    made = console.gateway.create_key(workspace_id)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        for action, shown, answer in (("Disable", "Disabled", 401), ("Enable", "Active", 200)):
            dialog = act(page, made["id"], action)
            check_accessible(page)
            check_fits(page)
            dialog.get_by_role("button", name=action).click()
            expect(page.get_by_role("row").nth(1)).to_contain_text(shown)
            expect(page.get_by_text(f"The API key is {action.lower()}d.")).to_be_visible()
            assert status(console.gateway, made["key"]) == answer


def test_reset_shows_a_new_secret(console: Console) -> None:
    """Reset kills the old secret and shows the new one once, with examples that the key's own models allow."""
    workspace_id = team(console)
    console.gateway.admin("PUT", f"/workspaces/{workspace_id}/grants/demo-embedding", {})
    body = {"models": ["demo-embedding"]}
    made = console.gateway.admin("POST", f"/workspaces/{workspace_id}/api-keys", body)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        expect(page.get_by_role("row").nth(1)).to_contain_text("Only demo-embedding")
        dialog = act(page, made["id"], "Reset")
        expect(dialog).to_contain_text("dies at once")
        check_accessible(page)
        check_fits(page)
        dialog.get_by_role("button", name="Reset and show").click()
        shown = page.get_by_role("dialog", name="Your new API key")
        key = secret_in(shown)
        expect(shown.locator('[data-snippet="python"] code')).to_contain_text('model="demo-embedding"')
        assert (status(console.gateway, made["key"]), status(console.gateway, key)) == (401, 200)
        page.keyboard.press("Escape")
        shown.get_by_role("button", name="Close without copying").click()
        expect(page.get_by_text("The API key has a new secret.")).to_be_visible()
        expect(page.get_by_role("row").nth(1)).to_contain_text(keys_of(console, workspace_id)[0]["masked"])
        assert_hidden(page, key)


def test_delete_takes_the_end_of_the_id(console: Console) -> None:
    """A key is deleted once the last four characters of its ID are typed, and not before."""
    workspace_id = team(console)
    made = console.gateway.create_key(workspace_id)
    client = openai.OpenAI(base_url=console.gateway.base_url, api_key=made["key"], max_retries=0)
    client.models.list()
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        dialog = act(page, made["id"], "Delete")
        check_accessible(page)
        check_fits(page)
        button = dialog.get_by_role("button", name="Delete")
        expect(button).to_be_disabled()
        field = dialog.get_by_label("Type the last 4 characters")
        field.fill(made["id"][-3:])
        expect(button).to_be_disabled()
        field.fill(made["id"][-4:])
        button.click()
        expect(page.get_by_text("No API keys yet")).to_be_visible()
    assert keys_of(console, workspace_id) == []
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_full_workspace_says_why(console: Console) -> None:
    """With as many keys as there may be the button says so and opens nothing; a dialog that was open says it too."""
    workspace_id = team(console)
    for _ in range(19):
        console.gateway.create_key(workspace_id)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        page.get_by_role("button", name="Add API Key 19/20").click()
        console.gateway.create_key(workspace_id)
        dialog = page.get_by_role("dialog", name="Add API key")
        dialog.get_by_role("button", name="Generate Key").click()
        expect(dialog.get_by_text("The workspace has 20 of at most 20 API keys")).to_be_visible()
        page.reload()
        button = page.get_by_role("button", name="Add API Key 20/20")
        expect(button).to_have_accessible_description(re.compile("This workspace has 20 of at most 20 API keys"))
        button.click(force=True)
        expect(page.get_by_role("dialog")).to_have_count(0)
        check_accessible(page)
        check_fits(page)


def test_a_viewer_sees_and_changes_nothing(console: Console) -> None:
    """A viewer has the list and the endpoint, no actions, and is told why."""
    account_id = console.account()
    workspace_id = console.workspace(account_id=account_id)
    viewer = console.person("viewer", workspace_id=workspace_id)
    with console.page(viewer) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        expect(page.get_by_text("Members of this workspace can add one.")).to_be_visible()
        made = console.gateway.create_key(workspace_id)
        page.reload()
        expect(page.get_by_role("row").nth(1)).to_contain_text(made["id"])
        expect(page.get_by_text("you cannot change them: that takes the role Member or higher")).to_be_visible()
        expect(page.get_by_role("columnheader", name="Actions")).to_have_count(0)
        expect(page.locator("main [data-opens], dialog")).to_have_count(0)
        expect(page.get_by_role("button", name="Copy the endpoint URL")).to_be_visible()
        expect(page.get_by_text(console.gateway.base_url, exact=True)).to_be_visible()
        check_accessible(page)
        check_fits(page)


def test_500_keys_are_paged(console: Console) -> None:
    """Of five hundred keys each page shows a hundred, and the search looks through all."""
    workspace_id = team(console)
    account_id = console.gateway.admin("GET", f"/workspaces/{workspace_id}")["account_id"]
    insert = """
        INSERT INTO api_keys (id, account_id, workspace_id, digest, masked, kind, status, description, created_at)
        VALUES (?, ?, ?, ?, 'sk-AbCd****WxYz', 'sk-', 'active', ?, ?)
    """
    ids = [f"ak-{workspace_id[4:]}{number:04}" for number in range(500)]
    rows = [(key, account_id, workspace_id, key.encode(), f"key {number}", number) for number, key in enumerate(ids)]
    change(console.gateway, insert, *rows)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        found = page.get_by_role("row").filter(has=page.get_by_role("cell"))
        for number in range(5):
            expect(found).to_have_count(100)
            expect(found.first).to_contain_text(ids[100 * number])
            expect(page.get_by_text("500 keys in all")).to_be_visible()
            if number < 4:
                page.get_by_role("link", name="Next page").click()
        expect(page.get_by_role("link", name="Next page")).to_have_count(0)
        page.get_by_role("link", name="First page").click()
        expect(found.first).to_contain_text(ids[0])
        page.get_by_placeholder("Search by API Key ID").fill(ids[321])
        page.get_by_placeholder("Search by API Key ID").press("Enter")
        expect(found).to_have_count(1)
        page.goto(f"/console/w/{workspace_id}/keys")
        check_fits(page)


def test_keys_that_are_due_have_hints(console: Console) -> None:
    """A key whose secret is old, and one that nobody uses, say so in their rows."""
    workspace_id = team(console)
    made = [console.gateway.create_key(workspace_id)["id"] for _ in range(2)]
    now = int(time.time() * 1000)
    statement = "UPDATE api_keys SET created_at = ?, last_used_at = ? WHERE id = ?"
    change(console.gateway, statement, (now - 100 * DAY_MS, now, made[0]), (now - 40 * DAY_MS, None, made[1]))
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        for key_id, hint in zip(made, ("100 days old, due for a reset", "Unused for 40 days"), strict=True):
            expect(page.get_by_role("row").filter(has_text=key_id)).to_contain_text(hint)
        expect(page.locator(".key-hint")).to_have_count(2)
        check_accessible(page)
        check_fits(page)


@pytest.mark.parametrize(
    ("created", "reset", "used", "old", "unused"),
    [
        (0, None, None, None, None),
        (89, None, 0, None, None),
        (90, None, 0, 90, None),
        (200, 10, 0, None, None),
        (200, 95, 0, 95, None),
        (29, None, None, None, None),
        (30, None, None, None, 30),
        (60, None, 31, None, 31),
        (60, None, 29, None, None),
    ],
)
def test_what_counts_as_due(created: int, reset: int | None, used: int | None, old: int | None, unused: int | None) -> None:
    """A secret's age counts from the last reset, and the time without use from the last call, else from the making."""
    row = a_key(created, reset, used)
    key = shown(row, NOW, People(rotate_after_days=90, unused_after_days=30), [])
    assert (key.old_days, key.unused_days) == (old, unused)
    never = shown(row, NOW, People(rotate_after_days=None, unused_after_days=None), [])
    assert (never.old_days, never.unused_days) == (None, None)


def a_key(created: int, reset: int | None = None, used: int | None = None, models: tuple[str, ...] | None = None) -> KeyRow:
    """A key by how many days ago it was made, reset and used."""
    ago = [None if days is None else NOW - days * DAY_MS for days in (created, used, reset)]
    return KeyRow(
        "ak-1", "acc-1", "llm-1", "sk-a****b", KeyKind.STANDARD, KeyStatus.ACTIVE, "", models, ago[0] or 0, ago[1], ago[2]
    )


def test_examples_name_a_model_that_the_key_may_call() -> None:
    """The first of the workspace's models that the key's own list has; none where there is none."""
    names = ["chat-a", "chat-b"]
    assert shown(a_key(0), NOW, People(), names).model == "chat-a"
    assert shown(a_key(0, models=("chat-b", "z")), NOW, People(), names).model == "chat-b"
    assert shown(a_key(0, models=("z",)), NOW, People(), names).model == ""
