"""The one look at an API key, in a browser."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.control.console.console_world import Console, check_accessible, check_fits, expect
from tests.control.console.keys_world import add, assert_hidden, clipboard, keys_of, secret_in, status, team

pytestmark = pytest.mark.xdist_group("console-keys")

LOSE_ONE_ANSWER = """
const real = window.fetch;
let lost = false;
window.fetch = async (...call) => {
  const reply = await real(...call);
  if (lost || call[1]?.method !== "POST") return reply;
  lost = true;
  throw new TypeError("Failed to fetch");
};
"""


def test_a_key_is_shown_once(console: Console) -> None:
    """Generate Key shows the key, Copy copies it, and closing leaves its masked form alone, also after reload and back."""
    workspace_id = team(console)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        expect(page.get_by_text("No API keys yet")).to_be_visible()
        check_accessible(page)
        check_fits(page)
        dialog = add(page, "Production")
        key = secret_in(dialog)
        assert status(console.gateway, key) == 200
        check_accessible(page)
        check_fits(page)
        dialog.get_by_role("button", name="Copy key").click()
        assert clipboard(page) == key
        dialog.get_by_role("button", name="Done").click()
        row = page.get_by_role("row").filter(has_text="Production")
        made = keys_of(console, workspace_id)[0]
        expect(row).to_contain_text(made["masked"])
        expect(page.get_by_role("button", name="Add API Key 1/20")).to_be_visible()
        assert_hidden(page, key)
        page.reload()
        assert_hidden(page, key)
        page.goto("/console/profile")
        assert_hidden(page, key)
        page.go_back()
        expect(row).to_contain_text(made["masked"])
        assert_hidden(page, key)


def test_a_page_that_is_left_forgets_the_key(console: Console) -> None:
    """Whoever leaves the page with the key still shown, and comes back, finds its masked form."""
    workspace_id = team(console)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        key = secret_in(add(page))
        page.goto("/console/profile")
        page.go_back()
        expect(page.get_by_role("row")).to_have_count(2)
        assert_hidden(page, key)


def test_closing_without_a_copy_asks(console: Console) -> None:
    """Escape, Done and the cross ask as long as the key was not copied; then it is copied, or let go."""
    workspace_id = team(console)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        dialog = add(page)
        asked = dialog.get_by_text("The key is not copied yet.")
        for _ in range(3):  # a browser closes a dialog at the second Escape, unless it is kept from it
            page.keyboard.press("Escape")
            expect(asked).to_be_visible()
        check_accessible(page)
        check_fits(page)
        key = secret_in(dialog)
        dialog.get_by_role("button", name="Copy and close").click()
        expect(dialog).not_to_be_visible()
        assert clipboard(page) == key
        for name in ("Done", "Close"):
            dialog = add(page)
            dialog.get_by_role("button", name=name, exact=True).click()
            expect(asked).to_be_visible()
            dialog.get_by_role("button", name="Close without copying").click()
            expect(dialog).not_to_be_visible()
    assert len(keys_of(console, workspace_id)) == 3


def test_a_key_copied_by_hand_counts(console: Console) -> None:
    """Who selects the key and copies it by keyboard is not asked again; nor is who copies an example with it."""
    workspace_id = team(console)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        dialog = add(page)
        dialog.locator("[data-secret-text]").select_text()
        page.keyboard.press("Control+C")
        page.keyboard.press("Escape")
        expect(dialog).not_to_be_visible()
        dialog = add(page)
        dialog.get_by_role("button", name="Copy: Environment").click()
        expect(dialog.get_by_role("status")).to_have_text("Copied")
        page.keyboard.press("Escape")
        expect(dialog).not_to_be_visible()


def test_examples_work_as_they_are(console: Console) -> None:
    """The examples name this gateway, the key, and a model that the workspace may call; pasted, they bring an answer."""
    workspace_id = team(console)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        dialog = add(page)
        key, texts = secret_in(dialog), {}
        tab = dialog.get_by_role("tab", name="Environment")
        tab.focus()
        for name in ("Environment", "curl", "Python", "Node.js"):
            expect(dialog.get_by_role("tab", name=name)).to_be_focused()
            dialog.get_by_role("button", name=f"Copy: {name}").click()
            texts[name] = clipboard(page)
            dialog.get_by_role("tab", name=name).press("ArrowRight")
        expect(tab).to_be_focused()
    for text in texts.values():
        assert key in text
        assert console.gateway.base_url in text
    assert "demo-chat" in texts["Node.js"]
    replies = [subprocess.run([sys.executable, "-c", texts["Python"]], capture_output=True, text=True, timeout=30, check=True)]
    if shutil.which("curl"):
        shell = f'{texts["Environment"]}\ntest "$OPENAI_API_KEY" = {key} && {texts["curl"]}'
        replies.append(subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=30, check=True))
    for reply in replies:
        assert "demo" in reply.stdout, reply


def test_examples_without_a_model_say_so(console: Console) -> None:
    """Where nothing is granted yet the examples say MODEL, and where to grant one."""
    workspace_id = team(console, model=None)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        dialog = add(page)
        expect(dialog.get_by_text("There is no chat model that this key may call yet")).to_be_visible()
        link = dialog.get_by_role("link", name="Grant one to the workspace")
        expect(link).to_have_attribute("href", f"/console/w/{workspace_id}/edit")
        expect(dialog.locator('[data-snippet="curl"] code')).to_contain_text('"model": "MODEL"')
        check_accessible(page)


def test_a_double_click_makes_one_key(console: Console) -> None:
    """However often Generate Key is pressed, one key is made."""
    workspace_id = team(console)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace_id}/keys")
        page.get_by_role("button", name=re.compile("^Add API Key \\d")).click()
        page.get_by_role("button", name="Generate Key").dblclick()
        expect(page.get_by_role("dialog", name="Your new API key")).to_be_visible()
    assert len(keys_of(console, workspace_id)) == 1


def test_a_lost_answer_makes_no_second_key(console: Console) -> None:
    """When the answer got lost, trying again finds the key that was made, and offers to reset it."""
    workspace_id = team(console)
    with console.page(console.operator) as page:
        page.add_init_script(LOSE_ONE_ANSWER)
        page.goto(f"/console/w/{workspace_id}/keys")
        page.get_by_role("button", name=re.compile("^Add API Key \\d")).click()
        generate = page.get_by_role("button", name="Generate Key")
        generate.click()
        expect(page.get_by_text("The gateway cannot be reached.")).to_be_visible()
        generate.click()
        dialog = page.get_by_role("dialog", name="The key was made before")
        made = keys_of(console, workspace_id)
        expect(dialog).to_contain_text(made[0]["id"])
        check_accessible(page)
        dialog.get_by_role("button", name="Reset and show").click()
        key = secret_in(page.get_by_role("dialog", name="Your new API key"))
    assert len(made) == 1
    assert status(console.gateway, key) == 200
