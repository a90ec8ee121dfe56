"""Every address of the admin API and the console, asked by everybody there is: who gets what.

The tables are written by hand, from what docs/security.md says that each role may. They take nothing from the code that decides.
"""

import re
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from fastapi.routing import iter_route_contexts

from gateway.storage.sql.engine import create_engine
from tests.control.admin_api import opened
from tests.control.people_world import PASSWORD, quick_passwords
from tests.control.roles_world import PEAR, QUINCE, SESAME, Roles, make_roles

__all__ = ["quick_passwords"]

pytestmark = [
    pytest.mark.usefixtures("quick_passwords"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("roles"),
]

ACTORS = (
    "token",
    "operator",
    "owner",
    "account viewer",
    "admin",
    "member",
    "viewer",
    "guest",  # a viewer of the workspace, who owns another account
    "neighbour",  # an admin of another workspace of the same account
    "stranger",  # an owner of another account
    "roleless",  # somebody who can sign in, and has no role anywhere
    "nobody",
)
# What each gets, in the order of ACTORS: + what was asked for, 3 not allowed (403), 4 not even there (404), 1 who are you (401).
# Who has a right nowhere at all gets 403 whatever is named, so that this says nothing of what there is.
ANSWERS = {
    "known": "+++++++++++1",
    "a person": "3++++++++++1",
    "see the account": "+++++++++431",
    "see the workspace": "++++++++4431",
    "see something": "++++++++++31",
    "keys": "+++3++334431",
    "grants": "+++3+3334431",
    "members of the workspace": "+++3+3334431",
    "members of the account": "+++333333431",
    "members of the installation": "++3333333331",
    "workspaces of the account": "+++333333431",
    "audit": "+++3+33+++31",
    "audit of the workspace": "+++3+3334431",
    "operate": "++3333333331",
    # On pages, which belong to a workspace that one has to see first.
    "page of all the account's usage": "++++33334431",
    "page of the account": "+++333334431",
    "page of everything": "++3333334431",
}
UNSEEN = {
    "stranger": (SESAME,),
    "roleless": (SESAME,),
    "nobody": (SESAME,),
    "neighbour": (QUINCE,),
    "admin": (PEAR,),
    "member": (PEAR,),
    "viewer": (PEAR,),
    "guest": (PEAR,),
}
"""What must not be in any answer to somebody."""


@dataclass(frozen=True)
class Case:
    """A request that is right but for who makes it. `values` says what stands for the parts of the path, see `Roles.make`."""

    method: str
    path: str
    asks: str
    ok: int = 200
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    values: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.method, self.path, *self.query, self.asks])


_PARTS = {
    "account_id": "account",
    "workspace_id": "workspace",
    "key_id": "key",
    "model": "served-model",
    "user_id": "member",
    "link_id": "invitation",
    "increase_id": "increase",
    "session_id": "session",
    "upstream_id": "upstream",
}
_WORKSPACE, _ACCOUNT = {"workspace_id": "workspace"}, {"account_id": "account"}
_INVITE = {"email": "new@example.com", "role": "viewer"}
_UPSTREAM = {"base_url": "http://127.0.0.1:9/v1", "models": ["y"]}


def _admin(method: str, path: str, asks: str, ok: int = 200, **rest: Any) -> Case:
    return Case(method, f"/admin/v1{path}", asks, ok, **rest)


def _page(name: str, asks: str, **rest: Any) -> Case:
    return Case("GET", f"/console/w/{{workspace_id}}/{name}", asks, **rest)


