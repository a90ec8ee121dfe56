"""What holds for every page of the console: its headers, no script of its own, no key, and hostile text as text."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from unittest.mock import patch
from urllib.parse import quote

import httpx2
import pytest
from fastapi.routing import iter_route_contexts

from gateway.control import sessions as secrets
from gateway.control.console.assets import assets
from gateway.domain import ids
from gateway.domain.upstreams import Upstream
from gateway.storage.sql import sessions, upstreams
from gateway.storage.sql.engine import writing
from gateway.storage.sql.entries import store
from gateway.storage.sql.sessions import SessionRow
from gateway.storage.sql.upstreams import UpstreamRow
from tests.control.admin_api import Control
from tests.control.people_world import OPERATOR, Browser, Person, add_person, browser, held
from tests.control.usage_rows import entry

HOSTILE = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'{{7*7}}${7*7}"
"""What each field takes of it is cut from it."""

PAGES = {
    "keys": ["", "?q=HOSTILE"],
    "usage": ["", "?scope=account&by=workspace", "?scope=all&by=key", "?model=HOSTILE"],
    "workspaces": ["", "?q=HOSTILE"],
    "edit": [""],
    "limits": ["", "?show=increases", "?show=live", "?q=HOSTILE"],
    "members": ["", "?scope=account", "?scope=all", "?q=HOSTILE"],
    "audit": ["", "?scope=account", "?scope=all", "?actor=HOSTILE&target=HOSTILE"],
    "models": ["", "?q=HOSTILE"],
    "upstreams": ["", "?q=HOSTILE"],
    "accounts": ["", "?q=HOSTILE"],
    "people": ["", "?q=HOSTILE"],
}
"""Every page of a workspace, with the queries that change what it shows."""

SELF = "'self'"
POLICY = {
    "default-src": "'none'",
    "style-src": SELF,
    "script-src": SELF,
    "img-src": "'self' data:",
    "connect-src": SELF,
    "form-action": SELF,
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


class Reader(HTMLParser):
    """Finds what would run in a page, or comes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.inline = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.inline = tag == "script" and "src" not in values
        if self.inline or tag in ("style", "base", "iframe", "object", "embed", "img"):
            self.wrong.append(f"<{tag}>")
        for name, value in values.items():
            if name.startswith("on") or name == "style":
                self.wrong.append(f"{tag} {name}")
            if name in ("href", "src", "action", "formaction") and not re.match(r"(/(?!/)|#|\?|$)", value or ""):
                self.wrong.append(f"{tag} {name}={value}")


def found_in(html: str) -> list[str]:
    reader = Reader()
    reader.feed(html)
    return reader.wrong


def check_headers(reply: httpx2.Response) -> None:
    headers = reply.headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == POLICY
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "clipboard-read=()" in headers["permissions-policy"]


async def pages(control: Control, page: Browser, hostile: str = "x") -> AsyncIterator[tuple[str, httpx2.Response]]:
    """Every page there is, those that say no included."""
    workspace = await control.sub_workspace(hostile[:30])
    for name, queries in PAGES.items():
        for query in queries:
            path = f"/console/w/{workspace}/{name}" + query.replace("HOSTILE", quote(hostile))
            yield path, await page.get(path)
    for path in (
        "/console/profile",
        "/console/none",
        "/console/w/llm-none/keys",
        f"/console/w/{workspace}/none",
        f"/console/w/{workspace}/keys?unknown={hostile}",
        "/console/link/none",
        f"/console/static/{assets().digest}/none.js",
    ):
        yield path, await page.get(path)
    async with browser(control) as stranger:
        for path in (f"/console/sign-in?next={hostile}&reason={hostile}", f"/console/{hostile}"):
            yield path, await stranger.get(path)
        yield "sign-in", await stranger.form("/console/sign-in", email=hostile, password=hostile, next=hostile)
        link = (await control.post("/invitations", {"email": "x@example.com", "role": "operator"})).json()["path"]
        yield "link", await stranger.get(link)
        yield "link", await stranger.form(link, name=hostile, password="short")
        with patch("gateway.control.services.people.own_sessions", side_effect=RuntimeError):
            yield "broken", await page.get("/console/profile")


@pytest.fixture
async def operator(control: Control) -> Person:
    return await add_person(control, OPERATOR)


async def test_every_page_has_its_headers(control: Control, operator: Person) -> None:
    """No page, not even one that says no, can be framed, kept by a cache, or run anything that is not a file of ours."""
    statuses = set()
    async with browser(control, operator) as page:
        async for path, reply in pages(control, page):
            assert reply.headers["content-type"] == "text/html; charset=utf-8", path
            check_headers(reply)
            assert found_in(reply.text) == [], path
            statuses.add(reply.status_code)
    assert statuses == {200, 400, 401, 404, 500}


async def test_every_page_is_looked_at(control: Control) -> None:
    """The list of pages here is whole."""
    paths = {context.path_format or "" for context in iter_route_contexts(control.app.routes)}
    named = {path.rpartition("/")[2] for path in paths if path.startswith("/console/w/")}
    assert named == set(PAGES)


