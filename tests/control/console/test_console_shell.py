"""What the shell's modules do in a browser, on the page of made-up data: forms, dialogs, menus, the switcher, charts."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect

from tests.control.console.shell_preview import NOW, app
from tests.support.browser import violations

DIALOG = "dialog[open]"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The preview on a port of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@contextmanager
def opened(browser: Browser, address: str, path: str = "/", **options: Any) -> Iterator[Page]:
    """A page whose scripts have no errors, and whose policy nothing goes against."""
    context = browser.new_context(base_url=address, timezone_id="Asia/Tokyo", **options)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    page.goto(path)
    yield page
    context.close()
    assert faults == []


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address, viewport={"width": 1440, "height": 900}) as each:
        yield each


def edit(page: Page) -> Locator:
    """The dialog that edits the third key."""
    page.get_by_role("button", name="Edit key-7315838").click()
    return page.locator(DIALOG)


def sent_by(page: Page, dialog: Locator) -> Request:
    """The request that pressing the dialog's submit button sends."""
    with page.expect_request("**/admin/v1/**") as request:
        dialog.locator("[type=submit]").click()
    return request.value


def test_a_dialog_is_filled_and_sends_what_the_api_takes(page: Page) -> None:
    """One dialog serves every row: it goes to that row's address with typed values, its ETag and the token of the page."""
    dialog = edit(page)
    expect(dialog.get_by_label("Description")).to_have_value("Nightly evaluation")
    expect(dialog.get_by_text("key-7315838")).to_be_visible()
    dialog.get_by_label("Times / min").fill("1 200,000")
    dialog.get_by_label("Allowed addresses").fill(" 10.0.0.0/8 \n\n::1\n")
    dialog.get_by_label("Enabled").uncheck()
    request = sent_by(page, dialog)
    assert request.method == "PATCH"
    assert request.url.endswith("/admin/v1/api-keys/key-7315838")
    assert request.headers["x-csrf-token"] == "csrf-of-the-preview"
    assert request.headers["if-match"] == '"3"'
    assert request.post_data_json == {
        "description": "Nightly evaluation",
        "rpm": 1_200_000,
        "tpm": None,
        "role": "viewer",
        "ip_allow": ["10.0.0.0/8", "::1"],
        "enabled": False,
    }
    expect(page.locator("#toasts")).to_have_text("Saved.")  # after the page was loaded again


def test_what_is_no_number_is_not_sent(page: Page) -> None:
    """A field that wants a number says so at once, gets the focus, and forgets the error when it is changed or opened again."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    dialog = edit(page)
    field = dialog.get_by_label("Times / min")
    field.fill("12.5")
    dialog.locator("[type=submit]").click()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description(re.compile("whole number"))
    assert "PATCH" not in sent
    field.fill("12")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    field.fill("x")
    dialog.locator("[type=submit]").click()
    page.keyboard.press("Escape")
    edit(page)
    expect(field).to_have_value("600")
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_refusals_are_shown_where_they_belong(page: Page) -> None:
    """Errors of a problem document stand at their fields; one without a field stands at the head of the form."""
    page.get_by_role("button", name="Add API key").click()
    dialog = page.locator(DIALOG)
    field = dialog.get_by_label("Description")
    field.fill("wrong")
    field.press("Enter")
    expect(dialog.get_by_text("Must not be wrong.")).to_be_visible()
    expect(field).to_be_focused()
    expect(dialog.get_by_role("alert")).to_have_text("Something else is wrong, too.")
    expect(dialog.locator("[type=submit]")).to_be_enabled()
    field.fill("right")
    field.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator("#toasts")).to_have_text("Made new.")


def test_a_repeat_has_the_same_idempotency_key(page: Page) -> None:
    """Trying again what had no answer cannot make two keys; another body is another request."""
    page.route("**/admin/v1/**", lambda route: route.abort())
    page.get_by_role("button", name="Add API key").click()
    dialog = page.locator(DIALOG)
    keys = []
    for text in ("one", "one", "two"):
        dialog.get_by_label("Description").fill(text)
        keys.append(sent_by(page, dialog).headers["idempotency-key"])
        expect(dialog.get_by_role("alert")).to_contain_text("cannot be reached")
    assert keys[0] == keys[1] != keys[2]


def test_a_change_by_somebody_else_is_said(page: Page) -> None:
    """A 412 loses nothing silently: it says what happened and offers to load the page again."""

    def stale(route: Route) -> None:
        route.fulfill(status=412, json={"detail": "The ETag does not match.", "errors": []})

    page.route("**/admin/v1/**", stale)
    dialog = edit(page)
    sent_by(page, dialog)
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody else changed this meanwhile")
    expect(dialog.get_by_role("button", name="Load again")).to_be_visible()


def test_without_a_session_the_way_leads_to_sign_in_and_back(page: Page) -> None:
    """A 401 goes to the sign-in page with the address to come back to."""
    page.route("**/admin/v1/**", lambda route: route.fulfill(status=401, json={}))
    page.route("**/console/sign-in*", lambda route: route.fulfill(body="sign in"))
    page.goto("/?rows=3")
    edit(page).locator("[type=submit]").click()
    page.wait_for_url("**/console/sign-in?next=%2F%3Frows%3D3")


def test_a_form_is_sent_once(page: Page) -> None:
    """While a request is on its way the button is off, Enter does nothing, and the dialog stays."""
    held: list[Route] = []
    page.route("**/admin/v1/**", lambda route: held.append(route))  # noqa: PLW0108 — Playwright wraps functions only
    dialog = edit(page)
    dialog.locator("[type=submit]").click()
    expect(dialog.locator("[type=submit]")).to_be_disabled()
    dialog.get_by_label("Description").press("Enter")
    dialog.locator("form").evaluate("form => form.requestSubmit()")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    assert len(held) == 1
    held[0].fulfill(json={})
    page.wait_for_load_state()


def test_deleting_takes_typing(page: Page) -> None:
    """Nothing is deleted before the end of the ID was typed, by button or by Enter; and the request has no body."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.get_by_role("button", name="More actions for key-7315838").click()
    page.get_by_role("menuitem", name="Delete").click()
    dialog = page.locator(DIALOG)
    field = dialog.get_by_label("Type the last 4 characters")
    submit = dialog.locator("[type=submit]")
    expect(submit).to_be_disabled()
    field.fill("583")
    field.press("Enter")
    dialog.locator("form").evaluate("form => form.requestSubmit()")
    expect(submit).to_be_disabled()
    assert "DELETE" not in sent
    field.fill("5838")
    request = sent_by(page, dialog)
    assert (request.method, request.post_data) == ("DELETE", None)