CASES = [
    _admin("GET", "/accounts", "known"),
    _admin("POST", "/accounts", "operate", 201, body={"name": "New"}),
    _admin("GET", "/accounts/{account_id}", "see the account"),
    _admin("GET", "/accounts/{account_id}/limits", "see the account"),
    _admin("GET", "/accounts/{account_id}/limits/{model}", "see the account"),
    _admin("PUT", "/accounts/{account_id}/limits/{model}", "operate", body={"rpm": 100}),
    _admin("DELETE", "/accounts/{account_id}/limits/{model}", "operate", 204, values={"model": "limits"}),
    _admin("GET", "/accounts/{account_id}/increases", "see the account"),
    _admin(
        "POST",
        "/accounts/{account_id}/increases",
        "operate",
        201,
        body={"model": "model", "rpm": 20, "minutes": 5, "reason": "a test"},
    ),
    _admin("DELETE", "/accounts/{account_id}/increases/{increase_id}", "operate", 204),
    _admin("GET", "/accounts/{account_id}/live", "see the account"),
    _admin("GET", "/accounts/{account_id}/live/events", "see the account"),
    _admin("GET", "/workspaces", "see something"),
    _admin("POST", "/workspaces", "workspaces of the account", 201, body={"name": SESAME, **_ACCOUNT}),
    _admin("GET", "/workspaces/{workspace_id}", "see the workspace"),
    _admin("PATCH", "/workspaces/{workspace_id}", "workspaces of the account", body={"name": f"{SESAME} {QUINCE}"}),
    _admin("DELETE", "/workspaces/{workspace_id}", "see the workspace", 405),
    _admin("GET", "/workspaces/{workspace_id}/grants", "see the workspace"),
    _admin("PUT", "/workspaces/{workspace_id}/grants", "grants", body={"grants": [{"model": "served-model", "rpm": 5}]}),
    _admin("GET", "/workspaces/{workspace_id}/grants/{model}", "see the workspace", values={"model": "grant"}),
    _admin("PUT", "/workspaces/{workspace_id}/grants/{model}", "grants", body={"rpm": 5}, values={"model": "grant"}),
    _admin("DELETE", "/workspaces/{workspace_id}/grants/{model}", "grants", 204, values={"model": "grant"}),
    _admin("GET", "/workspaces/{workspace_id}/api-keys", "see the workspace"),
    _admin("POST", "/workspaces/{workspace_id}/api-keys", "keys", 201, body={"description": f"{SESAME} {QUINCE}"}),
    _admin("GET", "/api-keys/{key_id}", "see the workspace"),
    _admin("PATCH", "/api-keys/{key_id}", "keys", body={"description": f"{SESAME} {QUINCE}"}),
    _admin("DELETE", "/api-keys/{key_id}", "keys", 204),
    _admin("POST", "/api-keys/{key_id}/disable", "keys"),
    _admin("POST", "/api-keys/{key_id}/enable", "keys"),
    _admin("POST", "/api-keys/{key_id}/reset", "keys"),
    _admin("GET", "/models", "known"),
    _admin("GET", "/models/{model}", "known"),
    _admin("PUT", "/models/{model}", "operate", body={"rpm": 5}, values={"model": "model"}),
    _admin("DELETE", "/models/{model}", "operate", 204, values={"model": "model"}),
    _admin("GET", "/upstreams", "operate"),
    _admin("POST", "/upstreams", "operate", 201, body=_UPSTREAM),
    _admin("GET", "/upstreams/{upstream_id}", "operate"),
    _admin("PATCH", "/upstreams/{upstream_id}", "operate", body={"weight": 2}),
    _admin("DELETE", "/upstreams/{upstream_id}", "operate", 204),
    _admin("POST", "/upstreams/{upstream_id}/test", "operate", body={"model": "x"}),
    _admin("GET", "/usage", "see something"),
    _admin("GET", "/usage", "see something", query=_ACCOUNT),
    _admin("GET", "/usage", "see something", query={**_WORKSPACE, "group_by": "key"}),
    _admin("GET", "/usage", "see something", query={**_WORKSPACE, "format": "csv"}),
    _admin("GET", "/usage/series", "see something", query=_WORKSPACE),
    _admin("GET", "/audit", "audit", query={"limit": "1000"}),
    _admin("GET", "/audit", "audit", query={"format": "csv"}),
    _admin("GET", "/audit", "audit", query=_WORKSPACE),
    _admin("GET", "/me", "known"),
    _admin("PATCH", "/me", "a person", 204, body={"name": "A new name"}),
    _admin("POST", "/me/password", "a person", 204, body={"current": PASSWORD, "new": PASSWORD}),
    _admin("GET", "/me/sessions", "a person"),
    _admin("DELETE", "/me/sessions/{session_id}", "a person", 204),
    _admin("GET", "/members", "members of the installation"),
    _admin("GET", "/members", "members of the account", query=_ACCOUNT),
    _admin("GET", "/members", "members of the workspace", query=_WORKSPACE),
    _admin("PATCH", "/members/{user_id}", "members of the workspace", body={"role": "viewer", **_WORKSPACE}),
    _admin("DELETE", "/members/{user_id}", "members of the workspace", 204, query=_WORKSPACE),
    _admin("GET", "/invitations", "members of the installation"),
    _admin("GET", "/invitations", "members of the account", query=_ACCOUNT),
    _admin("GET", "/invitations", "members of the workspace", query=_WORKSPACE),
    _admin("POST", "/invitations", "members of the installation", 201, body={**_INVITE, "role": "operator"}),
    _admin("POST", "/invitations", "members of the account", 201, body={**_INVITE, **_ACCOUNT}),
    _admin("POST", "/invitations", "members of the workspace", 201, body={**_INVITE, **_WORKSPACE}),
    _admin("DELETE", "/invitations/{link_id}", "members of the workspace", 204),
    _admin("GET", "/users", "operate"),
    _admin("GET", "/users/{user_id}", "operate"),
    _admin("PATCH", "/users/{user_id}", "operate", body={"status": "disabled"}),
    _admin("POST", "/users/{user_id}/reset-link", "operate", 201),
    _admin("DELETE", "/users/{user_id}/sessions", "operate"),
    Case("GET", "/console/", "known", 303),
    Case("GET", "/console/profile", "a person"),
    _page("keys", "see the workspace"),
    _page("usage", "see the workspace"),
    _page("usage", "page of all the account's usage", query={"scope": "account"}),
    _page("usage", "page of everything", query={"scope": "all"}),
    _page("workspaces", "see the workspace"),
    _page("edit", "see the workspace"),
    _page("limits", "see the workspace"),
    _page("limits", "see the workspace", query={"show": "increases"}),
    _page("limits", "see the workspace", query={"show": "live"}),
    _page("members", "members of the workspace"),
    _page("members", "page of the account", query={"scope": "account"}),
    _page("members", "page of everything", query={"scope": "all"}),
    _page("audit", "audit of the workspace"),
    _page("audit", "page of the account", query={"scope": "account"}),
    _page("audit", "page of everything", query={"scope": "all"}),
    _page("models", "operate"),
    _page("upstreams", "operate"),
    _page("accounts", "operate"),
    _page("people", "operate"),
]
PUBLIC = {
    ("GET", "/admin/v1/openapi.json"),
    ("GET", "/admin/v1/docs"),
    ("GET", "/admin/v1/docs/style.css"),
    ("GET", "/console/static/{digest}/{name}"),
    ("GET", "/console"),
    ("GET", "/console/sign-in"),
    ("POST", "/console/sign-in"),
    ("POST", "/console/sign-out"),
    ("GET", "/console/link/{secret}"),
    ("POST", "/console/link/{secret}"),
}
"""What nobody has to be known for: how to get in, and what the API is like."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roles(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Roles]:
    path = tmp_path_factory.mktemp("roles") / "gateway.db"
    shutil.copy(migrated, path)
    engine = create_engine(f"sqlite+aiosqlite:///{path}")
    async with opened(engine, keys_per_workspace=10_000, workspaces_per_account=10_000) as control:
        yield await make_roles(control)
    await engine.dispose()


async def asked(roles: Roles, case: Case, actor: str, values: Mapping[str, str] | None = None) -> httpx2.Response:
    """What an actor gets. `values` stand for parts of the path, in place of things that there are."""

    async def made(what: Any) -> Any:
        if isinstance(what, dict):
            return {key: await made(value) if key in (*_PARTS, "grants") else value for key, value in what.items()}
        return await roles.make(what, actor) if isinstance(what, str) else what

    parts = {name: case.values.get(name, _PARTS[name]) for name in re.findall(r"{(\w+)}", case.path)}
    filled = dict(values) if values is not None else {name: await made(what) for name, what in parts.items()}
    path = re.sub(r"{(\w+)}", lambda part: filled[part[1]], case.path)
    return await roles.ask(actor, case.method, path, await made(dict(case.query)), await made(case.body))


def expected(case: Case, actor: str) -> int:
    answer = ANSWERS[case.asks][ACTORS.index(actor)]
    if answer == "1":
        return 303 if case.path.startswith("/console") else 401
    return {"+": case.ok, "3": 403, "4": 404}[answer]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_everybody_asks(roles: Roles, case: Case) -> None:
    """Each of twelve actors gets what the table says of this address, and nothing that is not for them."""
    for actor in ACTORS:
        reply = await asked(roles, case, actor)
        wanted = expected(case, actor)
        if case.path == "/console/" and actor == "roleless":
            wanted = 200  # a page that says how to get a role
        assert reply.status_code == wanted, f"{actor}: {reply.text[:500]}"
        if wanted == 303 and actor == "nobody":
            assert reply.headers["location"].startswith("/console/sign-in?next=")
        for mark in UNSEEN.get(actor, ()):
            assert mark not in reply.text, f"{actor} is shown {mark}"
        if actor in ("stranger", "roleless", "nobody"):
            assert roles.account_id not in reply.text
            assert roles.workspace_id not in reply.text


@pytest.mark.parametrize("case", [case for case in CASES if "4" in ANSWERS[case.asks] and "{" in case.path], ids=str)
async def test_what_is_not_seen_is_as_if_it_were_not_there(roles: Roles, case: Case) -> None:
    """Whoever does not see something cannot tell it from what does not exist: status and words are the same."""
    prefixes = {"account_id": "acc-", "workspace_id": "llm-", "key_id": "ak-", "user_id": "usr-", "link_id": "lnk-"}
    made_up = {name: f"{prefix}0123456789abcdef" for name, prefix in prefixes.items()} | {"model": "served-model"}
    found, none = await asked(roles, case, "stranger"), await asked(roles, case, "stranger", made_up)
    assert found.status_code == none.status_code == 404
    if case.path.startswith("/admin") and not case.query and case.body is None:
        assert found.json()["detail"] == none.json()["detail"]


async def test_every_route_is_in_the_table(roles: Roles) -> None:
    """An address that no row of the table is about fails here: say who may use it before anybody does."""
    served = {
        (method, context.path_format)
        for context in iter_route_contexts(roles.control.app.routes)
        for method in context.methods or ()
    }
    assert served == {(case.method, case.path) for case in CASES} | PUBLIC


async def test_lists_show_what_one_sees(roles: Roles) -> None:
    """Lists hold what is in one's own places, and all of that: an empty list would pass the walk too."""
    for actor, marks in {
        "operator": {SESAME, QUINCE, PEAR, "Foreign"},
        "owner": {SESAME, QUINCE, PEAR},
        "account viewer": {SESAME, QUINCE, PEAR},
        "admin": {SESAME, QUINCE},
        "viewer": {SESAME, QUINCE},
        "neighbour": {SESAME, PEAR},
        "stranger": {"Foreign"},
        "roleless": set(),
    }.items():
        text = "".join(
            [(await roles.ask(actor, "GET", f"/admin/v1/{path}")).text for path in ("accounts", "workspaces?limit=1000")]
        )
        assert {mark for mark in (SESAME, QUINCE, PEAR, "Foreign") if mark in text} == marks, actor
    rows = (await roles.ask("neighbour", "GET", "/admin/v1/audit")).json()["data"]
    assert {row["workspace_id"] for row in rows} == {roles.other_id}
    assert (await roles.ask("guest", "GET", "/admin/v1/audit")).json()["data"] == []
    for actor, calls in {"owner": 2, "account viewer": 2, "viewer": 1, "guest": 1, "neighbour": 1, "stranger": 0}.items():
        assert (await roles.ask(actor, "GET", "/admin/v1/usage")).json()["total"]["calls"] == calls, actor


async def test_names_of_another_account_open_nothing(roles: Roles) -> None:
    """Naming one's own account beside somebody else's workspace, or the other way around, gives nothing of either."""
    mine = (await roles.ask("stranger", "GET", "/admin/v1/accounts")).json()["data"][0]["id"]
    own = (await roles.ask("stranger", "GET", "/admin/v1/workspaces")).json()["data"][0]["id"]
    for place in (
        {"account_id": mine, "workspace_id": roles.workspace_id},
        {"account_id": roles.account_id, "workspace_id": own},
    ):
        for path in ("members", "invitations"):
            reply = await roles.ask("stranger", "GET", f"/admin/v1/{path}", place)
            assert reply.status_code in (400, 404), reply.text
            assert SESAME not in reply.text
        for path in ("usage", "usage/series", "audit"):
            reply = await roles.ask("stranger", "GET", f"/admin/v1/{path}", place)
            assert reply.json()["data"] == []
        reply = await roles.ask("stranger", "POST", "/admin/v1/invitations", body={**_INVITE, **place})
        assert reply.status_code in (400, 404)
