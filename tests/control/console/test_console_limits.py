"""Rate limits in a browser: the account's limits, and temporary increases of them."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx2
import openai
import pytest
from playwright.sync_api import Page

from tests.control.console.console_world import Console, check_accessible, check_fits, expect

pytestmark = pytest.mark.xdist_group("console-limits")

MODEL = "demo-chat"
SCRIPT = '"><img/src/onerror-alert(1)>{{7+7}}'
HOSTILE = '=cmd() "><img src=x onerror=alert(1)>{{7+7}}'


@pytest.fixture
def account(console: Console) -> str:
    """An account that is held to 60 requests and 9,000 tokens a minute of the demo's model."""
    account_id = console.account()
    console.gateway.admin("PUT", f"/accounts/{account_id}/limits/{MODEL}", {"rpm": 60, "tpm": 9000})
    return account_id


def limits_of(console: Console, account: str, model: str = MODEL) -> dict[str, Any]:
    found: dict[str, Any] = console.gateway.admin("GET", f"/accounts/{account}/limits/{model}")
    return found


def row_of(page: Page, model: str = MODEL) -> Any:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=model, exact=True))


def open_menu(page: Page, item: str) -> None:
    page.get_by_role("button", name=f"More actions for {MODEL}").click()
    page.get_by_role("menuitem", name=item).click()


def test_limits_are_set_and_removed(console: Console, account: str) -> None:
    """An operator sets the account's own limits of a model, is told at the field what is wrong, and removes them again."""
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{console.workspace(account_id=account)}/limits")
        expect(row_of(page)).to_contain_text("9,000")
        check_accessible(page)
        check_fits(page)
        page.get_by_role("button", name=f"Edit the limits of {MODEL}").click()
        dialog = page.get_by_role("dialog", name="Edit limits")
        expect(dialog.get_by_label("Times / min")).to_have_value("60")
        expect(dialog.get_by_text("Left blank: no limit").first).to_be_visible()
        check_accessible(page)
        check_fits(page)
        dialog.get_by_label("Times / min").fill("1,2o0")
        dialog.get_by_role("button", name="Save changes").click()
        expect(dialog.get_by_text("Enter a whole number")).to_be_visible()
        dialog.get_by_label("Times / min").fill("")
        dialog.get_by_role("button", name="Save changes").click()
        expect(dialog.get_by_text("tpm cannot be set without rpm; set rpm as well.")).to_be_visible()
        dialog.get_by_label("Times / min").fill("1,200")
        dialog.get_by_role("button", name="Save changes").click()
        expect(page.get_by_text(f"The limits of {MODEL} are set.")).to_be_visible()
        expect(row_of(page)).to_contain_text("1,200")
        assert limits_of(console, account)["rpm"] == 1200

        open_menu(page, "Remove own limits")
        dialog = page.get_by_role("dialog", name="Remove own limits")
        check_accessible(page)
        dialog.get_by_role("button", name="Remove").click()
        expect(row_of(page)).to_contain_text("No limit")
        assert limits_of(console, account)["source"] is None


def test_a_change_of_somebody_else_is_not_overwritten(console: Console, account: str) -> None:
    """Whoever saves limits that somebody else has changed meanwhile is told so, and nothing is lost."""
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{console.workspace(account_id=account)}/limits")
        page.get_by_role("button", name=f"Edit the limits of {MODEL}").click()
        console.gateway.admin("PUT", f"/accounts/{account}/limits/{MODEL}", {"rpm": 70})
        dialog = page.get_by_role("dialog", name="Edit limits")
        dialog.get_by_label("Times / min").fill("80")
        dialog.get_by_role("button", name="Save changes").click()
        expect(dialog.get_by_text("Somebody else changed this meanwhile.")).to_be_visible()
        assert limits_of(console, account)["rpm"] == 70


def test_an_increase_holds_at_once_and_ends(console: Console, account: str) -> None:
    """A limit that is raised in the console holds for the very next call; once the increase is ended, the old one does."""
    [workspace] = [
        each["id"] for each in console.gateway.admin("GET", f"/workspaces?account_id={account}")["data"] if each["is_default"]
    ]
    limit = limit_of_calls(console, console.gateway.create_key(workspace)["key"])
    assert limit() == "60"
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace}/limits?show=increases")
        raise_to_90(page)
        row = page.get_by_role("table", name="Increases in force").get_by_role("row").filter(has_text=MODEL)
        expect(row).to_contain_text(HOSTILE)
        assert limit() == "90"
        expect(row).to_contain_text("60 to →90")
        expect(row).to_contain_text("in 23 hours")
        check_accessible(page)
        check_fits(page)

        page.get_by_role("link", name="Limits", exact=True).click()
        expect(row_of(page)).to_contain_text("90")
        expect(row_of(page)).to_contain_text("60 without")
        page.get_by_role("link", name="Increases (1)").click()
        page.get_by_role("button", name=f"End the increase of {MODEL} now").click()
        dialog = page.get_by_role("dialog", name="End the increase")
        check_accessible(page)
        dialog.get_by_role("button", name="End now").click()
        past = page.get_by_role("table", name="History of increases").get_by_role("row").filter(has_text=MODEL)
        expect(past).to_contain_text(f"early, by {console.operator.email}")
        assert limit() == "60"
        check_accessible(page)
        check_fits(page)


