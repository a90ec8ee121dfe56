"""The page of upstreams, in a browser: what is set, what is written and never read, and test calls."""

import asyncio
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Locator, Page

from tests.control.console.console_world import Console, check_accessible, check_fits, expect
from tests.upstream.raw_upstream import Call, Script, raw_upstream, unused_port

pytestmark = pytest.mark.xdist_group("console-upstreams")

SECRET = "sk-upstream-credential-of-the-test"


def name() -> str:
    """An upstream's name that no other test has."""
    return f"Server {uuid.uuid4().hex[:8]}"


def add(console: Console, **fields: object) -> dict[str, Any]:
    body = {"name": name(), "base_url": f"http://127.0.0.1:{unused_port()}/v1", "models": [f"m-{uuid.uuid4().hex[:8]}"]} | fields
    made: dict[str, Any] = console.gateway.admin("POST", "/upstreams", body)
    return made


def get(console: Console, upstream_id: str) -> dict[str, Any]:
    found: dict[str, Any] = console.gateway.admin("GET", f"/upstreams/{upstream_id}")
    return found


@contextmanager
def served(script: Script) -> Iterator[str]:
    """The base URL of a server that runs the script for each request, in a thread of its own beside the browser's loop."""
    ready, stop = threading.Event(), asyncio.Event()
    found: dict[str, Any] = {}

    async def run() -> None:
        async with raw_upstream(script) as server:
            found.update(port=server.port, loop=asyncio.get_running_loop())
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(10)
    try:
        yield f"http://127.0.0.1:{found['port']}/v1"
    finally:
        found["loop"].call_soon_threadsafe(stop.set)
        thread.join(10)


async def says_who_called(call: Call) -> None:
    """An answer of a model that repeats the credential it was sent; a list of 123 models."""
    if call.raw.startswith(b"GET"):
        await call.reply(json.dumps({"data": [{"id": f"listed-{n:03}"} for n in range(123)]}).encode())
        return
    sent = call.raw.decode().split("Bearer ")[1].split("\r\n")[0]
    text = f"You are {sent}, <b>aren't you?</b>"
    usage = {"prompt_tokens": 1234, "completion_tokens": 5, "total_tokens": 1239}
    await call.reply(json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode())


def open_upstreams(console: Console, page: Page, query: str = "") -> Locator:
    """The page, and the rows of its table."""
    page.goto(f"/console/w/{console.gateway.default_workspace()}/upstreams?q={query}")
    return page.get_by_role("table", name="Upstreams").locator("tbody tr")


def more(page: Page, upstream: str, item: str) -> Locator:
    """The dialog behind an item of an upstream's menu."""
    page.get_by_role("button", name=f"More actions for {upstream}").click()
    page.get_by_role("menuitem", name=item).click()
    return page.get_by_role("dialog")


def test_an_upstream_is_added_and_edited(console: Console) -> None:
    """An operator adds an upstream and changes it; the credential goes in, stays until it is touched, and is never shown."""
    upstream = name()
    with console.page(console.operator) as page:
        open_upstreams(console, page)
        page.get_by_role("button", name="Add upstream").click()
        dialog = page.get_by_role("dialog")
        check_accessible(page)
        check_fits(page)
        dialog.get_by_label("Name").fill(upstream)
        dialog.get_by_label("Base URL").fill("models.example.com")
        dialog.get_by_label("Credential").fill(SECRET)
        dialog.get_by_label("Models").fill("small\nlarge=large-2026")
        dialog.get_by_label("Weight").fill("7")
        dialog.get_by_label("Enabled").uncheck()
        dialog.get_by_role("button", name="Add upstream").click()
        expect(dialog.get_by_text("does not begin with http:// or https://")).to_be_visible()
        dialog.get_by_label("Base URL").fill("http://127.0.0.1:9/v1")
        dialog.get_by_role("button", name="Add upstream").click()
        expect(page.get_by_text(f"{upstream} is added.")).to_be_visible()
        row = page.get_by_role("row").filter(has_text=upstream)
        expect(row).to_contain_text(re.compile("127.0.0.1:9/v1.*large, *small.*7.*Disabled.*Set.*Stored", re.DOTALL))
        found = next(each for each in console.gateway.admin("GET", "/upstreams")["data"] if each["name"] == upstream)
        assert found["models"] == {"small": "small", "large": "large-2026"}
        assert (found["weight"], found["has_api_key"], found["enabled"]) == (7, True, False)

        page.get_by_role("button", name=f"Edit {upstream}").click()
        expect(dialog.get_by_label("Models")).to_have_value("small\nlarge=large-2026")
        expect(dialog.get_by_label("Credential", exact=True)).to_have_value("")
        check_accessible(page)
        check_fits(page)
        dialog.get_by_label("Weight").fill("1,000")
        dialog.get_by_label("Models").fill("*")
        dialog.get_by_role("button", name="Save changes").click()
        expect(row).to_contain_text(re.compile("All that it lists.*1,000.*Set", re.DOTALL))
        assert SECRET not in page.content()
        assert get(console, found["id"])["has_api_key"] is True
    console.gateway.admin("DELETE", f"/upstreams/{found['id']}")