def test_the_keyboard_reaches_everything_in_a_menu(page: Page) -> None:
    """A menu opens with its first item focused, arrows go round, and the focus comes back to its button after the dialog."""
    button = page.get_by_role("button", name="More actions for key-7300000")
    button.press("Enter")
    expect(page.get_by_role("menuitem", name="Disable")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(DIALOG).get_by_label("Type the last 4")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(DIALOG)).to_have_count(0)
    expect(button).to_be_focused()


def test_a_click_outside_closes_a_dialog_but_not_one_that_shows_a_secret(page: Page) -> None:
    """What cannot be seen again is closed only by its own buttons."""
    dialog = edit(page)
    page.mouse.click(20, 450)
    expect(dialog).to_have_count(0)
    page.locator("#edit-key").evaluate("dialog => dialog.dataset.persistent = ''")
    edit(page)
    page.mouse.click(20, 450)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def test_the_switcher_is_used_by_keyboard(browser: Browser, address: str) -> None:
    """Among 200 workspaces one is found by typing, walked to with the arrows and gone to with Enter; Escape changes nothing."""
    with opened(browser, address, "/?workspaces=200", viewport={"width": 1440, "height": 900}) as page:
        switcher = page.locator(".switcher")
        switcher.press("Enter")
        search = page.get_by_label("Find a workspace by name or ID")
        expect(search).to_be_focused()
        search.press_sequentially("Quality-19")
        rows = page.locator("#switcher li:visible")
        expect(rows).to_have_count(5)  # -19, -190, -193, -196, -199
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        expect(rows.nth(1).get_by_role("link")).to_be_focused()
        page.keyboard.press("Escape")
        expect(switcher).to_be_focused()
        switcher.press("Enter")
        expect(search).to_be_focused()  # it is emptied as it opens
        search.fill("no such workspace")
        expect(page.get_by_text("No workspace has this")).to_be_visible()
        search.fill("0199")
        search.press("Enter")
        page.wait_for_url("**/?workspace=199")


