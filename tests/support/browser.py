"""Debian's Chromium, driven by Playwright, and axe-core, which finds what keeps people out."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.debian import require

_SERIOUS = ("serious", "critical")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser. Without Debian's Chromium, and no way to install it, the test is skipped, loudly.

    Its build without a window is the same browser, and opens a page in a third of the time.
    """
    program = require("chromium-headless-shell", instead="chromium")
    with sync_playwright() as playwright:
        # Chromium refuses to run its sandbox as root, and a container's /dev/shm may be small.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            asyncio._set_running_loop(browser._loop)  # taken away between tests, see the console's conftest.py
            browser.close()


def violations(page: Page) -> list[str]:
    """What axe finds on a page that is serious or worse: rule, element, and what it says."""
    source = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(f"() => {{ {source} }}")  # evaluated by the browser's debugger, so that the page's own policy stays as it is
    found: dict[str, Any] = page.evaluate("async () => await axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['html'][:200]} ({each['help']})"
        for each in found["violations"]
        if each["impact"] in _SERIOUS
        for node in each["nodes"]
    ]
