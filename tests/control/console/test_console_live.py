"""The live view of rate limits in a browser: it shows what calls do, without anybody loading the page again."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from playwright.sync_api import Locator, Page, Route

from tests.control.console.console_world import Console, check_accessible, check_fits, expect

pytestmark = pytest.mark.xdist_group("console-limits")

MODEL = "demo-chat"
SOON = 8000
"""Milliseconds within which calls show: refused ones are summed every two seconds, and an event comes every two."""


@pytest.fixture
def account(console: Console) -> str:
    """An account that is held to 60 requests and 9,000 tokens a minute of the demo's model."""
    account_id = console.account()
    console.gateway.admin("PUT", f"/accounts/{account_id}/limits/{MODEL}", {"rpm": 60, "tpm": 9000})
    return account_id


def team(console: Console, account: str, rpm: int, name: str) -> str:
    """A workspace that is granted so many requests a minute."""
    workspace = console.workspace(name, account)
    console.gateway.admin("PUT", f"/workspaces/{workspace}/grants/{MODEL}", {"rpm": rpm})
    return workspace


def drive(console: Console, key: str, calls: int) -> list[int]:
    """Calls by an OpenAI client, one after the other; their statuses."""

    async def run() -> list[int]:
        statuses = []
        async with openai.AsyncOpenAI(base_url=console.gateway.base_url, api_key=key, max_retries=0) as client:
            messages: Any = [{"role": "user", "content": "hi"}]
            for _ in range(calls):
                try:
                    await client.chat.completions.create(model=MODEL, messages=messages)
                    statuses.append(200)
                except openai.APIStatusError as error:
                    statuses.append(error.status_code)
        return statuses

    with ThreadPoolExecutor(1) as elsewhere:  # Playwright's loop runs in this thread
        return elsewhere.submit(asyncio.run, run()).result()


def live(page: Page, workspace: str) -> None:
    page.goto(f"/console/w/{workspace}/limits?show=live")
    expect(page.get_by_text("Live", exact=True).last).to_be_visible()


def row(page: Page, table: str, *texts: str) -> Locator:
    found = page.get_by_role("table", name=table).get_by_role("row")
    for text in texts:
        found = found.filter(has_text=text)
    return found


def test_who_is_refused_shows_without_a_reload(console: Console, account: str) -> None:
    """While a key runs over its workspace's limit, the open page shows how full the limit is, who it is, and why, by itself."""
    small, large = team(console, account, 4, "Mobile 長い名前"), team(console, account, 50, "Production")
    key = console.gateway.create_key(small, 'Beta testers "><img src=x onerror=alert(1)>')
    with console.page(console.operator) as page:
        live(page, large)
        expect(page.get_by_text("No calls in the last 5 minutes")).to_be_visible()
        check_accessible(page)
        check_fits(page)
        page.evaluate("window.sameAsBefore = true")

        assert drive(console, key["key"], 10).count(429) >= 5
        drive(console, console.gateway.create_key(large)["key"], 2)
        driver = row(page, "Who drives it", "Beta testers")
        expect(driver).to_contain_text("of 10 refused", timeout=SOON)
        expect(driver).to_contain_text('"><img src=x onerror=alert(1)>')
        expect(driver).to_contain_text(f"{key['masked']}")
        expect(driver).to_contain_text("Workspace: Times / min (")
        bucket = row(page, "How full the limits are", "Mobile 長い名前")
        expect(bucket.get_by_role("meter", name="demo-chat, workspace Mobile 長い名前, Times / min: 4 of 4")).to_be_visible()
        expect(bucket).to_contain_text("No own limit")
        whole = row(page, "How full the limits are", "Account")
        expect(whole.get_by_role("meter", name="demo-chat, account, Times / min")).to_be_visible()
        expect(whole.get_by_role("meter", name="demo-chat, account, Token / min")).to_be_visible()
        expect(row(page, "How full the limits are", "Production").get_by_role("cell").nth(2)).to_have_text("2")
        assert page.evaluate("window.sameAsBefore") is True
        check_accessible(page)
        check_fits(page)