def limit_of_calls(console: Console, key: str) -> Callable[[], str | None]:
    """Makes a call, and answers the limit of requests that it was held to."""

    def call() -> str | None:
        with openai.OpenAI(base_url=console.gateway.base_url, api_key=key, max_retries=0) as client:
            messages: Any = [{"role": "user", "content": "hi"}]
            reply = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)
            return reply.headers.get("x-ratelimit-limit-requests")

    return call


def raise_to_90(page: Page) -> None:
    """Through the dialog, past what it says of values that do not work."""
    expect(page.get_by_text("No increase is open")).to_be_visible()
    check_accessible(page)
    check_fits(page)
    page.locator(".empty").get_by_role("button", name="Temporary increase").click()
    dialog = page.get_by_role("dialog", name="Temporary increase")
    expect(dialog.get_by_text("Choose a model first.").first).to_be_visible()
    dialog.get_by_label("Model", exact=True).fill(MODEL)
    expect(dialog.get_by_text("Now 60; has to be above it.")).to_be_visible()
    check_accessible(page)
    check_fits(page)
    dialog.get_by_label("Times / min").fill("60")
    dialog.get_by_role("button", name="Raise limits").click()
    expect(dialog.get_by_text("This field is required.").or_(dialog.get_by_text("at least 1 character"))).to_be_visible()
    dialog.get_by_label("Reason").fill(HOSTILE)
    dialog.get_by_role("button", name="Raise limits").click()
    expect(dialog.get_by_text("rpm has to be above the 60 that the account has for this model.")).to_be_visible()
    dialog.get_by_label("Times / min").fill("90")
    dialog.get_by_label("For", exact=True).select_option(label="24 hours")
    dialog.get_by_role("button", name="Raise limits").click()


def test_an_increase_until_a_moment(console: Console, account: str) -> None:
    """The end can be chosen as a date and time of the reader's own zone, and a moment that has passed is refused there."""
    with console.page(console.operator, timezone_id="Asia/Tokyo") as page:
        page.goto(f"/console/w/{console.workspace(account_id=account)}/limits")
        open_menu(page, "Temporary increase")
        dialog = page.get_by_role("dialog", name="Temporary increase")
        expect(dialog.get_by_label("Model", exact=True)).to_have_value(MODEL)
        dialog.get_by_label("Token / min").fill("20 000")
        dialog.get_by_label("Reason").fill("Launch")
        expect(dialog.get_by_label("Until")).to_be_hidden()
        dialog.get_by_label("For", exact=True).select_option(label="Until a date and time")
        dialog.get_by_label("Until").fill("2020-01-01T10:00")
        dialog.get_by_role("button", name="Raise limits").click()
        expect(dialog.get_by_text("The end has to lie in the future.")).to_be_visible()
        wanted = page.evaluate("new Date(Date.now() + 3 * 86_400_000 + 9 * 3_600_000).toISOString().slice(0, 16)")
        dialog.get_by_label("Until").fill(wanted)
        dialog.get_by_role("button", name="Raise limits").click()
        expect(page.get_by_text(f"The limits of {MODEL} are raised.")).to_be_visible()
    [made] = console.gateway.admin("GET", f"/accounts/{account}/increases")["data"]
    assert (made["rpm"], made["tpm"]) == (None, 20_000)
    in_utc = datetime.fromisoformat(made["ends_at"])
    assert abs((datetime.fromisoformat(f"{wanted}+09:00") - in_utc).total_seconds()) < 1


def test_an_increase_ends_by_itself_in_time(console: Console, account: str) -> None:
    """Within two seconds of its end an increase is over, without anybody there; the page says that it ended by itself."""
    ends = time.time() + 1.5
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ends)) + f"{ends % 1:.3f}"[1:] + "Z"
    body = {"model": MODEL, "rpm": 90, "ends_at": moment, "reason": "short"}
    console.gateway.admin("POST", f"/accounts/{account}/increases", body)
    assert limits_of(console, account)["rpm"] == 90
    while limits_of(console, account)["rpm"] == 90:
        assert time.time() < ends + 2
        time.sleep(0.05)
    assert time.time() >= ends
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{console.workspace(account_id=account)}/limits?show=increases")
        expect(page.get_by_role("table", name="History of increases")).to_contain_text("by itself")