def test_a_credential_is_bound_to_its_server_and_can_be_removed(console: Console) -> None:
    """Another server asks for the credential anew, at its field; the checkbox removes it."""
    made = add(console, api_key=SECRET, enabled=False)
    with console.page(console.operator) as page:
        rows = open_upstreams(console, page, made["name"])
        page.get_by_role("button", name=f"Edit {made['name']}").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Base URL").fill("http://127.0.0.1:9/v1")
        dialog.get_by_role("button", name="Save changes").click()
        expect(dialog.get_by_text("another server than the one that the credential was entered for")).to_be_visible()
        dialog.get_by_label("Credential", exact=True).fill("half typed")
        dialog.get_by_label("Remove the credential").check()
        expect(dialog.get_by_label("Credential", exact=True)).to_be_disabled()
        dialog.get_by_role("button", name="Save changes").click()
        expect(rows).to_contain_text("http://127.0.0.1:9/v1")
        page.get_by_role("button", name=f"Edit {made['name']}").click()
        expect(dialog.get_by_label("Remove the credential")).to_be_hidden()
    now = get(console, made["id"])
    assert (now["has_api_key"], now["base_url"]) == (False, "http://127.0.0.1:9/v1")
    console.gateway.admin("DELETE", f"/upstreams/{made['id']}")


def test_an_upstream_is_disabled_enabled_and_deleted(console: Console) -> None:
    """Disabling and enabling take a word of confirmation, deleting the upstream's name typed."""
    made = add(console, name="長" * 20 + name())
    with console.page(console.operator) as page:
        rows = open_upstreams(console, page, made["name"])
        dialog = more(page, made["name"], "Disable")
        check_accessible(page)
        check_fits(page)
        dialog.get_by_role("button", name="Disable upstream").click()
        expect(rows).to_contain_text("Gets no calls.")
        assert get(console, made["id"])["enabled"] is False
        dialog = more(page, made["name"], "Enable")
        check_accessible(page)
        dialog.get_by_role("button", name="Enable upstream").click()
        expect(rows).to_contain_text("Healthy")
        assert get(console, made["id"])["enabled"] is True
        dialog = more(page, made["name"], "Delete")
        check_accessible(page)
        check_fits(page)
        expect(dialog.get_by_role("button", name="Delete upstream")).to_be_disabled()
        dialog.get_by_label("Type the name").fill(made["name"])
        dialog.get_by_role("button", name="Delete upstream").click()
        expect(page.get_by_text("No upstream found")).to_be_visible()
        check_accessible(page)
        check_fits(page)
    assert made["id"] not in [row["id"] for row in console.gateway.admin("GET", "/upstreams")["data"]]


def test_the_demo_says_where_it_is_set(console: Console) -> None:
    """What does not come from here is shown with where it is changed, can be called, and offers no change."""
    with console.page(console.operator) as page:
        rows = open_upstreams(console, page, "demo")
        expect(rows).to_contain_text(re.compile("GATEWAY_UPSTREAM_BASE_URL.*demo-chat.*Healthy.*None.*Demo", re.DOTALL))
        expect(rows.get_by_role("button")).to_have_count(1)
        rows.get_by_role("button", name="Test call of demo").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_label("Model", exact=True)).to_have_value("demo-chat")
        check_accessible(page)
        dialog.get_by_label("Prompt").fill("Three little words")
        dialog.get_by_role("button", name="Run test call").click()
        expect(dialog.get_by_text("It answered as it should.")).to_be_visible()
        expect(dialog).to_contain_text("You wrote 3 words")
        check_accessible(page)
        check_fits(page)


def test_a_test_call_shows_what_came_back(console: Console) -> None:
    """Also of a disabled upstream: status, time, tokens and the model's text as text, the credential that it repeats hidden."""
    with served(says_who_called) as base_url:
        made = add(console, base_url=base_url, api_key=SECRET, models=["public=over-there"], enabled=False)
        with console.page(console.operator) as page:
            open_upstreams(console, page, made["name"])
            page.get_by_role("button", name=f"Test call of {made['name']}").click()
            dialog = page.get_by_role("dialog")
            dialog.get_by_role("button", name="Run test call").click()
            outcome = dialog.get_by_label("What came back")
            expect(outcome).to_contain_text("You are ***, <b>aren't you?</b>")
            expect(outcome).to_contain_text(re.compile(r"200.* ms.*over-there.*1,234 in, 5 out", re.DOTALL))
            assert SECRET not in page.content()
            dialog.get_by_role("button", name="Close").last.click()
            page.get_by_role("button", name=f"Test call of {made['name']}").click()
            expect(outcome).to_be_hidden()
        console.gateway.admin("DELETE", f"/upstreams/{made['id']}")


