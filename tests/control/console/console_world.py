"""The console as people use it: a real gateway, a real browser, and people with roles."""

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.browser import violations
from tests.support.gateway_process import GatewayProcess

PASSWORD = "correct horse battery staple"
_COOKIE = "gateway-session"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """Somebody who has signed in by a one-time link; `secret` is their session's cookie."""

    email: str
    name: str
    secret: str


class Console:
    """A gateway with a console, and ways in for people."""

    def __init__(self, browser: Browser, data_dir: Path, env: Mapping[str, str] | None = None) -> None:
        self.browser = browser
        self.gateway = GatewayProcess(data_dir, env=env)
        self.operator = self.person("operator")

    def person(self, role: str, *, account_id: str | None = None, workspace_id: str | None = None, name: str = "") -> Person:
        """A new person who has joined with a role, as an invitation gives it."""
        email = f"person-{next(_numbers)}@example.com"
        body = {"email": email, "role": role, "account_id": account_id, "workspace_id": workspace_id}
        link = self.gateway.admin("POST", "/invitations", body)["path"]
        with httpx2.Client(base_url=self.gateway.address) as client:
            form = {"name": name or f"{role.capitalize()} {email}", "password": PASSWORD}
            reply = client.post(link, data=form, headers={"origin": self.gateway.address})
            assert reply.status_code == 303, reply.text
            secret = client.cookies[_COOKIE]
        return Person(email, form["name"], secret)

    @contextmanager
    def page(self, person: Person | None = None, **options: Any) -> Iterator[Page]:
        """A page of a fresh browser profile, signed in as `person`; what goes wrong in its scripts fails the test.

        `options` are those of Playwright's `new_context`, such as `color_scheme="dark"` or `viewport={...}`.
        """
        context: BrowserContext = self.browser.new_context(base_url=self.gateway.address, **options)
        context.set_default_timeout(15_000)
        if person is not None:
            context.add_cookies([{"name": _COOKIE, "value": person.secret, "url": self.gateway.address}])
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
        page.on("console", lambda message: wrong.append(message.text) if _is_fault(message.type, message.text) else None)
        try:
            yield page
        finally:
            context.close()
        assert wrong == []

    def workspace(self, name: str | None = None, account_id: str | None = None) -> str:
        """The ID of a new sub-workspace, of an account that has room."""
        body = {"name": name or f"team {next(_numbers)}", "account_id": account_id or self.account()}
        return str(self.gateway.admin("POST", "/workspaces", body)["id"])

    def account(self, name: str | None = None) -> str:
        """The ID of a new account."""
        return str(self.gateway.create_account(name or f"Company {next(_numbers)}")["id"])

    def close(self) -> None:
        self.gateway.close()


def _is_fault(kind: str, text: str) -> bool:
    """Whether a line of the browser's console is a fault: refusals that a test provokes are told there too."""
    return kind == "error" and re.match(r"Failed to load resource: the server responded with a status of 4\d\d", text) is None


def check_accessible(page: Page) -> None:
    """No serious finding of axe, in light and in dark."""
    for scheme in ("light", "dark"):
        # Without motion, so that no colour is looked at on its way from one scheme to the other.
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        _settle(page)
        found = violations(page)
        assert found == [], f"{scheme}: {found}"
    page.emulate_media(color_scheme="light")


def check_fits(page: Page) -> None:
    """Nothing sticks out sideways on a phone."""
    page.set_viewport_size({"width": 360, "height": 780})
    _settle(page)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{wide} px stick out"
    page.set_viewport_size({"width": 1440, "height": 900})


def _settle(page: Page) -> None:
    """Wait until the page has been laid out and drawn as it is now, which takes a frame, and one more for what watches sizes."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")


__all__ = ["PASSWORD", "Console", "Person", "check_accessible", "check_fits", "expect"]
