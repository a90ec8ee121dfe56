"""`/admin/v1/accounts/{id}/increases`: higher limits for a while."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from gateway.control import schemas_limits as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter, Id, Limit, Listing, when
from gateway.control.services import increases
from gateway.control.services.checks import deletion
from gateway.control.services.usage import read_time
from gateway.domain.grants import Limits
from gateway.domain.roles import Right
from gateway.storage.sql.increases import IncreaseRow

router = APIRouter(prefix="/accounts/{account_id}/increases", tags=["limits"], route_class=GuardedRoute)

State = Annotated[
    Literal["open", "ended"] | None, Query(description="`open`: only those that are in force; `ended`: only the others.")
]


def _shown(row: IncreaseRow) -> schemas.Increase:
    return schemas.Increase(
        id=row.id,
        account_id=row.account_id,
        model=row.model,
        rpm=row.limits.rpm,
        tpm=row.limits.tpm,
        base=schemas.PerMinutes(rpm=row.base.rpm, tpm=row.base.tpm),
        reason=row.reason,
        created_by=row.created_by,
        created_at=when(row.created_at),
        ends_at=when(row.ends_at),
        ended_at=None if row.ended_at is None else when(row.ended_at),
        ended_by=row.ended_by,
        state="open" if row.ended_at is None else "ended" if row.ended_by is None else "ended_early",
    )


@router.get("")
@needs(Right.SEE_ACCOUNT)
async def list_increases(
    *,
    services: UsedServices,
    caller: KnownCaller,
    account_id: Id,
    model: Filter = None,
    state: State = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Listing[schemas.Increase]:
    """The account's temporary increases, those that have ended included, the newest first."""
    page = await increases.find(
        services, caller, account_id, model=model, is_open=None if state is None else state == "open", limit=limit, cursor=cursor
    )
    return Listing(data=[_shown(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("", status_code=201)
@needs(Right.MANAGE_LIMITS)
async def begin_increase(
    *, services: UsedServices, caller: KnownCaller, account_id: Id, body: schemas.IncreaseIn
) -> schemas.Increase:
    """Raise the account's limits for a model for a while: in force once this is answered, and no longer within 2 s of its end.

    Workspaces' grants are not raised by it, and still held to the account's limits without it.
    """
    end = None if body.ends_at is None else read_time("ends_at", body.ends_at)
    ends_at = increases.read_end(services.now_ms(), minutes=body.minutes, ends_at_ms=end)
    row = await increases.begin(
        services, caller, account_id, body.model, Limits(rpm=body.rpm, tpm=body.tpm), ends_at=ends_at, reason=body.reason
    )
    return _shown(row)


@router.delete("/{increase_id}", status_code=204)
@needs(Right.MANAGE_LIMITS)
async def end_increase(*, services: UsedServices, caller: KnownCaller, account_id: Id, increase_id: Id) -> None:
    """End it now; it stays in the history."""
    async with deletion(services):
        await increases.end(services, caller, account_id, increase_id)
