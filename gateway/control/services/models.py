"""Models of the catalogue: what an operator stored of them, and those that upstreams serve besides."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_name, cut
from gateway.control.ports import UpstreamState
from gateway.control.problems import NotFound
from gateway.control.services.audit import record
from gateway.control.services.checks import refuse, saved, shown
from gateway.domain.grants import NO_LIMITS, Limits, check_limits
from gateway.domain.roles import INSTALLATION, Right
from gateway.storage.sql import catalogue_models, grants
from gateway.storage.sql.catalogue_models import ModelRow
from gateway.storage.sql.engine import reading

NO_TYPE = "none"
"""In filters: a model of which nobody said what it is for."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model with what is stored of it: `row` is None where it is known only because an upstream serves it.

    `owned_by` is what the data plane's `GET models` says; None where this process has not taken the model up yet. `served_by` are
    the enabled upstreams that serve it; `grants` counts the workspaces that it is granted to, None for who may not know.
    """

    name: str
    type: str | None
    vendor: str | None
    row: ModelRow | None
    owned_by: str | None
    served_by: tuple[UpstreamState, ...] = ()
    grants: int | None = None

    @property
    def healthy(self) -> int:
        """How many of the upstreams that serve it are well."""
        return sum(state.state == "healthy" for state in self.served_by)

    @property
    def limits(self) -> Limits:
        """The limits that are stored with the model, without the settings' defaults."""
        return NO_LIMITS if self.row is None else self.row.limits


async def _known(services: Services) -> dict[str, KnownModel]:
    """All models by name. The database is read anew: it is the authority on what is stored."""
    async with reading(services.engine) as conn:
        rows = await catalogue_models.every(conn)
    known = {
        model.name: KnownModel(model.name, model.type, model.vendor, None, owner) for model, owner in services.catalogue.models()
    }
    for name, row in rows.items():
        owner = known[name].owned_by if name in known else None
        known[name] = KnownModel(name, row.type, row.vendor, row, owner)
    return known


async def require_known(services: Services, name: str) -> None:
    """Raises NotFound for a model that neither the database nor any upstream knows; asks the upstreams once more before."""
    if services.catalogue.model(name) is not None:
        return
    async with reading(services.engine) as conn:
        stored = await catalogue_models.get(conn, name)
    if stored is None and await services.catalogue.discover(name) is None:
        raise NotFound(
            "The catalogue has no such model, and no upstream lists it; add it to an upstream, or PUT /admin/v1/models/{model}."
        )


async def known_among(services: Services, names: Iterable[str]) -> frozenset[str]:
    """Those of the names that the database or an upstream knows; asks the upstreams once more for the others."""
    async with reading(services.engine) as conn:
        stored = await catalogue_models.every(conn)
    known = set()
    for name in names:
        # The upstreams bound how often they are asked, so that many unknown names cost no more than one.
        if name in stored or services.catalogue.model(name) is not None or await services.catalogue.discover(name) is not None:
            known.add(name)
    return frozenset(known)


async def _whole(services: Services, caller: Caller, models: Iterable[KnownModel]) -> list[KnownModel]:
    """The models with who serves them, and their grants for who manages the catalogue: tenants learn nothing of each other."""
    found = list(models)
    served: dict[str, list[UpstreamState]] = {}
    for state in services.upstreams.states():
        if state.upstream.enabled:
            for name in state.models:
                served.setdefault(name, []).append(state)
    counts: Mapping[str, int] | None = None
    if caller.identity.may(Right.MANAGE_CATALOGUE, INSTALLATION):
        async with reading(services.engine) as conn:
            counts = await grants.count_by_model(conn, [model.name for model in found])
    return [
        replace(
            model,
            served_by=tuple(served.get(model.name, ())),
            grants=None if counts is None else counts.get(model.name, 0),
        )
        for model in found
    ]


def _is_wanted(model: KnownModel, search: str, vendor: str | None, kind: str | None) -> bool:
    found = search in model.name.casefold() or search in (model.vendor or "").casefold()
    return found and vendor in (None, model.vendor) and kind in (None, model.type or NO_TYPE)


async def find(
    services: Services,
    caller: Caller,
    *,
    limit: int,
    cursor: str | None,
    search: str | None = None,
    vendor: str | None = None,
    kind: str | None = None,
) -> Page[KnownModel]:
    """Models by name, all or those that are wanted: `search` is a part of the name or of the vendor, `kind` a type or NO_TYPE.

    Raises BadRequest for a wrong cursor.
    """
    caller.require_signed_in()
    after = after_name(cursor)
    known = await _known(services)
    part = (search or "").casefold()
    rows = [
        known[name] for name in sorted(known) if (after is None or name > after) and _is_wanted(known[name], part, vendor, kind)
    ]
    page = cut(rows, limit, lambda row: row.name)
    return Page(await _whole(services, caller, page.rows), page.next_cursor)


async def vendors(services: Services, caller: Caller) -> list[str]:
    """All vendors that a model names, by name."""
    caller.require_signed_in()
    return sorted({model.vendor for model in (await _known(services)).values() if model.vendor}, key=str.casefold)


async def get(services: Services, caller: Caller, name: str) -> KnownModel:
    """Raises NotFound."""
    caller.require_signed_in()
    await require_known(services, name)
    known = (await _known(services)).get(name)
    if known is None:
        raise NotFound("The catalogue has no such model.")
    return (await _whole(services, caller, [known]))[0]


async def put(
    services: Services, caller: Caller, name: str, *, limits: Limits, kind: str | None, vendor: str | None
) -> tuple[KnownModel, bool]:
    """Store what is said of a model, in place of what was; answers it and whether it is new here. Raises BadRequest."""
    caller.require(Right.MANAGE_CATALOGUE)
    refuse(check_limits(limits))
    async with services.policy.change_catalogue() as conn:
        before = await catalogue_models.get(conn, name)
        now = services.now_ms()
        row = ModelRow(name, kind, vendor, limits, now if before is None else before.created_at, now)
        await catalogue_models.put(conn, row)
        await record(
            conn, services, caller, "model.set", name, before=None if before is None else _shown(before), after=_shown(row)
        )
    with saved():
        await services.catalogue.reload()
        return await get(services, caller, name), before is None


async def delete(services: Services, caller: Caller, name: str) -> None:
    """Forget what is stored of a model, and every workspace's grant of it. Raises NotFound.

    An account's own limits for it stay: should an upstream serve it still or again, they hold at once, rather than none.
    """
    caller.require(Right.MANAGE_CATALOGUE)
    async with services.policy.change_catalogue() as conn:
        before = await catalogue_models.get(conn, name)
        if before is None:
            raise NotFound("Nothing is stored of this model; one that an upstream serves goes when the upstream does.")
        gone = await grants.delete_of_model(conn, name)
        await catalogue_models.delete(conn, name)
        await record(conn, services, caller, "model.delete", name, before={**_shown(before), "grants": gone})
    with saved():
        await services.catalogue.reload()


def _shown(row: ModelRow) -> dict[str, Any]:
    return {"type": row.type, "vendor": row.vendor, **shown(row.limits)}