def test_a_test_call_says_what_went_wrong(console: Console) -> None:
    """A dead server is told in words with what to look at; the dialog stays for another try; the audit trail has the call."""
    made = add(console)
    with console.page(console.operator) as page:
        rows = open_upstreams(console, page, made["name"])
        page.get_by_role("button", name=f"Test call of {made['name']}").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Run test call").click()
        expect(dialog.get_by_text("The connection was refused")).to_be_visible()
        expect(dialog.get_by_text("Nothing listens at this host and port")).to_be_visible()
        expect(dialog.get_by_label("What came back")).to_contain_text("No answer")
        expect(dialog.get_by_role("button", name="Run test call")).to_be_enabled()
        check_accessible(page)
        check_fits(page)
        expect(rows).to_contain_text("Healthy")
    audit = console.gateway.admin("GET", f"/audit?action=upstream.test&target={made['id']}")["data"]
    assert [(row["actor"], row["after"]["ok"]) for row in audit] == [(console.operator.email, False)]
    console.gateway.admin("DELETE", f"/upstreams/{made['id']}")


def test_many_models_are_cut_short(console: Console) -> None:
    """Of an upstream that lists 123 models the page names three; a test call offers all; an ejected one says why."""
    with served(says_who_called) as base_url:
        made = add(console, base_url=base_url, models="*", api_key=SECRET)
        console.gateway.wait_until(lambda: len(get(console, made["id"])["serves"]) == 123, "the list is read")
        with console.page(console.operator) as page:
            rows = open_upstreams(console, page, made["name"])
            expect(rows).to_contain_text(re.compile("All that it lists: *listed-000, *listed-001, *listed-002, *and 120 more"))
            page.get_by_role("button", name=f"Test call of {made['name']}").click()
            expect(page.get_by_role("dialog").get_by_label("Model", exact=True).locator("option")).to_have_count(123)
        console.gateway.admin("DELETE", f"/upstreams/{made['id']}")


def test_an_ejected_upstream_says_why(console: Console) -> None:
    """After failures in a row the page says that the upstream is ejected, with its last error; the models page says it too."""
    made = add(console)
    model = made["serves"][0]
    headers = {"authorization": f"Bearer {console.gateway.create_key()['key']}"}

    def ejected() -> bool:
        httpx2.post(f"{console.gateway.base_url}/chat/completions", json={"model": model, "messages": []}, headers=headers)
        return bool(get(console, made["id"])["state"] == "ejected")

    console.gateway.wait_until(ejected, "the upstream is ejected")
    with console.page(console.operator) as page:
        rows = open_upstreams(console, page, made["name"])
        expect(rows).to_contain_text(re.compile("Ejected.*Gets no calls until a try goes well.*Last error: .*refused", re.DOTALL))
        check_accessible(page)
        check_fits(page)
        page.goto(f"/console/w/{console.gateway.default_workspace()}/models?q={model}")
        expect(page.get_by_role("row").filter(has_text=model)).to_contain_text("1, not healthy")
    console.gateway.admin("DELETE", f"/upstreams/{made['id']}")


def test_hostile_names_are_text(console: Console) -> None:
    """Names, addresses and model names of any kind are shown as they are and fit a phone."""
    hostile = f'"><img src=x onerror=alert(1)>{{{{7*7}}}} {uuid.uuid4().hex[:8]}' + "長" * 40
    made = add(
        console, name=hostile, base_url="http://127.0.0.1:9/" + "p" * 500, models=["v/" + "m" * 250, "<script>"], enabled=False
    )
    with console.page(console.operator) as page:
        page.on("dialog", lambda _: pytest.fail("a script of a name has run"))
        open_upstreams(console, page)
        expect(page.get_by_text(hostile)).to_be_visible()
        check_fits(page)
        dialog = more(page, hostile, "Delete")
        check_fits(page)
        dialog.get_by_label("Type the name").fill(hostile)
        dialog.get_by_role("button", name="Delete upstream").click()
        expect(page.get_by_text(hostile)).to_have_count(0)
    assert made["id"] not in [row["id"] for row in console.gateway.admin("GET", "/upstreams")["data"]]
