"""Account-level limits: an account's own come before the model's, and these before the defaults of the settings. A temporary
increase comes before all of them while it is open.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from gateway.control.context import Caller, Services
from gateway.control.etags import UNCONDITIONAL, Conditions, TaggedPage, tag
from gateway.control.paging import after_name, cut
from gateway.control.problems import Conflict, NotFound
from gateway.control.services import accounts, models
from gateway.control.services.audit import record
from gateway.control.services.checks import refuse, shown
from gateway.domain.grants import NO_LIMITS, Limits, check_limits
from gateway.domain.roles import Place, Right
from gateway.storage.sql import catalogue_models, grants, increases
from gateway.storage.sql import limits as stored
from gateway.storage.sql.engine import AsyncConnection, reading
from gateway.storage.sql.increases import IncreaseRow

Source = Literal["increase", "account", "model", "default"]


@dataclass(frozen=True, slots=True)
class Effective:
    """What an account is held to for a model; `source` is the highest level that sets anything, None where none does.

    `base` is what it is held to without an open increase: grants are held to that. `own` are the account's own limits; None
    where it has none, and then `inherited` holds.
    """

    model: str
    limits: Limits
    source: Source | None
    base: Limits
    own: Limits | None = None
    inherited: Limits = NO_LIMITS

    @property
    def etag(self) -> str:
        """The entity tag of what holds for this model, and of what the account sets for it itself."""
        return tag("limits", *_values(self))


def _values(row: Effective) -> list[object]:
    own = None if row.own is None else [row.own.rpm, row.own.tpm]
    return [row.model, row.limits.rpm, row.limits.tpm, row.source, own]


def _effective(
    model: str, own: Limits | None, of_model: Limits, default: Limits, increase: IncreaseRow | None = None
) -> Effective:
    levels: tuple[tuple[Source, Limits], ...] = (("account", own or NO_LIMITS), ("model", of_model), ("default", default))
    source = next((name for name, limits in levels if limits != NO_LIMITS), None)
    inherited = of_model.over(default)
    base = (own or NO_LIMITS).over(inherited)
    if increase is None:
        return Effective(model, base, source, base, own, inherited)
    return Effective(model, increase.limits.over(base), "increase", base, own, inherited)


async def effective(conn: AsyncConnection, services: Services, account_id: str, model: str) -> Effective:
    """Without an open increase. Read within the transaction that a change is checked in: so it is held to what is true then."""
    own = await stored.get(conn, account_id, model)
    row = await catalogue_models.get(conn, model)
    return _effective(model, own, NO_LIMITS if row is None else row.limits, services.default_limits)


async def bases(conn: AsyncConnection, services: Services, account_id: str, names: Iterable[str]) -> dict[str, Limits]:
    """What grants of these models are held to, by model: the account's limits without open increases."""
    own = await stored.of_account(conn, account_id)
    rows = await catalogue_models.every(conn)
    return {
        name: _effective(name, own.get(name), rows[name].limits if name in rows else NO_LIMITS, services.default_limits).base
        for name in names
    }


async def warnings(conn: AsyncConnection, account_id: str, limits: Effective) -> list[str]:
    """A sentence for each limit that the account's workspaces exceed together: allowed, but not all can be used up at once."""
    return excess(limits.model, await grants.total(conn, account_id, limits.model), limits.base)


def excess(model: str, granted: Limits, base: Limits) -> list[str]:
    """A sentence for each limit of a model that is below what workspaces are granted of it together."""
    pairs = (("rpm", granted.rpm, base.rpm), ("tpm", granted.tpm, base.tpm))
    return [
        f"The account's workspaces are granted {total:,} {name} of {model} together; the account has {highest:,}."
        for name, total, highest in pairs
        if total is not None and highest is not None and total > highest
    ]


async def granted(services: Services, caller: Caller, account_id: str) -> dict[str, Limits]:
    """What the account's workspaces are granted together, by model. Raises NotFound, Forbidden."""
    async with reading(services.engine) as conn:
        await accounts.require(conn, caller, account_id, Right.READ_ACCOUNT)
        return await grants.totals(conn, account_id)


