"""Upstream servers. Those of settings and the demo are shown, and changed where they are set. A credential goes in, never out.

Deployments are not under the policy epoch (admission.md, epochs, rule 7), so a change here raises none.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_name, cut
from gateway.control.ports import UpstreamState
from gateway.control.problems import BadRequest, Conflict, NotFound
from gateway.control.services.audit import record
from gateway.control.services.checks import saved
from gateway.domain import ids
from gateway.domain.roles import Right
from gateway.domain.upstreams import Upstream
from gateway.storage.sql import upstreams
from gateway.storage.sql.engine import AsyncConnection, reading, writing
from gateway.storage.sql.upstreams import UpstreamRow

_PORTS = {"http": 80, "https": 443}
_ENTER_ANEW = (
    "The base URL names another server than the one that the credential was entered for; enter the credential anew, or remove it "
    "(null)."
)


@dataclass(frozen=True, slots=True)
class KnownUpstream:
    """An upstream with its state in this process. `row` is None for one of settings or the demo."""

    upstream: Upstream
    state: UpstreamState | None
    row: UpstreamRow | None

    @property
    def serves(self) -> Sequence[str]:
        """The public names of its models, by name, as far as they are known here."""
        return sorted(self.upstream.models) if self.state is None else self.state.models

    @property
    def place(self) -> str:
        """Where it stands in lists: those of settings and the demo first, then by name."""
        return f"{self.row is not None:d}{self.upstream.name.casefold()}\n{self.upstream.id}"


async def _in_use(services: Services) -> None:
    """Take a committed change into use in this process. Raises SavedNotInForce."""
    with saved():
        await services.upstreams.reload()
        await services.catalogue.reload()


async def create(services: Services, caller: Caller, upstream: Upstream) -> KnownUpstream:
    """Store a new upstream (its `id` and `source` are set here) and take it into use. Raises SavedNotInForce."""
    caller.require(Right.MANAGE_CATALOGUE)
    now = services.now_ms()
    new = replace(upstream, id=ids.upstream_id(), source="database")
    async with writing(services.engine) as conn:
        await upstreams.insert(conn, UpstreamRow(new, now, now))
        await record(conn, services, caller, "upstream.create", new.id, after=_shown(new))
    await _in_use(services)
    return await get(services, caller, new.id)


async def _known(services: Services) -> dict[str, KnownUpstream]:
    async with reading(services.engine) as conn:
        rows = {row.upstream.id: row for row in await upstreams.every(conn)}
    known = {
        state.upstream.id: KnownUpstream(state.upstream, state, None)
        for state in services.upstreams.states()
        if state.upstream.source != "database"
    }
    states = {state.upstream.id: state for state in services.upstreams.states()}
    return known | {key: KnownUpstream(row.upstream, states.get(key), row) for key, row in rows.items() if key not in known}


async def find(
    services: Services, caller: Caller, *, limit: int, cursor: str | None, search: str | None = None
) -> Page[KnownUpstream]:
    """Upstreams by name, those of settings and the demo first; `search` is a part of the name or of the base URL.

    Raises BadRequest for a wrong cursor, Forbidden.
    """
    caller.require(Right.MANAGE_CATALOGUE)
    after = after_name(cursor)
    part = (search or "").casefold()
    rows = [
        known
        for known in sorted((await _known(services)).values(), key=lambda known: known.place)
        if (after is None or known.place > after)
        and (part in known.upstream.name.casefold() or part in known.upstream.base_url.casefold())
    ]
    return cut(rows, limit, lambda row: row.place)


async def get(services: Services, caller: Caller, upstream_id: str) -> KnownUpstream:
    """Raises NotFound, Forbidden."""
    caller.require(Right.MANAGE_CATALOGUE)
    found = (await _known(services)).get(upstream_id)
    if found is None:
        raise NotFound("There is no upstream of this ID.")
    return found


@asynccontextmanager
async def _change(services: Services, upstream_id: str) -> AsyncIterator[tuple[AsyncConnection, UpstreamRow]]:
    """A transaction that holds the upstream's row. Raises NotFound; Conflict for an upstream that is not stored here."""
    fixed = next((state.upstream for state in services.upstreams.states() if state.upstream.id == upstream_id), None)
    if fixed is not None and fixed.source == "demo":
        raise Conflict("This is the built-in demo upstream; it goes when another upstream is set, by GATEWAY_UPSTREAM_BASE_URL.")
    if fixed is not None and fixed.source != "database":
        raise Conflict("This upstream is set in gateway.toml or by GATEWAY_UPSTREAM_BASE_URL; change it there and start anew.")
    async with writing(services.engine) as conn:
        row = await upstreams.get(conn, upstream_id, lock=True)
        if row is None:
            raise NotFound("There is no upstream of this ID.")
        yield conn, row


async def change(services: Services, caller: Caller, upstream_id: str, fields: Mapping[str, Any]) -> KnownUpstream:
    """Change the fields of `domain.upstreams.Upstream` that are named. Raises NotFound, Conflict, SavedNotInForce, BadRequest.

    A credential goes to no other server than the one that it was entered for: whoever could send it elsewhere could read it.
    """
    caller.require(Right.MANAGE_CATALOGUE)
    async with _change(services, upstream_id) as (conn, row):
        new = replace(row.upstream, **fields)
        if new.api_key is not None and "api_key" not in fields and _server(new) != _server(row.upstream):
            raise BadRequest.field("api_key", _ENTER_ANEW)
        await upstreams.update(conn, new, services.now_ms())
        before, after = _shown(row.upstream), _shown(new)
        if new.api_key != row.upstream.api_key:
            after["api_key"] = "changed"
        await record(conn, services, caller, "upstream.update", upstream_id, before=before, after=after)
    await _in_use(services)
    return await get(services, caller, upstream_id)


async def delete(services: Services, caller: Caller, upstream_id: str) -> None:
    """Raises NotFound, Forbidden, Conflict, SavedNotInForce."""
    caller.require(Right.MANAGE_CATALOGUE)
    async with _change(services, upstream_id) as (conn, row):
        await upstreams.delete(conn, upstream_id)
        await record(conn, services, caller, "upstream.delete", upstream_id, before=_shown(row.upstream))
    await _in_use(services)


def _server(upstream: Upstream) -> tuple[str, str | None, int | None]:
    """Scheme, host and port."""
    parts = urlsplit(upstream.base_url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _shown(upstream: Upstream) -> dict[str, Any]:
    """What may be shown of an upstream: everything but its credential."""
    return {
        "name": upstream.name,
        "base_url": upstream.base_url,
        "has_api_key": upstream.api_key is not None,
        "models": dict(upstream.models),
        "lists_models": upstream.lists_models,
        "weight": upstream.weight,
        "enabled": upstream.enabled,
    }
