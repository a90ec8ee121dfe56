"""`/admin/v1/workspaces/{id}/api-keys` and `/admin/v1/api-keys`."""

from typing import Annotated

from fastapi import APIRouter, Query

from gateway.control import schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.problems import BadRequest, FieldError
from gateway.control.schemas import PAGE, Cursor, Id, Limit, when
from gateway.control.services import keys
from gateway.control.services.checks import deletion
from gateway.control.services.keys import IssuedKey
from gateway.domain.grants import KeyStatus
from gateway.domain.roles import Right
from gateway.storage.sql.keys import KeyRow

router = APIRouter(tags=["api-keys"], route_class=GuardedRoute)

Search = Annotated[str | None, Query(alias="id", max_length=64, pattern=r"^[!-~]*$", description="A part of the key's ID.")]


def _shown(row: KeyRow) -> dict[str, object]:
    return {
        "id": row.id,
        "workspace_id": row.workspace_id,
        "account_id": row.account_id,
        "masked": row.masked,
        "kind": row.kind.value,
        "status": row.status.value,
        "description": row.description,
        "models": None if row.models is None else list(row.models),
        "created_at": when(row.created_at),
        "last_used_at": None if row.last_used_at is None else when(row.last_used_at),
    }


def _key(row: KeyRow) -> schemas.Key:
    return schemas.Key.model_validate(_shown(row))


def _once(issued: IssuedKey) -> schemas.NewKey:
    """The one reply with the key itself; like every reply here it is marked `no-store`."""
    return schemas.NewKey.model_validate({**_shown(issued.row), "key": issued.text})


@router.get("/workspaces/{workspace_id}/api-keys")
@needs(Right.READ_WORKSPACE)
async def list_keys(
    *,
    services: UsedServices,
    caller: KnownCaller,
    workspace_id: Id,
    search: Search = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> schemas.Listing[schemas.Key]:
    """A workspace's keys, in the order they were made."""
    page = await keys.find(services, caller, workspace_id, search=search, limit=limit, cursor=cursor)
    return schemas.Listing(data=[_key(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/workspaces/{workspace_id}/api-keys", status_code=201)
@needs(Right.MANAGE_KEYS)
async def create_key(*, services: UsedServices, caller: KnownCaller, workspace_id: Id, body: schemas.KeyIn) -> schemas.NewKey:
    """A new key. `key` is shown in this answer and never again."""
    return _once(await keys.create(services, caller, workspace_id, description=body.description, models=body.models))


@router.get("/api-keys/{key_id}")
@needs(Right.READ_WORKSPACE)
async def get_key(*, services: UsedServices, caller: KnownCaller, key_id: Id) -> schemas.Key:
    return _key(await keys.get(services, caller, key_id))


@router.patch("/api-keys/{key_id}")
@needs(Right.MANAGE_KEYS)
async def describe_key(*, services: UsedServices, caller: KnownCaller, key_id: Id, body: schemas.KeyPatch) -> schemas.Key:
    """A new description; nothing else of a key can be changed."""
    if body.model_extra:
        message = "Only the description of a key can be changed; make a new key instead."
        raise BadRequest(message, errors=[FieldError(name[:100], message) for name in sorted(body.model_extra)])
    return _key(await keys.describe(services, caller, key_id, body.description))


@router.delete("/api-keys/{key_id}", status_code=204)
@needs(Right.MANAGE_KEYS)
async def delete_key(*, services: UsedServices, caller: KnownCaller, key_id: Id) -> None:
    """Final; no call that starts after the answer passes."""
    async with deletion(services):
        await keys.delete(services, caller, key_id)


@router.post("/api-keys/{key_id}/disable")
@needs(Right.MANAGE_KEYS)
async def disable_key(*, services: UsedServices, caller: KnownCaller, key_id: Id) -> schemas.Key:
    """No call that starts after the answer passes, until the key is enabled again."""
    return _key(await keys.set_status(services, caller, key_id, KeyStatus.DISABLED))


@router.post("/api-keys/{key_id}/enable")
@needs(Right.MANAGE_KEYS)
async def enable_key(*, services: UsedServices, caller: KnownCaller, key_id: Id) -> schemas.Key:
    return _key(await keys.set_status(services, caller, key_id, KeyStatus.ACTIVE))


@router.post("/api-keys/{key_id}/reset")
@needs(Right.MANAGE_KEYS)
async def reset_key(*, services: UsedServices, caller: KnownCaller, key_id: Id) -> schemas.NewKey:
    """A new secret under the same ID, shown once; the old one passes no call that starts after the answer."""
    return _once(await keys.reset(services, caller, key_id))
