"""What a browser does with hostile text, forged requests and frames: nothing of what was meant by them."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx2
import pytest
from playwright.sync_api import Page

from gateway.domain import ids
from tests.control.console.console_world import PASSWORD, Console, Person, expect
from tests.control.usage_rows import entry, store_beside

pytestmark = pytest.mark.xdist_group("console-security")

SHORT = '"><img src=x onerror=hit()>'
"""Fits where names may have 30 characters."""

TAG = '"><script>hit()</script>'
LONG = SHORT + "<script>hit()</script><svg onload=hit()>"
PAGES = [
    "keys",
    "usage",
    "usage?scope=account&by=key",
    "usage?scope=all&by=workspace",
    "workspaces",
    "edit",
    "limits",
    "limits?show=increases",
    "limits?show=live",
    "members",
    "members?scope=all",
    "audit?scope=all",
    "models",
    "upstreams",
    "accounts",
    "people",
]
OPEN_DIALOGS = """() => {
  const seen = new Set();
  for (const opener of document.querySelectorAll("[data-opens]")) {
    if (seen.has(opener.dataset.opens)) continue;
    seen.add(opener.dataset.opens);
    opener.click();
    document.querySelector("dialog[open]")?.close();
  }
  return seen.size;
}"""
HOVER_PLOTS = """() => {
  for (const plot of document.querySelectorAll("[data-plot]")) {
    plot.dispatchEvent(new KeyboardEvent("keydown", {key: "End", bubbles: true}));
    const box = plot.getBoundingClientRect();
    plot.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: box.right - 5, clientY: box.top + 50}));
  }
}"""


@contextmanager
def warned_page(console: Console, person: Person) -> Iterator[Page]:
    """A page whose browser may say in its console what it refused, as it should here."""
    context = console.browser.new_context(base_url=console.gateway.address)
    context.add_cookies([{"name": "gateway-session", "value": person.secret, "url": console.gateway.address}])
    try:
        yield context.new_page()
    finally:
        context.close()


def hostile_world(console: Console) -> tuple[str, Person]:
    """A workspace where every field that is shown holds hostile text; its ID, and an operator who is called so."""
    admin, name = console.gateway.admin, LONG.replace(" ", "/")
    account = admin("POST", "/accounts", {"name": LONG})
    place = {"account_id": account["id"]}
    workspace = str(admin("POST", "/workspaces", {"name": SHORT, **place})["id"])
    person = console.person("operator", name=LONG)
    user_id = admin("GET", f"/users?q={person.email}")["data"][0]["id"]
    admin("PUT", f"/models/{quote(name, safe='')}", {"rpm": 5, "vendor": LONG[:60]})
    admin("POST", "/upstreams", {"base_url": "http://127.0.0.1:9/v1", "name": LONG, "models": {TAG: TAG}, "enabled": False})
    admin("POST", f"/accounts/{account['id']}/increases", {"model": name, "rpm": 9, "minutes": 60, "reason": LONG})
    admin("PUT", f"/workspaces/{workspace}/grants/{quote(name, safe='')}", {"rpm": 2})
    key = admin("POST", f"/workspaces/{workspace}/api-keys", {"description": LONG, "models": [name]})
    email = '"><imgsrc=x/onerror=hit()>@example.com'
    admin("POST", "/invitations", {"email": email, "role": "viewer", "workspace_id": workspace})
    link = admin("POST", "/invitations", {"email": f"{user_id}{email}", "role": "viewer", "workspace_id": workspace})["path"]
    with httpx2.Client(base_url=console.gateway.address, headers={"origin": console.gateway.address}) as client:
        assert client.post(link, data={"name": LONG, "password": PASSWORD}).status_code == 303
    now = time.time_ns() // 1_000_000
    call = {**place, "workspace_id": workspace, "key_id": key["id"], "model": name}
    store_beside(
        console.gateway.data_dir,
        [entry(ids.call_id(now), now - 60_000, **call)],
        [{"at": now - 60_000, "model": name, **place, "workspace_id": workspace, "key_id": key["id"]}],
    )
    return workspace, person


def check_unharmed(page: Page, where: str) -> None:
    assert page.evaluate("document.documentElement.dataset.hit") is None, where
    assert page.locator('img[src="x"], svg[onload], script:not([src]), [onerror]').count() == 0, where


def test_hostile_text_runs_nowhere(console: Console) -> None:
    """With the browser's own guard off, no text of any field runs: on no page, in no dialog, at no plot, in no message."""
    workspace, person = hostile_world(console)
    with console.page(person, bypass_csp=True, user_agent=LONG) as page:
        page.add_init_script("window.hit = () => { document.documentElement.dataset.hit = '1'; }")
        dialogs = 0
        for name in PAGES:
            page.goto(f"/console/w/{workspace}/{name}")
            assert "<img src=x" in page.locator("body").inner_text() or "<img/src=x" in page.locator("body").inner_text(), name
            dialogs += page.evaluate(OPEN_DIALOGS)
            page.evaluate(HOVER_PLOTS)
            check_unharmed(page, name)
        assert dialogs > 20
        for path in ("/console/profile", f"/console/w/{workspace}/keys?q={quote(LONG)}", f"/console/{quote(LONG)}"):
            page.goto(path)
            check_unharmed(page, path)
        page.goto(f"/console/w/{workspace}/workspaces")
        page.get_by_role("button", name=re.compile("^Create Workspace")).click()
        page.get_by_role("dialog").get_by_label("Name").fill(SHORT)
        page.get_by_role("dialog").get_by_role("button", name="Create").click()
        expect(page.locator("#toasts")).to_contain_text(SHORT)
        check_unharmed(page, "a message")


