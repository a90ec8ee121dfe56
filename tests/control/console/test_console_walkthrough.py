"""The whole way of a person who manages keys, from the switcher to the last call of a deleted key."""

import re

import openai
import pytest
from playwright.sync_api import Page

from tests.control.console.console_world import Console, expect
from tests.control.console.keys_world import act, add, assert_hidden, clipboard

pytestmark = pytest.mark.xdist_group("console-keys")

DESCRIPTION = "Production API key for main application"
MODEL = "demo-chat"


def switch(page: Page, name: str) -> None:
    """Choose a workspace in the switcher at the sidebar's foot."""
    page.locator("button.switcher").click()
    page.get_by_placeholder("Find a workspace").fill(name)
    page.get_by_role("dialog", name="Switch workspace").get_by_role("link", name=name).click()
    expect(page.locator("button.switcher")).to_contain_text(name)


def copied_key(page: Page, description: str) -> str:
    """Generate a key, copy it and close."""
    dialog = add(page, description)
    dialog.get_by_role("button", name="Copy key").click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    key = clipboard(page)
    dialog.get_by_role("button", name="Done").click()
    expect(dialog).not_to_be_visible()
    return key


def say_hello(client: openai.OpenAI) -> str | None:
    reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello!"}])
    return reply.choices[0].message.content


def grant(page: Page, per_minute: str) -> None:
    """Grant the model on the workspace's page, up to so many calls a minute."""
    page.get_by_label("Search models").fill(MODEL)
    row = page.get_by_role("row").filter(has_text=MODEL)
    row.get_by_role("checkbox").check()
    row.get_by_label("Times / min").fill(per_minute)
    page.get_by_role("button", name="Save Changes").click()
    dialog = page.get_by_role("dialog", name="Save changes")
    expect(dialog).to_contain_text(MODEL)
    dialog.get_by_role("button", name="Confirm and save").click()
    expect(dialog).not_to_be_visible()


def test_a_key_from_the_first_click_to_the_last_call(console: Console) -> None:
    """A key is made in the chosen workspace, copied once, searched, described, used and deleted; its very next call fails."""
    account_id = console.account()
    workspace_id = console.workspace("Main application", account_id)
    console.gateway.admin("PUT", f"/workspaces/{workspace_id}/grants/{MODEL}", {})
    for _ in range(2):
        console.gateway.create_key(workspace_id)
    with console.page(console.person("owner", account_id=account_id)) as page:
        page.goto("/console/")
        switch(page, "Main application")
        expect(page).to_have_url(re.compile(f"/console/w/{workspace_id}/keys$"))
        key = copied_key(page, DESCRIPTION)
        row = page.get_by_role("row").filter(has_text=DESCRIPTION)
        expect(row).to_contain_text(f"{key[:7]}****{key[-4:]}")
        assert_hidden(page, key)
        key_id = row.locator("code").first.inner_text()
        page.get_by_placeholder("Search by API Key ID").fill(key_id)
        page.get_by_placeholder("Search by API Key ID").press("Enter")
        expect(page.get_by_role("row")).to_have_count(2)
        row.get_by_role("button", name=f"Edit {key_id}").click()
        dialog = page.get_by_role("dialog", name="Edit API key")
        dialog.get_by_label("Description").fill("Main application, since January")
        dialog.get_by_role("button", name="Save changes").click()
        row = page.get_by_role("row").filter(has_text="Main application, since January")
        expect(row).to_contain_text(key_id)
        client = openai.OpenAI(base_url=console.gateway.base_url, api_key=key, max_retries=0)
        assert say_hello(client)
        dialog = act(page, key_id, "Delete")
        dialog.get_by_label("Type the last 4 characters").fill(key_id[-4:])
        dialog.get_by_role("button", name="Delete").click()
        expect(page.get_by_text("The API key is deleted.")).to_be_visible()
        with pytest.raises(openai.AuthenticationError):
            say_hello(client)


def test_a_grant_counts_at_once(console: Console) -> None:
    """A sub-workspace's key cannot call a model until it is granted in the browser; then it can, up to the limit typed there."""
    account_id = console.account()
    workspace_id = console.workspace("Research", account_id)
    with console.page(console.person("owner", account_id=account_id)) as page:
        page.goto("/console/")
        switch(page, "Research")
        dialog = add(page, "Notebook")
        dialog.get_by_role("button", name="Copy key").click()
        key = clipboard(page)
        client = openai.OpenAI(base_url=console.gateway.base_url, api_key=key, max_retries=0)
        with pytest.raises(openai.PermissionDeniedError):
            say_hello(client)
        dialog.get_by_role("link", name="Grant one to the workspace").click()
        expect(page).to_have_url(re.compile(f"/console/w/{workspace_id}/edit$"))
        grant(page, "2")
        assert all(say_hello(client) for _ in range(2))
        with pytest.raises(openai.RateLimitError):
            say_hello(client)