def test_the_menu_of_phones(browser: Browser, address: str) -> None:
    """On a phone the sidebar is behind a button, with the switcher in it, and nothing sticks out sideways."""
    with opened(browser, address, "/?wide=1", viewport={"width": 360, "height": 740}) as page:
        expect(page.get_by_role("link", name="Usage")).to_be_hidden()
        page.get_by_role("button", name="Menu", exact=True).click()
        expect(page.get_by_role("link", name="Usage")).to_be_visible()
        page.locator(".switcher").click()
        expect(page.get_by_label("Find a workspace by name or ID")).to_be_focused()
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(page.get_by_role("link", name="Usage")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("width", [320, 700, 1024, 1920])
def test_nothing_sticks_out(browser: Browser, address: str, width: int) -> None:
    """At every width, with names as long as they may be, only tables scroll sideways, each in its own place."""
    with opened(browser, address, "/?wide=1&rows=30", viewport={"width": width, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_table_that_fits_keeps_its_header_in_sight(browser: Browser, address: str) -> None:
    """Far down a long table the header stands at the top; a table that fits takes no stop of the Tab key."""
    with opened(browser, address, "/?rows=500", viewport={"width": 1440, "height": 900}) as page:
        page.mouse.wheel(0, 5000)
        header = page.get_by_role("columnheader", name="Secret Key")
        expect(header).to_be_in_viewport()
        expect(page.get_by_role("region", name="API keys")).not_to_have_attribute("tabindex", "0")


def test_a_chart_is_read_off(page: Page) -> None:
    """At the pointer and by the arrow keys a chart says the bucket and each value in full."""
    frame = page.get_by_role("group", name="Lines")
    frame.locator(".chart-plot").hover(position={"x": 1, "y": 50})
    tip = frame.locator(".chart-tip")
    expect(tip).to_contain_text("30 Jan 2026, 12:00\u201313:00 UTC")
    expect(tip).to_contain_text("model-71,400")
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    frame.focus()
    page.keyboard.press("End")
    expect(tip).to_contain_text("31 Jan 2026, 11:00\u201312:00 UTC")
    said = frame.locator("xpath=..").get_by_role("status")
    expect(said).to_contain_text("model-7 ")
    page.keyboard.press("ArrowLeft")
    expect(said).to_contain_text("31 Jan 2026, 10:00\u201311:00 UTC")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_a_chart_is_read_off_by_touch(browser: Browser, address: str) -> None:
    """What a finger asked for stays when it is lifted, until the next touch elsewhere."""
    with opened(browser, address, viewport={"width": 390, "height": 844}, has_touch=True) as page:
        frame = page.get_by_role("group", name="Calls by model")
        frame.locator(".chart-plot").tap(position={"x": 1, "y": 50})
        expect(frame.locator(".chart-tip")).to_contain_text("30 Jan 2026, 12:00\u201313:00 UTC")
        page.get_by_role("heading", name="Calls by model").tap()
        expect(frame.locator(".chart-tip")).to_be_hidden()


def test_times_are_the_readers_own(page: Page) -> None:
    """A time reads in the browser's time zone, and its title has the zone."""
    shown = page.locator(f'time[data-time="full"][datetime="{time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW / 1000))}"]')
    expect(shown).to_have_text(re.compile(r"31 Jan 2026, 21:00:00"))
    expect(shown).to_have_attribute("title", re.compile("ago, 31 Jan 2026, 21:00:00"))


@pytest.mark.parametrize("secure", [True, False])
def test_copying_works_with_and_without_a_clipboard(page: Page, secure: bool) -> None:
    """A copy button copies and says so, also over plain HTTP, where browsers offer no clipboard."""
    if secure:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    else:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        # Headless browsers copy no selection; what would be copied is what is selected.
        page.evaluate("document.execCommand = () => { window.copied = document.activeElement.value; return true; }")
    button = page.get_by_role("button", name="Copy ID").first
    button.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    if secure:
        search = page.get_by_role("searchbox", name="Search by API Key ID")
        search.press("Control+V")
        expect(search).to_have_value("key-7300000")
    else:
        assert page.evaluate("window.copied") == "key-7300000"
    expect(page.get_by_role("button", name="Copied")).to_have_count(0)
    expect(button).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_nothing_keeps_people_out(browser: Browser, address: str, scheme: Any, width: int) -> None:
    """Axe finds nothing serious on the shell, its dialogs, menus and errors: light and wide, dark and narrow."""
    size = {"width": width, "height": 844}
    with opened(browser, address, color_scheme=scheme, viewport=size, reduced_motion="reduce") as page:
        assert violations(page) == []
        dialog = edit(page)
        dialog.get_by_label("Times / min").fill("x")
        dialog.locator("[type=submit]").click()
        assert violations(page) == []
        page.keyboard.press("Escape")
        if width < 900:
            page.get_by_role("button", name="Menu", exact=True).click()
        page.locator(".switcher").click()
        assert violations(page) == []
        page.goto("/?rows=0&workspaces=1")
        assert violations(page) == []
        page.goto("/sign-in")
        assert violations(page) == []
