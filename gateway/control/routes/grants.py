"""`/admin/v1/workspaces/{id}/grants`."""

from fastapi import APIRouter, Response

from gateway.control import schemas_workspaces as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.etags import READ, TAGGED, Changing, Reading, unchanged
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Id, Limit, Listing, ModelPath, when
from gateway.control.schemas_limits import LimitsIn
from gateway.control.services import grant_sets, grants
from gateway.control.services.checks import deletion
from gateway.domain.grants import Limits
from gateway.domain.roles import Right
from gateway.storage.sql.grants import GrantRow

router = APIRouter(prefix="/workspaces/{workspace_id}/grants", tags=["grants"], route_class=GuardedRoute)


def _grant(row: GrantRow) -> schemas.Grant:
    return schemas.Grant.model_validate(_shown(row))


def _shown(row: GrantRow) -> dict[str, object]:
    return {
        "workspace_id": row.workspace_id,
        "model": row.model,
        "rpm": row.limits.rpm,
        "tpm": row.limits.tpm,
        "created_at": when(row.created_at),
        "updated_at": when(row.updated_at),
    }


@router.get("", response_model=Listing[schemas.Grant], responses=READ)
@needs(Right.READ_WORKSPACE)
async def list_grants(
    *,
    services: UsedServices,
    caller: KnownCaller,
    response: Response,
    conditions: Reading,
    workspace_id: Id,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Listing[schemas.Grant] | Response:
    """The models that a sub-workspace may call. A default workspace has no grants, and reaches every model.

    The ETag is that of all grants together, whichever page is asked for.
    """
    page = await grants.find(services, caller, workspace_id, limit=limit, cursor=cursor)
    if conditions.is_unchanged(page.etag):
        return unchanged(page.etag)
    response.headers["etag"] = page.etag
    return Listing(data=[_grant(row) for row in page.rows], next_cursor=page.next_cursor)


@router.put("", responses=TAGGED)
@needs(Right.MANAGE_GRANTS)
async def put_grants(
    *,
    services: UsedServices,
    caller: KnownCaller,
    response: Response,
    conditions: Changing,
    workspace_id: Id,
    body: schemas.GrantsIn,
) -> schemas.SetGrants:
    """Grant exactly these models, all at once or none: what is not among them is taken. Answers all that is granted now."""
    wanted = [(grant.model, Limits(rpm=grant.rpm, tpm=grant.tpm)) for grant in body.grants]
    now = await grant_sets.put(services, caller, workspace_id, wanted, conditions=conditions)
    response.headers["etag"] = now.etag
    return schemas.SetGrants(
        data=[_grant(row) for row in now.rows], added=now.added, changed=now.changed, removed=now.removed, warnings=now.warnings
    )


@router.get("/{model:path}", response_model=schemas.Grant, responses=READ)
@needs(Right.READ_WORKSPACE)
async def get_grant(
    *,
    services: UsedServices,
    caller: KnownCaller,
    response: Response,
    conditions: Reading,
    workspace_id: Id,
    model: ModelPath,
) -> schemas.Grant | Response:
    """The limits of a grant; 404 where the model is not granted."""
    row = await grants.get(services, caller, workspace_id, model)
    tag = grants.etag(row)
    if conditions.is_unchanged(tag):
        return unchanged(tag)
    response.headers["etag"] = tag
    return _grant(row)


@router.put(
    "/{model:path}",
    responses={**TAGGED, 201: {"model": schemas.SetGrant, "description": "The model was not granted before.", **TAGGED[200]}},
)
@needs(Right.MANAGE_GRANTS)
async def put_grant(
    *,
    services: UsedServices,
    caller: KnownCaller,
    response: Response,
    conditions: Changing,
    workspace_id: Id,
    model: ModelPath,
    body: LimitsIn,
) -> schemas.SetGrant:
    """Grant a model, or change its limits; in force for every call that starts after the answer."""
    grant = await grants.put(services, caller, workspace_id, model, Limits(rpm=body.rpm, tpm=body.tpm), conditions=conditions)
    response.status_code = 201 if grant.is_new else 200
    response.headers["etag"] = grants.etag(grant.row)
    return schemas.SetGrant.model_validate({**_shown(grant.row), "warnings": grant.warnings})


@router.delete("/{model:path}", status_code=204)
@needs(Right.MANAGE_GRANTS)
async def delete_grant(
    *, services: UsedServices, caller: KnownCaller, conditions: Changing, workspace_id: Id, model: ModelPath
) -> None:
    """Take a model from a workspace; in force for every call that starts after the answer."""
    async with deletion(services):
        await grants.delete(services, caller, workspace_id, model, conditions=conditions)