async def test_other_answers_cannot_be_taken_for_pages(control: Control) -> None:
    """JSON, style sheets and modules are never read as anything else; only what has the hash of its content is kept."""
    for path in ("/admin/v1/accounts", "/admin/v1/none", "/admin/v1/openapi.json"):
        reply = await control.http.get(path)
        assert (reply.headers["x-content-type-options"], reply.headers["cache-control"]) == ("nosniff", "no-store")
        assert "json" in reply.headers["content-type"]
    for name, content in assets().files.items():
        reply = await control.http.get(f"/console/static/{assets().digest}/{name}")
        assert reply.content == content
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "immutable" in reply.headers["cache-control"]
    assert (await control.http.get(f"/console/static/{'0' * 16}/console.js")).status_code == 404
    for name in ("..%2fapp.py", "../app.py", "%2e%2e/app.py", "console.js%00", ""):
        assert (await control.http.get(f"/console/static/{assets().digest}/{name}")).status_code == 404


async def test_the_description_of_the_api_runs_nothing(control: Control) -> None:
    """The page that describes the API is held to a policy as strict."""
    reply = await control.http.get("/admin/v1/docs")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert [each for each in found_in(reply.text) if not re.match(r"(a|link) href=[a-z./]+$", each)] == []


async def hostile_world(control: Control, hostile: str) -> Person:
    """Hostile text in every field that people can fill, and what others send: an agent, names of models, an address."""
    services, now = control.services, control.services.now_ms()
    email = f"{hostile.replace(' ', '')[:100]}@example.com".lower()
    place = held("viewer", control.account_id, control.workspace_id)
    person = await add_person(control, OPERATOR, place, email=email, name=hostile[:120])
    name = hostile.replace(" ", "")[:100]
    async with writing(services.engine) as conn:
        row = SessionRow(ids.session_id(), person.id, now, now, hostile[:64], hostile[:200])
        await sessions.insert(conn, row, secrets.digest(services, "another"))
        made = Upstream(ids.upstream_id(), hostile[:120], f"http://127.0.0.1:9/{name}", api_key=None, models={name: name})
        await upstreams.insert(conn, UpstreamRow(made, now, now))
    await control.upstreams.reload()
    await control.catalogue.reload()
    async with browser(control, person) as page:
        made_by_them = [
            await page.send("PUT", f"/models/{quote(name, safe='')}", {"rpm": 5, "vendor": hostile[:60]}),
            await page.send("POST", "/accounts", {"name": hostile[:120]}),
            await page.send("POST", f"/workspaces/{control.workspace_id}/api-keys", {"description": hostile, "models": [name]}),
            await page.send("POST", "/invitations", {"email": email, "role": "viewer", "workspace_id": control.workspace_id}),
            await page.send(
                "POST",
                f"/accounts/{control.account_id}/increases",
                {"model": name, "rpm": 9, "minutes": 5, "reason": hostile},
            ),
        ]
        assert [reply.status_code for reply in made_by_them] == [201] * 5, [each.text for each in made_by_them]
    call = {"account_id": control.account_id, "workspace_id": control.workspace_id, "key_id": name[:40], "model": name}
    await store(services.engine, [entry(ids.call_id(now), control.clock.now, **call)])
    return person


async def test_hostile_text_is_text(control: Control) -> None:
    """What stands in a name, a description, a model, a reason, an agent or an address makes no element and no attribute."""
    person = await hostile_world(control, HOSTILE)
    shown = set()
    async with browser(control, person) as page:
        async for path, reply in pages(control, page, HOSTILE):
            assert found_in(reply.text) == [], path
            assert "<script>alert" not in reply.text, path
            if "&lt;img src=x" in reply.text or "&lt;imgsrc=x" in reply.text:
                shown.add(re.sub(r"llm-\w{16}", "WS", path.partition("?")[0]))
    assert {f"/console/w/WS/{name}" for name in PAGES} | {"/console/profile", "sign-in", "link"} <= shown


async def test_no_page_holds_a_key(control: Control, operator: Person) -> None:
    """The secret of a key, of an upstream or of the gateway stands in the HTML of no page; of a key only its masked form does."""
    made = (await control.post(f"/workspaces/{control.workspace_id}/api-keys", {"description": "one"})).json()
    upstream = {"base_url": "http://127.0.0.1:9/v1", "models": ["y"], "api_key": "the-credential"}
    assert (await control.post("/upstreams", upstream)).status_code == 201
    masked = False
    async with browser(control, operator) as page:
        for name, queries in PAGES.items():
            for query in queries:
                text = (await page.get(f"/console/w/{control.workspace_id}/{name}{query}")).text
                for secret in (made["key"], "the-credential", "fixed-secret", operator.secret, "admin-token-of", "pepper-of"):
                    assert secret not in text, (name, secret)
                masked = masked or made["masked"] in text
    assert masked
