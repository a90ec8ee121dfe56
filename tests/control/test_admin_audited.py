"""Each change and its row of the audit trail are one transaction: asked of every route that changes anything."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from fastapi.routing import iter_route_contexts

from gateway.control.sessions import csrf_token
from gateway.storage.sql import audit
from gateway.storage.sql.audit import AuditRow
from gateway.storage.sql.engine import AsyncConnection, AsyncEngine, reading
from gateway.storage.sql.increases import end_due
from gateway.storage.sql.tables import metadata
from tests.control.admin_api import Control
from tests.control.people_world import OPERATOR, PASSWORD, Person, add_person, browser, held, quick_passwords

__all__ = ["quick_passwords"]

pytestmark = pytest.mark.usefixtures("quick_passwords")

ADMIN = "/admin/v1"
SECRET = "credential-of-an-upstream"
NEW_PASSWORD = "another correct horse"
READ_ONLY = {
    f"DELETE {ADMIN}/workspaces/{{workspace_id}}",  # always refused
}
UNTOLD = {"throttles"}
"""Tables that no change is told of: failed attempts to sign in are counted whatever comes of them."""


@dataclass(frozen=True)
class Change:
    """A request that is a change. Without a person it comes with the admin token; `form` is a plain HTML form's."""

    path: str
    body: object = None
    person: Person | None = None
    form: dict[str, str] | None = None


@dataclass
class World:
    """One of everything, to be changed; `secrets` must never be told."""

    control: Control
    ids: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=lambda: {SECRET, NEW_PASSWORD, PASSWORD})

    async def make(self, name: str, path: str, body: object) -> None:
        made = (await self.control.post(path, body)).json()
        self.ids[name] = made["id"]
        if "path" in made:
            self.ids[f"{name}_secret"] = made["path"].rpartition("/")[2]
        self.secrets |= {made[name] for name in ("key", "path", "url") if made.get(name)}


async def build(control: Control) -> tuple[World, Person, Person]:
    world = World(control)
    await add_person(control, OPERATOR)
    operator = await add_person(control, OPERATOR)
    workspace = await control.sub_workspace()
    member = await add_person(control, held("member", control.account_id, workspace))
    world.ids |= {"workspace": workspace, "account": control.account_id, "member": member.id}
    world.secrets |= {operator.secret, member.secret}
    for name in ("m", "old"):
        await control.put(f"/models/{name}", {"rpm": 9})
        await control.put(f"/workspaces/{workspace}/grants/{name}", {"rpm": 3})
        await control.put(f"/accounts/{control.account_id}/limits/{name}", {"rpm": 8})
    await world.make("key", f"/workspaces/{workspace}/api-keys", {"description": "kept"})
    await world.make("disabled", f"/workspaces/{workspace}/api-keys", {})
    await control.post(f"/api-keys/{world.ids['disabled']}/disable")
    await world.make("upstream", "/upstreams", {"base_url": "http://h", "models": ["u"], "api_key": SECRET})
    increase = {"model": "m", "rpm": 20, "minutes": 5, "reason": "a test"}
    await world.make("increase", f"/accounts/{control.account_id}/increases", increase)
    place = {"role": "viewer", "workspace_id": workspace}
    await world.make("invitation", "/invitations", {"email": "new@example.com", **place})
    await world.make("withdrawn", "/invitations", {"email": "other@example.com", **place})
    await world.make("reset", f"/users/{member.id}/reset-link", None)
    return world, operator, member


def changes(world: World, operator: Person, member: Person) -> dict[str, list[Change]]:
    """By route, in an order in which each of them still finds what it changes."""
    at = world.ids
    workspace, account, key, upstream = at["workspace"], at["account"], at["key"], at["upstream"]
    place = {"workspace_id": workspace}
    found = {
        "POST /accounts": Change("/accounts", {"name": "x"}),
        "POST /workspaces": Change("/workspaces", {"name": "x"}),
        "PATCH /workspaces/{workspace_id}": Change(f"/workspaces/{workspace}", {"name": "x"}),
        "POST /workspaces/{workspace_id}/api-keys": Change(f"/workspaces/{workspace}/api-keys", {}),
        "PATCH /api-keys/{key_id}": Change(f"/api-keys/{key}", {"description": "x"}),
        "POST /api-keys/{key_id}/disable": Change(f"/api-keys/{key}/disable"),
        "POST /api-keys/{key_id}/enable": Change(f"/api-keys/{at['disabled']}/enable"),
        "POST /api-keys/{key_id}/reset": Change(f"/api-keys/{key}/reset"),
        "DELETE /api-keys/{key_id}": Change(f"/api-keys/{key}"),
        "PUT /workspaces/{workspace_id}/grants/{model}": Change(f"/workspaces/{workspace}/grants/m", {"rpm": 1}),
        "PUT /workspaces/{workspace_id}/grants": Change(
            f"/workspaces/{workspace}/grants", {"grants": [{"model": "m", "rpm": 2}]}
        ),
        "DELETE /workspaces/{workspace_id}/grants/{model}": Change(f"/workspaces/{workspace}/grants/m"),
        "PUT /accounts/{account_id}/limits/{model}": Change(f"/accounts/{account}/limits/m", {"rpm": 7}),
        "DELETE /accounts/{account_id}/limits/{model}": Change(f"/accounts/{account}/limits/m"),
        "POST /accounts/{account_id}/increases": Change(
            f"/accounts/{account}/increases", {"model": "old", "rpm": 30, "minutes": 5, "reason": "x"}
        ),
        "DELETE /accounts/{account_id}/increases/{increase_id}": Change(f"/accounts/{account}/increases/{at['increase']}"),
        "PUT /models/{model}": Change("/models/m", {"rpm": 4}),
        "DELETE /models/{model}": Change("/models/old"),
        "POST /upstreams": Change("/upstreams", {"base_url": "http://h", "models": ["u"], "api_key": SECRET}),
        "PATCH /upstreams/{upstream_id}": Change(f"/upstreams/{upstream}", {"weight": 2, "api_key": SECRET}),
        "POST /upstreams/{upstream_id}/test": Change(f"/upstreams/{upstream}/test", {"model": "u"}),
        "DELETE /upstreams/{upstream_id}": Change(f"/upstreams/{upstream}"),
        "POST /invitations": Change("/invitations", {"email": "third@example.com", "role": "viewer", **place}),
        "DELETE /invitations/{link_id}": Change(f"/invitations/{at['withdrawn']}"),
        "PATCH /me": Change("/me", {"name": "x"}, operator),
        "POST /me/password": Change("/me/password", {"current": PASSWORD, "new": NEW_PASSWORD}, operator),
        "DELETE /me/sessions/{session_id}": Change(f"/me/sessions/{operator.session_id}", person=operator),
        "PATCH /members/{user_id}": Change(f"/members/{member.id}", {"role": "admin", **place}),
        "DELETE /members/{user_id}": Change(f"/members/{member.id}?workspace_id={workspace}"),
        "POST /users/{user_id}/reset-link": Change(f"/users/{operator.id}/reset-link"),
    }
    return {f"{route.replace(' ', f' {ADMIN}')}": [change] for route, change in found.items()} | people_changes(world, member)


