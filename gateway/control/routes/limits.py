"""`/admin/v1/accounts/{id}/limits`."""

from fastapi import APIRouter

from gateway.control import schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter, Id, Limit, ModelPath
from gateway.control.services import limits
from gateway.control.services.checks import deletion
from gateway.control.services.limits import Effective
from gateway.domain.grants import Limits
from gateway.domain.roles import Right

router = APIRouter(prefix="/accounts/{account_id}/limits", tags=["limits"], route_class=GuardedRoute)


def _shown(row: Effective) -> dict[str, object]:
    return {"model": row.model, "rpm": row.limits.rpm, "tpm": row.limits.tpm, "source": row.source}


@router.get("")
@needs(Right.SEE_ACCOUNT)
async def list_limits(
    *, services: UsedServices, caller: KnownCaller, account_id: Id, q: Filter = None, limit: Limit = PAGE, cursor: Cursor = None
) -> schemas.Listing[schemas.AccountLimits]:
    """What the account is held to, for every model whose name has `q` in it, and which level says so."""
    page = await limits.find(services, caller, account_id, search=q, limit=limit, cursor=cursor)
    data = [schemas.AccountLimits.model_validate(_shown(row)) for row in page.rows]
    return schemas.Listing(data=data, next_cursor=page.next_cursor)


@router.put("/{model:path}")
@needs(Right.MANAGE_LIMITS)
async def put_limits(
    *, services: UsedServices, caller: KnownCaller, account_id: Id, model: ModelPath, body: schemas.LimitsIn
) -> schemas.SetAccountLimits:
    """The account's own limits for a model; null inherits the model's. Answers what holds now."""
    row, warnings = await limits.put(services, caller, account_id, model, Limits(rpm=body.rpm, tpm=body.tpm))
    return schemas.SetAccountLimits.model_validate({**_shown(row), "warnings": warnings})


@router.delete("/{model:path}", status_code=204)
@needs(Right.MANAGE_LIMITS)
async def delete_limits(*, services: UsedServices, caller: KnownCaller, account_id: Id, model: ModelPath) -> None:
    """From now on the model's limits hold for the account."""
    async with deletion(services):
        await limits.delete(services, caller, account_id, model)