def test_a_second_increase_is_refused_in_words(console: Console, account: str) -> None:
    """Where an increase is open already, the dialog says until when, and a model without limits has nothing to raise."""
    console.gateway.admin("POST", f"/accounts/{account}/increases", {"model": MODEL, "rpm": 90, "minutes": 60, "reason": "first"})
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{console.workspace(account_id=account)}/limits")
        page.get_by_role("button", name="Temporary increase").click()
        dialog = page.get_by_role("dialog", name="Temporary increase")
        dialog.get_by_label("Model", exact=True).fill("demo-embedding")
        expect(dialog.get_by_text("No limit now, so nothing to raise.").first).to_be_visible()
        expect(dialog.get_by_label("Times / min")).to_be_disabled()
        dialog.get_by_label("Model", exact=True).fill(MODEL)
        dialog.get_by_label("Times / min").fill("120")
        dialog.get_by_label("Reason").fill("second")
        dialog.get_by_role("button", name="Raise limits").click()
        expect(dialog.get_by_text("An increase for this model is open until")).to_be_visible()


def test_who_may_not_change_limits_reads_them(console: Console, account: str) -> None:
    """Members of a workspace see the account's limits and increases, without a way to change them, and nobody else's grants."""
    workspace = console.workspace(account_id=account)
    console.gateway.admin("PUT", f"/workspaces/{workspace}/grants/{MODEL}", {"rpm": 50})
    other = console.workspace(account_id=account)
    console.gateway.admin("PUT", f"/workspaces/{other}/grants/{MODEL}", {"rpm": 33})
    owner, viewer = console.person("owner", account_id=account), console.person("viewer", workspace_id=workspace)
    with console.page(owner) as page:
        page.goto(f"/console/w/{workspace}/limits")
        expect(row_of(page)).to_contain_text("83")
        expect(row_of(page)).to_contain_text("Above the limit")
        expect(page.get_by_role("button", name="Temporary increase")).to_have_count(0)
    with console.page(viewer) as page:
        page.goto(f"/console/w/{workspace}/limits")
        expect(row_of(page)).to_contain_text("9,000")
        expect(row_of(page)).not_to_contain_text("83")
        expect(page.get_by_role("button", name="Edit the limits")).to_have_count(0)
        expect(page.get_by_role("button", name="Temporary increase")).to_have_count(0)
        check_accessible(page)
        page.get_by_role("link", name="Increases").click()
        expect(page.get_by_text("Operators can raise the account's limits")).to_be_visible()
        check_accessible(page)


def test_many_models(console: Console, account: str) -> None:
    """Five hundred models are paged and searched; names of any kind are shown as they are, and it is said where none fits."""
    names = dict.fromkeys([f"bulk-{number:03}" for number in range(498)] + ["bulk-" + "長" * 30, f"bulk-{SCRIPT}"], "demo-chat")
    upstream = console.gateway.admin("POST", "/upstreams", {"base_url": console.gateway.demo_base_url(), "models": names})
    try:
        with console.page(console.operator) as page:
            page.goto(f"/console/w/{console.workspace(account_id=account)}/limits")
            expect(page.get_by_role("rowheader")).to_have_count(100)
            page.get_by_role("link", name="Next page").click()
            expect(page.get_by_role("rowheader", name="bulk-150", exact=True)).to_be_visible()
            check_fits(page)
            page.get_by_role("link", name="First page").click()
            page.get_by_role("searchbox").fill("LK-長")
            page.get_by_role("searchbox").press("Enter")
            expect(page.get_by_role("rowheader")).to_have_count(1)
            check_accessible(page)
            check_fits(page)
            page.get_by_role("searchbox").fill(SCRIPT)
            page.get_by_role("searchbox").press("Enter")
            expect(page.get_by_role("rowheader", name=f"bulk-{SCRIPT}", exact=True)).to_be_visible()
            check_fits(page)
            page.get_by_role("searchbox").fill(f"none {HOSTILE}")
            page.get_by_role("searchbox").press("Enter")
            expect(page.get_by_text("No model found")).to_be_visible()
            check_accessible(page)
            page.get_by_role("link", name="Show all models").click()
            expect(page.get_by_role("rowheader")).to_have_count(100)
    finally:
        console.gateway.admin("DELETE", f"/upstreams/{upstream['id']}")


def test_the_page_of_somebody_else(console: Console, account: str) -> None:
    """Whoever has no role in an account does not get its page, and learns of no parameter but those that there are."""
    workspace = console.workspace(account_id=account)
    stranger = console.person("owner", account_id=console.account())
    with httpx2.Client(base_url=console.gateway.address, cookies={"gateway-session": stranger.secret}) as client:
        assert client.get(f"/console/w/{workspace}/limits").status_code == 404
    with httpx2.Client(base_url=console.gateway.address, cookies={"gateway-session": console.operator.secret}) as client:
        assert client.get(f"/console/w/{workspace}/limits?show=nothing").status_code == 400
        assert client.get(f"/console/w/{workspace}/limits?page=2").status_code == 400
