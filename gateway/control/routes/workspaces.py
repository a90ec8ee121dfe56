"""`/admin/v1/workspaces`."""

from fastapi import APIRouter

from gateway.control import schemas_workspaces as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.problems import MethodNotAllowed
from gateway.control.schemas import PAGE, Cursor, Filter, Id, Limit, Listing, when
from gateway.control.services import workspaces
from gateway.domain.roles import Right
from gateway.storage.sql.workspaces import WorkspaceRow

router = APIRouter(prefix="/workspaces", tags=["workspaces"], route_class=GuardedRoute)


def _shown(row: WorkspaceRow) -> schemas.Workspace:
    return schemas.Workspace(
        id=row.id,
        account_id=row.account_id,
        name=row.name,
        is_default=row.is_default,
        created_at=when(row.created_at),
        key_count=row.key_count,
        grant_count=row.grant_count,
    )


@router.get("")
@needs(Right.READ_WORKSPACE)
async def list_workspaces(
    *,
    services: UsedServices,
    caller: KnownCaller,
    account_id: Filter = None,
    q: Filter = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Listing[schemas.Workspace]:
    """Workspaces, in the order they were made; `q` is a part of the name or of the ID."""
    page = await workspaces.find(services, caller, account_id=account_id, search=q, limit=limit, cursor=cursor, counted=True)
    return Listing(data=[_shown(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("", status_code=201)
@needs(Right.MANAGE_WORKSPACES)
async def create_workspace(*, services: UsedServices, caller: KnownCaller, body: schemas.WorkspaceIn) -> schemas.Workspace:
    """A new sub-workspace of `account_id`, or of the default account."""
    return _shown(await workspaces.create(services, caller, body.name, body.account_id))


@router.get("/{workspace_id}")
@needs(Right.READ_WORKSPACE)
async def get_workspace(*, services: UsedServices, caller: KnownCaller, workspace_id: Id) -> schemas.Workspace:
    return _shown(await workspaces.get(services, caller, workspace_id))


@router.patch("/{workspace_id}")
@needs(Right.MANAGE_WORKSPACES)
async def rename_workspace(
    *, services: UsedServices, caller: KnownCaller, workspace_id: Id, body: schemas.WorkspacePatch
) -> schemas.Workspace:
    """A new name; a default workspace cannot be modified."""
    return _shown(await workspaces.rename(services, caller, workspace_id, body.name))


@router.delete("/{workspace_id}", include_in_schema=False)
@needs(Right.READ_WORKSPACE)
async def delete_workspace(*, services: UsedServices, caller: KnownCaller, workspace_id: Id) -> None:
    await workspaces.get(services, caller, workspace_id)
    raise MethodNotAllowed(
        "A workspace is never deleted, since its usage refers to it; delete its API keys and its grants instead.",
        headers={"allow": "GET, PATCH"},
    )
