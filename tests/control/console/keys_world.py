"""Ways around the page of API keys, for its tests."""

import re
import sqlite3
from contextlib import closing
from typing import Any

import httpx2
from playwright.sync_api import Locator, Page

from tests.control.console.console_world import Console, expect
from tests.support.gateway_process import GatewayProcess

HOSTILE = """<script>alert(1)</script> "><img src=x onerror=alert(1)> {{7*7}} =cmd()"""
_KEY = re.compile(r"sk-[0-9A-Za-z]{38}")


def keys_of(console: Console, workspace_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = console.gateway.admin("GET", f"/workspaces/{workspace_id}/api-keys?limit=1000")["data"]
    return rows


def team(console: Console, model: str | None = "demo-chat") -> str:
    """A sub-workspace that may call a model."""
    workspace_id = console.workspace()
    if model:
        console.gateway.admin("PUT", f"/workspaces/{workspace_id}/grants/{model}", {})
    return workspace_id


def status(gateway: GatewayProcess, key: str) -> int:
    """What a call with the key is answered."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx2.get(f"{gateway.base_url}/models", headers=headers).status_code


def change(gateway: GatewayProcess, statement: str, *rows: tuple[object, ...]) -> None:
    """Change rows in the database beside the running gateway, for what takes months otherwise."""
    with closing(sqlite3.connect(gateway.data_dir / "gateway.db", timeout=10)) as database, database:
        database.executemany(statement, rows)


def add(page: Page, description: str = "") -> Locator:
    """Ask for a key in the dialog, up to the step that shows it."""
    page.get_by_role("button", name=re.compile("^Add API Key \\d")).click()
    dialog = page.get_by_role("dialog", name="Add API key")
    dialog.get_by_label("Description").fill(description)
    dialog.get_by_role("button", name="Generate Key").click()
    shown = page.get_by_role("dialog", name="Your new API key")
    expect(shown).to_be_visible()
    return shown


def secret_in(dialog: Locator) -> str:
    found = _KEY.fullmatch(dialog.locator("[data-secret-text]").inner_text())
    assert found is not None
    return found[0]


def act(page: Page, key_id: str, action: str) -> Locator:
    """Choose an action of a row's menu, which opens its dialog."""
    page.get_by_role("button", name=f"More actions for {key_id}").click()
    page.get_by_role("menuitem", name=action).click()
    return page.get_by_role("dialog", name=f"{action} API key")


def assert_hidden(page: Page, secret: str) -> None:
    """The secret is in nothing that the page holds or leaves behind."""
    assert secret not in page.content()
    assert secret not in page.url + page.title()
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, history.state, document.cookie])")
    assert secret not in stored
    assert secret not in page.evaluate("[...document.querySelectorAll('input, textarea')].map((each) => each.value).join()")


def clipboard(page: Page) -> str:
    """What was copied, as somebody pastes it elsewhere; the console's own pages may not read it."""
    other = page.context.new_page()
    other.set_content("<textarea></textarea>")
    other.locator("textarea").press("Control+V")
    text = other.locator("textarea").input_value()
    other.close()
    return text