def test_injected_script_does_not_run(console: Console) -> None:
    """Even an element that got into a page would run nothing, load nothing and send nothing anywhere."""
    with warned_page(console, console.operator) as page:
        page.add_init_script("window.hit = () => { document.documentElement.dataset.hit = '1'; }")
        page.goto("/console/profile")
        refused = page.evaluate(
            """() => new Promise((done) => {
              const told = [];
              document.addEventListener("securitypolicyviolation", (event) => told.push(event.effectiveDirective));
              const add = (html) => document.body.insertAdjacentHTML("beforeend", html);
              add('<img src="data:image/png;base64,x" onerror="hit()">');
              add('<b style="color: red">red</b>');
              add('<iframe srcdoc="x"></iframe>');
              const script = document.createElement("script");
              script.textContent = "hit()";
              document.body.append(script);
              fetch("http://127.0.0.1:9/").catch(() => {});
              setTimeout(() => done(told), 300);
            })"""
        )
        assert {"script-src-attr", "style-src-attr", "script-src-elem", "connect-src"} <= set(refused)
        assert page.evaluate("document.documentElement.dataset.hit") is None


def test_other_sites_get_nowhere(console: Console) -> None:
    """A page of another site can neither frame the console, nor send a form or a request in somebody's name."""
    victim = console.person("operator")
    elsewhere = console.gateway.address.replace("127.0.0.1", "localhost")
    accounts = len(console.gateway.admin("GET", "/accounts?limit=1000")["data"])
    with warned_page(console, victim) as page:
        page.route(f"{elsewhere}/evil", lambda route: route.fulfill(body="<title>evil</title>", content_type="text/html"))
        page.goto(f"{elsewhere}/evil")
        target = console.gateway.address
        statuses = page.evaluate(
            """async (target) => {
              const options = {method: "POST", credentials: "include", mode: "no-cors", body: '{"name": "forged"}'};
              await fetch(target + "/admin/v1/accounts", options).catch(() => {});
              const frame = document.createElement("iframe");
              frame.src = target + "/console/profile";
              document.body.append(frame);
              await new Promise((done) => setTimeout(done, 500));
              const readable = await fetch(target + "/admin/v1/me", {credentials: "include"}).then(() => true, () => false);
              return {readable, framed: frame.contentDocument !== null};
            }""",
            target,
        )
        assert statuses["readable"] is False
        page.set_content(f'<form method="post" action="{target}/console/sign-out"><input name="csrf" value="x"></form>')
        page.evaluate("document.forms[0].submit()")
        expect(page.get_by_role("heading", name="Not for you")).to_be_visible()
        page.goto("/console/profile")
        expect(page.get_by_role("table", name="Sessions")).to_be_visible()
    assert len(console.gateway.admin("GET", "/accounts?limit=1000")["data"]) == accounts


def test_a_page_of_another_session_changes_nothing(console: Console) -> None:
    """A page that was open while somebody else signed in, in the same browser, changes nothing as them: its token is old."""
    one, two = console.person("operator"), console.person("operator", name="Second")
    with console.page(one) as page:
        page.goto("/console/profile")
        page.context.add_cookies([{"name": "gateway-session", "value": two.secret, "url": console.gateway.address}])
        page.get_by_role("textbox", name="Name", exact=True).fill("Taken over")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("The request does not come from a page of this console")).to_be_visible()
    assert console.gateway.admin("GET", f"/users?q={two.email}")["data"][0]["name"] == "Second"


def test_scripts_do_not_see_the_cookie(console: Console) -> None:
    """The browser keeps the session's cookie from every script."""
    person = console.person("operator")
    with console.page() as page:
        page.goto("/console/sign-in")
        page.get_by_label("E-mail address").fill(person.email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_attached()
        (cookie,) = page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("gateway-session", True, "Lax")
        assert page.evaluate("document.cookie") == ""


def test_the_back_button_shows_nothing_after_signing_out(console: Console) -> None:
    """After signing out, going back asks to sign in: no page is kept by the browser."""
    person = console.person("operator", name="Somebody in particular")
    with console.page(person) as page:
        page.goto("/console/profile")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_text("You are signed out.")).to_be_visible()
        page.go_back()
        expect(page).to_have_url(re.compile("/console/sign-in"))
        expect(page.get_by_text("Somebody in particular")).to_have_count(0)
