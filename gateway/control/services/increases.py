"""Temporary increases of an account's limits: for a while, in force at once, and kept as a history."""

from collections.abc import Sequence

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_time, cut
from gateway.control.problems import BadRequest, Conflict, FieldError, NotFound
from gateway.control.services import accounts, models
from gateway.control.services import limits as levels
from gateway.control.services.audit import record
from gateway.control.services.checks import shown
from gateway.domain import ids
from gateway.domain.grants import MAX_LIMIT, Limits
from gateway.domain.roles import Place, Right
from gateway.storage.sql import increases as stored
from gateway.storage.sql.engine import reading
from gateway.storage.sql.increases import IncreaseRow, moment

LONGEST_MS = 31 * 24 * 3_600_000
"""How long an increase may last."""

_MINUTE_MS = 60_000


def read_end(now_ms: int, *, minutes: int | None, ends_at_ms: int | None) -> int:
    """When an increase ends that is given by its length or by its end. Raises BadRequest."""
    if (minutes is None) == (ends_at_ms is None):
        raise BadRequest.field("minutes", "Send either minutes, or ends_at.")
    if minutes is not None:
        return now_ms + minutes * _MINUTE_MS
    if ends_at_ms is None or ends_at_ms <= now_ms:
        raise BadRequest.field("ends_at", "The end has to lie in the future.")
    if ends_at_ms > now_ms + LONGEST_MS:
        raise BadRequest.field("ends_at", "An increase may last at most 31 days; set the account's own limit for longer.")
    return ends_at_ms


async def begin(
    services: Services, caller: Caller, account_id: str, model: str, limits: Limits, *, ends_at: int, reason: str
) -> IncreaseRow:
    """Raise an account's limits for a model until `ends_at` (Unix milliseconds).

    Raises NotFound, Forbidden, BadRequest; Conflict where one is open already.
    """
    await accounts.get(services, caller, account_id, Right.MANAGE_LIMITS)
    await models.require_known(services, model)
    async with services.policy.change(account_id) as conn:
        if (other := await stored.get_open(conn, account_id, model)) is not None:
            raise Conflict(f"An increase for this model is open until {moment(other.ends_at)}; end that one first.")
        held = await levels.effective(conn, services, account_id, model)
        _refuse(limits, held.base)
        now = services.now_ms()
        row = IncreaseRow(
            id=ids.increase_id(),
            account_id=account_id,
            model=model,
            limits=limits,
            reason=reason,
            created_by=caller.actor,
            created_at=now,
            ends_at=ends_at,
            base=held.base,
        )
        await stored.insert(conn, row)
        target, after = f"{account_id}/{model}", {**_told(row), "reason": reason}
        place, before = Place(account_id), shown(held.base)
        await record(conn, services, caller, "limits.increase", target, place=place, before=before, after=after)
    return row


def _refuse(limits: Limits, base: Limits) -> None:
    """Raises BadRequest for an increase that raises nothing, or that raises a limit to where nobody may set one."""
    errors = [
        FieldError(name, message)
        for name, value, held in (("rpm", limits.rpm, base.rpm), ("tpm", limits.tpm, base.tpm))
        if value is not None and (message := _wrong(name, value, held))
    ]
    if limits.rpm is None and limits.tpm is None:
        errors = [FieldError("rpm", "Give rpm, tpm, or both, as whole numbers: what to raise them to.")]
    if errors:
        raise BadRequest(" ".join(each.message for each in errors), errors=errors)


def _wrong(name: str, value: int, held: int | None) -> str:
    if held is None:
        return f"The account has no limit of {name} for this model, so there is nothing to raise; leave it out."
    if value <= held:
        return f"{name} has to be above the {held:,} that the account has for this model."
    return f"{name} may be at most {MAX_LIMIT:,}." if value > MAX_LIMIT else ""


def _told(row: IncreaseRow) -> dict[str, object]:
    """An increase as the audit trail keeps it."""
    return {"id": row.id, **shown(row.limits), "ends_at": moment(row.ends_at)}


async def end(services: Services, caller: Caller, account_id: str, increase_id: str) -> None:
    """End an open increase now. Raises NotFound, also for one that has ended; Forbidden."""
    await accounts.get(services, caller, account_id, Right.MANAGE_LIMITS)
    async with services.policy.change(account_id) as conn:
        row = await stored.get(conn, account_id, increase_id)
        if row is None or not await stored.end(conn, increase_id, services.now_ms(), caller.actor):
            raise NotFound("The account has no open increase of this ID; it may have ended by itself.")
        target, place = f"{account_id}/{row.model}", Place(account_id)
        await record(conn, services, caller, "limits.increase_end", target, place=place, before=_told(row))


async def find(
    services: Services,
    caller: Caller,
    account_id: str,
    *,
    model: str | None = None,
    is_open: bool | None = None,
    limit: int,
    cursor: str | None,
) -> Page[IncreaseRow]:
    """An account's increases, open and ended ones unless `is_open` says which, the newest first. Raises NotFound, BadRequest."""
    before = after_time(cursor)
    async with reading(services.engine) as conn:
        await accounts.require(conn, caller, account_id, Right.SEE_ACCOUNT)
        rows: Sequence[IncreaseRow] = await stored.page(
            conn, account_id, model=model, is_open=is_open, limit=limit + 1, before=before
        )
    return cut(rows, limit, lambda row: (row.created_at, row.id))
