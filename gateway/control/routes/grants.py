"""`/admin/v1/workspaces/{id}/grants`."""

from fastapi import APIRouter, Response

from gateway.control import schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Id, Limit, ModelPath, when
from gateway.control.services import grants
from gateway.control.services.checks import deletion
from gateway.domain.grants import Limits
from gateway.domain.roles import Right
from gateway.storage.sql.grants import GrantRow

router = APIRouter(prefix="/workspaces/{workspace_id}/grants", tags=["grants"], route_class=GuardedRoute)


def _shown(row: GrantRow) -> dict[str, object]:
    return {
        "workspace_id": row.workspace_id,
        "model": row.model,
        "rpm": row.limits.rpm,
        "tpm": row.limits.tpm,
        "created_at": when(row.created_at),
        "updated_at": when(row.updated_at),
    }


@router.get("")
@needs(Right.READ_WORKSPACE)
async def list_grants(
    *, services: UsedServices, caller: KnownCaller, workspace_id: Id, limit: Limit = PAGE, cursor: Cursor = None
) -> schemas.Listing[schemas.Grant]:
    """The models that a sub-workspace may call. A default workspace has no grants, and reaches every model."""
    page = await grants.find(services, caller, workspace_id, limit=limit, cursor=cursor)
    return schemas.Listing(data=[schemas.Grant.model_validate(_shown(row)) for row in page.rows], next_cursor=page.next_cursor)


@router.put("/{model:path}", responses={201: {"model": schemas.SetGrant, "description": "The model was not granted before."}})
@needs(Right.MANAGE_GRANTS)
async def put_grant(
    *, services: UsedServices, caller: KnownCaller, response: Response, workspace_id: Id, model: ModelPath, body: schemas.LimitsIn
) -> schemas.SetGrant:
    """Grant a model, or change its limits; in force for every call that starts after the answer."""
    grant = await grants.put(services, caller, workspace_id, model, Limits(rpm=body.rpm, tpm=body.tpm))
    response.status_code = 201 if grant.is_new else 200
    return schemas.SetGrant.model_validate({**_shown(grant.row), "warnings": grant.warnings})


@router.delete("/{model:path}", status_code=204)
@needs(Right.MANAGE_GRANTS)
async def delete_grant(*, services: UsedServices, caller: KnownCaller, workspace_id: Id, model: ModelPath) -> None:
    """Take a model from a workspace; in force for every call that starts after the answer."""
    async with deletion(services):
        await grants.delete(services, caller, workspace_id, model)
