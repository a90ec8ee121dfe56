"""Two accounts with people in every role, and fresh things in the first one for each request that may use them up."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from gateway.control import sessions as secrets
from gateway.domain import ids
from gateway.domain.credentials import KeyKind, generate
from gateway.domain.grants import KeyStatus, Limits
from gateway.domain.upstreams import Upstream
from gateway.storage.sql import grants, increases, keys, limits, links, upstreams
from gateway.storage.sql.engine import AsyncConnection, writing
from gateway.storage.sql.entries import store
from gateway.storage.sql.grants import GrantRow
from gateway.storage.sql.increases import IncreaseRow
from gateway.storage.sql.keys import KeyRow
from gateway.storage.sql.links import LinkKind, LinkRow
from gateway.storage.sql.upstreams import UpstreamRow
from tests.control.admin_api import TOKEN, Control
from tests.control.people_world import OPERATOR, Person, add_account, add_person, add_session, add_workspace, browser, held, owner
from tests.control.usage_rows import entry

SESAME = "sesame"
"""Stands in every name, description and address of the first account."""

QUINCE, PEAR = "quince", "pear"
"""Stand in those of its one workspace, and of the other."""


@dataclass
class Roles:
    """The first account with its two workspaces; `people` by the role that they have there."""

    control: Control
    account_id: str
    workspace_id: str
    other_id: str
    people: dict[str, Person] = field(default_factory=dict)
    count: int = 0

    async def make(self, what: str, actor: str) -> str:
        """The ID, or the name, of something in the workspace or its account that no other request knows."""
        self.count += 1
        makers: dict[str, Callable[[AsyncConnection], Awaitable[str]]] = {
            "key": self._key,
            "grant": self._grant,
            "limits": self._limits,
            "increase": self._increase,
            "invitation": self._invitation,
            "upstream": self._upstream,
        }
        if what in makers:
            async with writing(self.control.services.engine) as conn:
                made = await makers[what](conn)
            if what == "upstream":
                await self.control.upstreams.reload()
            return made
        if what == "model":
            name = f"model-{self.count}"
            assert (await self.control.put(f"/models/{name}", {"rpm": 10})).status_code == 201
            return name
        if what == "member":
            return (await add_person(self.control, held("viewer", self.account_id, self.workspace_id))).id
        if what == "session" and actor in self.people:
            return (await add_session(self.control, self.people[actor].user)).session_id
        return {"account": self.account_id, "workspace": self.workspace_id}.get(what, what)

    async def _key(self, conn: AsyncConnection) -> str:
        now, secret = self.control.services.now_ms(), generate(KeyKind.STANDARD, self.control.services.pepper)
        place = (self.account_id, self.workspace_id)
        row = KeyRow(ids.key_id(), *place, secret.masked, KeyKind.STANDARD, KeyStatus.ACTIVE, f"{SESAME} {QUINCE}", None, now)
        await keys.insert(conn, row, secret.digest)
        return row.id

    async def _grant(self, conn: AsyncConnection) -> str:
        await grants.put(conn, GrantRow(self.workspace_id, "served-model", Limits(rpm=5), 1, 1))
        return "served-model"

    async def _limits(self, conn: AsyncConnection) -> str:
        await limits.put(conn, self.account_id, "served-model", Limits(rpm=100), 1)
        return "served-model"

    async def _increase(self, conn: AsyncConnection) -> str:
        now = self.control.services.now_ms()
        row = IncreaseRow(
            ids.increase_id(), self.account_id, f"model-{self.count}", Limits(rpm=5), SESAME, SESAME, now, now + 10**9
        )
        await increases.insert(conn, row)
        return row.id

    async def _invitation(self, conn: AsyncConnection) -> str:
        now, given = self.control.services.now_ms(), held("viewer", self.account_id, self.workspace_id)
        email = f"{SESAME}.{QUINCE}{self.count}@example.com"
        row = LinkRow(ids.link_id(), LinkKind.INVITE, email, "admin token", now, now + 10**9, membership=given)
        await links.insert(conn, row, secrets.digest(self.control.services, secrets.new_secret()))
        return row.id

    async def _upstream(self, conn: AsyncConnection) -> str:
        made = Upstream(ids.upstream_id(), SESAME, "http://127.0.0.1:9/v1", api_key=None, models={"x": "x"}, source="database")
        await upstreams.insert(conn, UpstreamRow(made, 1, 1))
        return made.id

    async def ask(self, actor: str, method: str, path: str, query: Any = None, body: Any = None) -> httpx2.Response:
        """A request as the actor makes it: with the admin token, from a signed-in browser, or from one where nobody is."""
        if actor == "token":
            return await self.control.http.request(method, path, params=query, json=body)
        async with browser(self.control, self.people.get(actor)) as page:
            return await page.http.request(method, path, params=query, json=body)


async def make_roles(control: Control) -> Roles:
    """Everybody who may ask, with something of theirs in each place to be found by who must not."""
    account_id, _ = await add_account(control, f"{SESAME} account")
    one = await add_workspace(control, account_id, f"{SESAME} {QUINCE}")
    two = await add_workspace(control, account_id, f"{SESAME} {PEAR}")
    foreign, _ = await add_account(control, "Foreign")
    roles = Roles(control, account_id, one, two)
    for name, given, marks in (
        ("operator", (OPERATOR,), "op"),
        ("owner", (owner(account_id),), SESAME),
        ("account viewer", (held("viewer", account_id),), SESAME),
        ("admin", (held("admin", account_id, one),), f"{SESAME}.{QUINCE}"),
        ("member", (held("member", account_id, one),), f"{SESAME}.{QUINCE}"),
        ("viewer", (held("viewer", account_id, one),), f"{SESAME}.{QUINCE}"),
        ("neighbour", (held("admin", account_id, two),), f"{SESAME}.{PEAR}"),
        ("guest", (owner(foreign), held("viewer", account_id, one)), "guest"),
        ("stranger", (owner(foreign),), "stranger"),
        ("roleless", (), "roleless"),
    ):
        email = f"{marks}.{name.replace(' ', '-')}@example.com"
        roles.people[name] = await add_person(control, *given, email=email, name=email)
    for what in ("key", "grant", "limits", "increase", "invitation"):
        await roles.make(what, "operator")
    reply = await control.post(f"/workspaces/{two}/api-keys", {"description": f"{SESAME} {PEAR}"})
    assert reply.status_code == 201
    await _meter(roles)
    return roles


async def _meter(roles: Roles) -> None:
    """A call of each of the two workspaces, in the ledger: its model and its key bear the workspace's mark."""
    at, calls = roles.control.clock.now, []
    for workspace_id, mark in ((roles.workspace_id, QUINCE), (roles.other_id, PEAR)):
        place = {"account_id": roles.account_id, "workspace_id": workspace_id}
        calls.append(entry(ids.call_id(at), at, **place, key_id=f"ak-{SESAME}{mark}", model=f"{SESAME}-{mark}"))
    await store(roles.control.services.engine, calls)


__all__ = ["PEAR", "QUINCE", "SESAME", "TOKEN", "Roles", "make_roles"]