async def find(
    services: Services, caller: Caller, account_id: str, *, search: str | None = None, limit: int, cursor: str | None
) -> TaggedPage[Effective]:
    """Every model of the catalogue, by name, with what the account is held to. `search` is a part of the name, in any case.

    Raises NotFound, BadRequest.
    """
    after = after_name(cursor)
    async with reading(services.engine) as conn:
        await accounts.require(conn, caller, account_id, Right.SEE_ACCOUNT)
        own = await stored.of_account(conn, account_id)
        rows = await catalogue_models.every(conn)
        raised = await increases.open_of_account(conn, account_id)
    names = {model.name for model, _owner in services.catalogue.models()} | own.keys() | rows.keys() | raised.keys()
    every = [
        _effective(
            name,
            own.get(name),
            rows[name].limits if name in rows else NO_LIMITS,
            services.default_limits,
            raised.get(name),
        )
        for name in sorted(names)
    ]
    wanted = (search or "").casefold()
    found = [row for row in every if (after is None or row.model > after) and wanted in row.model.casefold()]
    page = cut(found, limit, lambda row: row.model)
    return TaggedPage(page.rows, page.next_cursor, tag("all limits", account_id, *(_values(row) for row in every)))


async def get(services: Services, caller: Caller, account_id: str, model: str) -> Effective:
    """What the account is held to for a model. Raises NotFound, also for a model that nobody knows."""
    async with reading(services.engine) as conn:
        await accounts.require(conn, caller, account_id, Right.SEE_ACCOUNT)
        found = await _now(conn, services, account_id, model)
    if found.own is None and found.source != "increase":
        await models.require_known(services, model)
    return found


async def _now(conn: AsyncConnection, services: Services, account_id: str, model: str) -> Effective:
    """With an open increase."""
    found = await effective(conn, services, account_id, model)
    row = await increases.get_open(conn, account_id, model)
    return found if row is None else replace(found, limits=row.limits.over(found.base), source="increase")


async def _increased(conn: AsyncConnection, account_id: str, now: Effective) -> Effective:
    """The limits with their open increase. Raises Conflict where that would not raise them any more, but lower them."""
    row = await increases.get_open(conn, account_id, now.model)
    if row is None:
        return now
    for name, raised, base in (("rpm", row.limits.rpm, now.base.rpm), ("tpm", row.limits.tpm, now.base.tpm)):
        if raised is not None and (base is None or base >= raised):
            raise Conflict(f"A temporary increase to {raised:,} {name} is open, which would hold instead of this; end it first.")
    return replace(now, limits=row.limits.over(now.base), source="increase")


async def put(
    services: Services,
    caller: Caller,
    account_id: str,
    model: str,
    limits: Limits,
    *,
    conditions: Conditions = UNCONDITIONAL,
) -> tuple[Effective, list[str]]:
    """Set an account's own limits for a model; None inherits the model's. Answers what holds now, and warnings.

    `*` in the conditions asks about the account's own limits. Raises NotFound, BadRequest, PreconditionFailed, Conflict.
    """
    await accounts.get(services, caller, account_id, Right.MANAGE_LIMITS)
    await models.require_known(services, model)
    async with services.policy.change(account_id) as conn:
        present = await _now(conn, services, account_id, model)
        conditions.check(present.etag, exists=present.own is not None)
        row = await catalogue_models.get(conn, model)
        now = _effective(model, limits, NO_LIMITS if row is None else row.limits, services.default_limits)
        refuse(check_limits(now.base))
        now = await _increased(conn, account_id, now)
        before = present.own
        await stored.put(conn, account_id, model, limits, services.now_ms())
        said = await warnings(conn, account_id, now)
        await record(
            conn,
            services,
            caller,
            "limits.set",
            f"{account_id}/{model}",
            place=Place(account_id),
            before=None if before is None else shown(before),
            after=shown(limits),
        )
    return now, said


async def delete(
    services: Services, caller: Caller, account_id: str, model: str, *, conditions: Conditions = UNCONDITIONAL
) -> None:
    """From now on the model's limits hold. Raises NotFound, Forbidden, PreconditionFailed, Conflict."""
    await accounts.get(services, caller, account_id, Right.MANAGE_LIMITS)
    async with services.policy.change(account_id) as conn:
        before = await _now(conn, services, account_id, model)
        if before.own is None:
            raise NotFound("The account has no limits of its own for this model.")
        conditions.check(before.etag)
        await stored.delete(conn, account_id, model)
        await _increased(conn, account_id, await effective(conn, services, account_id, model))
        target = f"{account_id}/{model}"
        await record(conn, services, caller, "limits.delete", target, place=Place(account_id), before=shown(before.own))