def people_changes(world: World, member: Person) -> dict[str, list[Change]]:
    """What people do with plain forms, and what ends their sessions."""
    at = world.ids
    sign_in = {"email": member.email, "password": PASSWORD}
    return {
        "POST /console/sign-out": [Change("/console/sign-out", person=member, form={"csrf": csrf_token(member.secret)})],
        "POST /console/sign-in": [Change("/console/sign-in", form=sign_in)],
        "POST /console/link/{secret}": [
            Change(f"/console/link/{at['invitation_secret']}", form={"name": "New", "password": NEW_PASSWORD}),
            Change(f"/console/link/{at['reset_secret']}", form={"password": NEW_PASSWORD}),
        ],
        f"DELETE {ADMIN}/users/{{user_id}}/sessions": [Change(f"/users/{member.id}/sessions")],
        f"PATCH {ADMIN}/users/{{user_id}}": [Change(f"/users/{member.id}", {"status": "disabled"})],
    }


async def make(control: Control, method: str, change: Change) -> httpx2.Response:
    if change.form is None and change.person is None:
        return await control.http.request(method, f"{ADMIN}{change.path}", json=change.body)
    async with browser(control, change.person) as page:
        if change.form is not None:
            return await page.form(change.path, None, **change.form)
        return await page.send(method, change.path, change.body)


async def everything(engine: AsyncEngine) -> dict[str, list[Any]]:
    """All rows of all tables."""
    async with reading(engine) as conn:
        return {
            table.name: sorted(map(repr, await conn.execute(sa.select(table))))
            for table in metadata.sorted_tables
            if table.name not in UNTOLD
        }


def writing_routes(control: Control) -> Iterator[str]:
    for context in iter_route_contexts(control.app.routes):
        for method in sorted(set(context.methods or ()) - {"GET", "HEAD"}):
            yield f"{method} {context.path_format}"


def requests(found: Mapping[str, list[Change]]) -> Iterator[tuple[str, Change]]:
    return ((route, change) for route, some in found.items() for change in some)


async def test_no_change_without_its_audit_row(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every route that changes anything, nothing is changed when its row of the audit trail cannot be written."""
    world, operator, member = await build(control)
    found = changes(world, operator, member)
    assert set(found) | READ_ONLY == set(writing_routes(control)), "tell here how each route that changes something is called"
    control.clock.step = 0
    before = await everything(control.services.engine)
    control.epochs.raised.clear()
    insert = audit.insert
    told: list[str] = []

    async def insert_and_fail(conn: AsyncConnection, *rows: AuditRow) -> None:
        await insert(conn, *rows)
        told.extend(row.action for row in rows)
        raise RuntimeError("after the audit row")

    monkeypatch.setattr(audit, "insert", insert_and_fail)
    for route, change in requests(found):
        told.clear()
        reply = await make(control, route.partition(" ")[0], change)
        assert (reply.status_code, len(told) > 0) == (500, True), f"{route}: {reply.text}"
        assert await everything(control.services.engine) == before, route
    assert control.epochs.raised == []
    with pytest.raises(RuntimeError, match="after the audit row"):
        await end_due(control.services.policy, control.services.engine, control.clock() + 10**9)
    assert await everything(control.services.engine) == before


async def test_every_change_is_told_and_no_secret_with_it(control: Control) -> None:
    """Each change writes who made it, from where, and to what; and none of its rows holds anything that opens something."""
    world, operator, member = await build(control)
    for route, change in requests(changes(world, operator, member)):
        before = len((await everything(control.services.engine))["audit"])
        reply = await make(control, route.partition(" ")[0], change)
        assert reply.status_code < 400, f"{route}: {reply.text}"
        world.secrets |= set(httpx2.Cookies(reply.cookies).values())
        if reply.content and reply.headers["content-type"] == "application/json":
            world.secrets |= {str(reply.json()[name]) for name in ("key", "path", "url") if reply.json().get(name)}
        assert len((await everything(control.services.engine))["audit"]) > before, route
    rows = (await control.get("/audit", params={"limit": 1000})).json()["data"]
    assert all(row["actor"] and row["client"] and row["target"] for row in rows)
    told = repr(rows) + (await control.get("/audit", params={"format": "csv"})).text
    assert [secret for secret in world.secrets if secret in told or secret.rpartition("/")[2] in told] == []
