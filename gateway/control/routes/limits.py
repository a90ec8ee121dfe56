"""`/admin/v1/accounts/{id}/limits`."""

from fastapi import APIRouter, Response

from gateway.control import schemas_limits as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.etags import READ, TAGGED, Changing, Reading, unchanged
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter, Id, Limit, Listing, ModelPath
from gateway.control.services import limits
from gateway.control.services.checks import deletion, shown
from gateway.control.services.limits import Effective
from gateway.domain.grants import Limits
from gateway.domain.roles import Right

router = APIRouter(prefix="/accounts/{account_id}/limits", tags=["limits"], route_class=GuardedRoute)


def _shown(row: Effective) -> dict[str, object]:
    own = None if row.own is None else shown(row.own)
    return {"model": row.model, "rpm": row.limits.rpm, "tpm": row.limits.tpm, "source": row.source, "own": own}


@router.get("", response_model=Listing[schemas.AccountLimits], responses=READ)
@needs(Right.SEE_ACCOUNT)
async def list_limits(
    *,
    services: UsedServices,
    caller: KnownCaller,
    response: Response,
    conditions: Reading,
    account_id: Id,
    q: Filter = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Listing[schemas.AccountLimits] | Response:
    """What the account is held to, for every model whose name has `q` in it, and which level says so.

    The ETag is that of all models together, whichever page is asked for.
    """
    page = await limits.find(services, caller, account_id, search=q, limit=limit, cursor=cursor)
    if conditions.is_unchanged(page.etag):
        return unchanged(page.etag)
    response.headers["etag"] = page.etag
    data = [schemas.AccountLimits.model_validate(_shown(row)) for row in page.rows]
    return Listing(data=data, next_cursor=page.next_cursor)


@router.get("/{model:path}", response_model=schemas.AccountLimits, responses=READ)
@needs(Right.SEE_ACCOUNT)
async def get_limits(
    *, services: UsedServices, caller: KnownCaller, response: Response, conditions: Reading, account_id: Id, model: ModelPath
) -> schemas.AccountLimits | Response:
    """What the account is held to for a model. The ETag covers what is set for the account itself as well."""
    row = await limits.get(services, caller, account_id, model)
    if conditions.is_unchanged(row.etag):
        return unchanged(row.etag)
    response.headers["etag"] = row.etag
    return schemas.AccountLimits.model_validate(_shown(row))


@router.put("/{model:path}", responses=TAGGED)
@needs(Right.MANAGE_LIMITS)
async def put_limits(
    *,
    services: UsedServices,
    caller: KnownCaller,
    response: Response,
    conditions: Changing,
    account_id: Id,
    model: ModelPath,
    body: schemas.LimitsIn,
) -> schemas.SetAccountLimits:
    """The account's own limits for a model; null inherits the model's. Answers what holds now.

    `*` in If-Match and If-None-Match asks whether the account has limits of its own.
    """
    wanted = Limits(rpm=body.rpm, tpm=body.tpm)
    row, warnings = await limits.put(services, caller, account_id, model, wanted, conditions=conditions)
    response.headers["etag"] = row.etag
    return schemas.SetAccountLimits.model_validate({**_shown(row), "warnings": warnings})


@router.delete("/{model:path}", status_code=204)
@needs(Right.MANAGE_LIMITS)
async def delete_limits(
    *, services: UsedServices, caller: KnownCaller, conditions: Changing, account_id: Id, model: ModelPath
) -> None:
    """From now on the model's limits hold for the account."""
    async with deletion(services):
        await limits.delete(services, caller, account_id, model, conditions=conditions)