def test_the_page_stays_as_it_was_left(console: Console, account: str) -> None:
    """New numbers move nothing: focus, scroll and each row stay; a screen reader is told of the state alone; Pause holds all."""
    small = team(console, account, 4, "Mobile")
    key = console.gateway.create_key(small, "Beta testers")["key"]
    drive(console, key, 6)
    with console.page(console.operator, viewport={"width": 1440, "height": 500}, reduced_motion="reduce") as page:
        live(page, small)
        refused = row(page, "Who drives it", "Beta testers").get_by_role("cell").nth(2)
        expect(refused).to_contain_text("of 6 refused", timeout=SOON)
        page.evaluate("""() => {
            window.first = document.querySelector("#live-buckets tbody tr");
            window.said = [];
            const spoken = "[role=status], [role=alert], [aria-live]";
            new MutationObserver((changes) => {
                for (const { target } of changes) {
                    const near = (target.nodeType === 1 ? target : target.parentElement).closest(spoken);
                    if (near) window.said.push(near.textContent);
                }
            }).observe(document.body, { subtree: true, childList: true, characterData: true });
        }""")
        page.get_by_role("button", name="Pause").focus()
        page.mouse.wheel(0, 300)
        page.wait_for_function("document.documentElement.scrollTop > 0")
        top = page.evaluate("document.documentElement.scrollTop")
        drive(console, key, 5)
        expect(refused).to_contain_text("of 11 refused", timeout=SOON)
        assert page.evaluate("document.documentElement.scrollTop") == top
        assert page.evaluate("document.activeElement.textContent.trim()") == "Pause"
        assert page.evaluate("window.first === document.querySelector('#live-buckets tbody tr')") is True
        assert page.evaluate("window.said") == []

        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("status").filter(has_text="Paused")).to_be_visible()
        drive(console, key, 4)
        page.wait_for_timeout(2600)
        expect(refused).to_contain_text("of 11 refused")
        check_accessible(page)
        page.get_by_role("button", name="Resume").click()
        expect(refused).to_contain_text("of 15 refused", timeout=SOON)
        assert [text for text in page.evaluate("window.said") if text] == ["Paused", "Connecting", "Live"]


def test_one_sees_ones_own_workspaces_alone(console: Console, account: str) -> None:
    """Who has a role in one workspace sees the account's buckets, and of calls and names only those of that workspace."""
    mine, other = team(console, account, 40, "Mine"), team(console, account, 40, "Secret plans")
    drive(console, console.gateway.create_key(other, "Their key")["key"], 3)
    drive(console, console.gateway.create_key(mine, "My key")["key"], 2)
    viewer = console.person("viewer", workspace_id=mine)
    with console.page(viewer) as page:
        live(page, mine)
        expect(row(page, "Who drives it", "My key")).to_contain_text("0 of 2 refused", timeout=SOON)
        meter = row(page, "How full the limits are", "Account").get_by_role("meter", name="Times / min")
        expect(meter).to_be_visible()
        assert int(meter.get_attribute("value") or "0") >= 3
        expect(page.get_by_text("You see the calls of your workspaces")).to_be_visible()
        expect(page.get_by_text("Open calls")).to_have_count(0)
        assert "Secret plans" not in page.content()
        assert "Their key" not in page.content()
        check_accessible(page)


def test_a_session_that_ends_leaves_for_the_sign_in(console: Console, account: str) -> None:
    """When the session ends, the page that only watches goes to the sign-in within seconds, and from there comes back."""
    person = console.person("operator")
    workspace = console.workspace(account_id=account)
    with console.page(person) as page:
        live(page, workspace)
        user = next(each for each in console.gateway.admin("GET", "/users")["data"] if each["email"] == person.email)
        console.gateway.admin("DELETE", f"/users/{user['id']}/sessions")
        page.wait_for_url("**/console/sign-in?next=*", timeout=SOON)
        assert "show%3Dlive" in page.url


def test_a_lost_connection_is_told(console: Console, account: str) -> None:
    """Where the stream does not come, the page says so, shows what a plain request answers, and is live again once it comes."""
    workspace = team(console, account, 40, "Mobile")
    drive(console, console.gateway.create_key(workspace, "Beta testers")["key"], 2)
    refused = 0

    def refuse(route: Route) -> None:
        nonlocal refused
        refused += 1
        route.fulfill(status=429, body="no place") if refused < 3 else route.continue_()

    with console.page(console.operator) as page:
        page.route("**/live/events", refuse)
        page.goto(f"/console/w/{workspace}/limits?show=live")
        expect(page.get_by_role("status").filter(has_text="Disconnected, trying again")).to_be_visible()
        check_accessible(page)
        expect(row(page, "Who drives it", "Beta testers")).to_be_visible()
        expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        assert refused >= 3


def test_news_that_stay_away_are_told(console: Console, account: str) -> None:
    """A stream that is open and says nothing for a while is out of date, and the page says so."""
    workspace = console.workspace(account_id=account)
    with console.page(console.operator) as page:
        page.clock.install()
        page.add_init_script("""
            window.EventSource = class extends EventTarget {
                static CLOSED = 2;
                readyState = 1;
                constructor() {
                    super();
                    const none = {open_calls: 0, admitted: 0, refused: 0, tokens: 0, models: [], more_models: 0, drivers: []};
                    const data = {at: new Date().toISOString(), source: "local", ...none};
                    setTimeout(() => this.dispatchEvent(new MessageEvent("live", {data: JSON.stringify(data)})), 10);
                }
                close() {}
            };
        """)
        page.goto(f"/console/w/{workspace}/limits?show=live")
        page.clock.run_for(1500)
        expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        expect(page.get_by_text("This is the share of the process that answers you.")).to_be_visible()
        check_accessible(page)
        page.clock.run_for(9000)
        expect(page.get_by_role("status").filter(has_text="Out of date")).to_be_visible()
        check_accessible(page)
