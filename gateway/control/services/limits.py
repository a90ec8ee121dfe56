"""Account-level limits: an account's own come before the model's, and these before the defaults of the settings."""

from dataclasses import dataclass
from typing import Literal

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_name, cut
from gateway.control.problems import NotFound
from gateway.control.services import accounts, models
from gateway.control.services.audit import record
from gateway.control.services.checks import refuse, shown
from gateway.domain.grants import NO_LIMITS, Limits, check_limits
from gateway.domain.roles import Place, Right
from gateway.storage.sql import catalogue_models, grants
from gateway.storage.sql import limits as stored
from gateway.storage.sql.engine import AsyncConnection, reading

Source = Literal["account", "model", "default"]


@dataclass(frozen=True, slots=True)
class Effective:
    """What an account is held to for a model; `source` is the highest level that sets anything, None where none does."""

    model: str
    limits: Limits
    source: Source | None


def _effective(model: str, own: Limits, of_model: Limits, default: Limits) -> Effective:
    levels: tuple[tuple[Source, Limits], ...] = (("account", own), ("model", of_model), ("default", default))
    source = next((name for name, limits in levels if limits != NO_LIMITS), None)
    return Effective(model, own.over(of_model).over(default), source)


async def effective(conn: AsyncConnection, services: Services, account_id: str, model: str) -> Effective:
    """Read within the transaction that a change is checked in, so that it is checked against what holds."""
    own = await stored.get(conn, account_id, model)
    row = await catalogue_models.get(conn, model)
    return _effective(model, own or NO_LIMITS, NO_LIMITS if row is None else row.limits, services.default_limits)


async def warnings(conn: AsyncConnection, account_id: str, limits: Effective) -> list[str]:
    """A sentence for each limit that the account's workspaces exceed together: allowed, but not all can be used up at once."""
    granted = await grants.total(conn, account_id, limits.model)
    pairs = (("rpm", granted.rpm, limits.limits.rpm), ("tpm", granted.tpm, limits.limits.tpm))
    return [
        f"The account's workspaces are granted {total:,} {name} of {limits.model} together; the account has {highest:,}."
        for name, total, highest in pairs
        if total is not None and highest is not None and total > highest
    ]


async def find(services: Services, caller: Caller, account_id: str, *, limit: int, cursor: str | None) -> Page[Effective]:
    """Every model of the catalogue, by name, with what the account is held to. Raises NotFound, BadRequest."""
    after = after_name(cursor)
    async with reading(services.engine) as conn:
        await accounts.require(conn, caller, account_id, Right.SEE_ACCOUNT)
        own = await stored.of_account(conn, account_id)
        rows = await catalogue_models.every(conn)
    names = {model.name for model, _owner in services.catalogue.models()} | own.keys() | rows.keys()
    found = [
        _effective(name, own.get(name, NO_LIMITS), rows[name].limits if name in rows else NO_LIMITS, services.default_limits)
        for name in sorted(names)
        if after is None or name > after
    ]
    return cut(found, limit, lambda row: row.model)


async def put(services: Services, caller: Caller, account_id: str, model: str, limits: Limits) -> tuple[Effective, list[str]]:
    """Set an account's own limits for a model; None inherits the model's. Raises NotFound, BadRequest.

    Answers what the account is held to now, and warnings.
    """
    await accounts.get(services, caller, account_id, Right.MANAGE_LIMITS)
    await models.require_known(services, model)
    async with services.policy.change(account_id) as conn:
        row = await catalogue_models.get(conn, model)
        base = (NO_LIMITS if row is None else row.limits).over(services.default_limits)
        refuse(check_limits(limits.over(base)))
        before = await stored.get(conn, account_id, model)
        await stored.put(conn, account_id, model, limits, services.now_ms())
        now = _effective(model, limits, NO_LIMITS if row is None else row.limits, services.default_limits)
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


async def delete(services: Services, caller: Caller, account_id: str, model: str) -> None:
    """From now on the model's limits hold. Raises NotFound, Forbidden."""
    await accounts.get(services, caller, account_id, Right.MANAGE_LIMITS)
    async with services.policy.change(account_id) as conn:
        before = await stored.get(conn, account_id, model)
        if before is None:
            raise NotFound("The account has no limits of its own for this model.")
        await stored.delete(conn, account_id, model)
        target = f"{account_id}/{model}"
        await record(conn, services, caller, "limits.delete", target, place=Place(account_id), before=shown(before))
