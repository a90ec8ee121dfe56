"""What tests of the grants picker share: models of their own, and the ways around the page."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, Page

from tests.control.console.console_world import Console, Person, expect

_numbers = itertools.count(1)


class Team:
    """A sub-workspace of an account of its own, with an owner, and models whose names nobody else's begin like."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.prefix = f"t{next(_numbers)}"
        self.account = console.account()
        self.workspace = console.workspace(account_id=self.account)
        self.owner: Person = console.person("owner", account_id=self.account)

    @property
    def path(self) -> str:
        return f"/console/w/{self.workspace}/edit"

    def model(self, name: str, **fields: Any) -> str:
        """The full name of a new model."""
        full = f"{self.prefix}/{name}"
        self.console.gateway.admin("PUT", f"/models/{full}", fields)
        return full

    def grant(self, model: str, **limits: Any) -> None:
        self.console.gateway.admin("PUT", f"/workspaces/{self.workspace}/grants/{model}", limits)

    def granted(self) -> dict[str, tuple[int | None, int | None]]:
        rows = self.console.gateway.admin("GET", f"/workspaces/{self.workspace}/grants?limit=1000")["data"]
        return {row["model"]: (row["rpm"], row["tpm"]) for row in rows}

    @contextmanager
    def many(self, count: int) -> Iterator[list[str]]:
        """So many models for a while, served by an upstream that nobody calls."""
        names = [f"{self.prefix}/many-{number:03d}" for number in range(count)]
        body = {"base_url": "http://127.0.0.1:9/v1", "models": names}
        upstream = self.console.gateway.admin("POST", "/upstreams", body)["id"]
        try:
            yield names
        finally:
            self.console.gateway.admin("DELETE", f"/upstreams/{upstream}")


def box(page: Page, model: str) -> Locator:
    return page.get_by_role("checkbox", name=model, exact=True)


def rpm(page: Page, model: str) -> Locator:
    return page.get_by_role("textbox", name=f"Times / min of {model}", exact=True)


def tpm(page: Page, model: str) -> Locator:
    return page.get_by_role("textbox", name=f"Token / min of {model}", exact=True)


def row(page: Page, model: str) -> Locator:
    return page.locator(f"tr[data-model={json.dumps(model)}]")


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox", name="Search models").fill(text)


def review(page: Page) -> Locator:
    """The summary of what changes."""
    page.get_by_role("button", name="Save Changes").click()
    dialog = page.get_by_role("dialog", name="Save changes")
    expect(dialog).to_be_visible()
    return dialog


def confirm(dialog: Locator) -> None:
    dialog.get_by_role("button", name="Confirm and save").click()


def save(page: Page) -> None:
    dialog = review(page)
    confirm(dialog)
    expect(dialog).to_be_hidden()
    expect(page.get_by_text("No changes yet.")).to_be_visible()
