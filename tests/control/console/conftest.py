"""One gateway and one browser for all tests of the console that a process runs."""

import asyncio
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.control.console.console_world import Console
from tests.support.browser import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def console(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A gateway with its demo model server and an operator; tests keep apart by accounts and workspaces of their own."""
    world = Console(browser, tmp_path_factory.mktemp("console") / "data", {"GATEWAY_LIMITS_WORKSPACES_PER_ACCOUNT": "300"})
    yield world
    world.close()


@pytest.fixture(autouse=True)
def _own_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Between its calls Playwright leaves its event loop marked as the running one, which would keep the asynchronous tests that
    come after in the same process from running theirs.
    """
    if "browser" not in request.fixturenames:
        yield
        return
    running: Browser = request.getfixturevalue("browser")
    asyncio._set_running_loop(running._loop)
    yield
    asyncio._set_running_loop(None)
