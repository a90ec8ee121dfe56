"""`/admin/v1/workspaces/{id}/api-keys` and `/admin/v1/api-keys`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.responses import JSONResponse

from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.problems import BadRequest, FieldError
from gateway.control.schemas import PAGE, Cursor, Id, Limit, Listing, when
from gateway.control.schemas_keys import Key, KeyIn, KeyPatch, MadeKey, NewKey
from gateway.control.services import keys
from gateway.control.services.checks import deletion
from gateway.control.services.keys import IssuedKey
from gateway.domain.grants import KeyStatus
from gateway.domain.roles import Right
from gateway.storage.sql.keys import KeyRow

router = APIRouter(tags=["api-keys"], route_class=GuardedRoute)

_IDEMPOTENCY_KEY = "Idempotency-Key"
_REPEAT: dict[int | str, dict[str, Any]] = {
    200: {
        "model": MadeKey,
        "description": "The key was made by an earlier request with this Idempotency-Key; nothing was made now.",
        "headers": {"idempotency-replayed": {"description": "`true`", "schema": {"type": "string"}}},
    }
}

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
        "reset_at": None if row.reset_at is None else when(row.reset_at),
        "last_used_at": None if row.last_used_at is None else when(row.last_used_at),
    }


def _idempotency_key(
    request: Request,
    sent: Annotated[
        str | None,
        Header(
            alias=_IDEMPOTENCY_KEY,
            pattern=r"^[!-~]{1,255}$",
            description="Names the request, such as by a UUID: within 24 hours a repeat makes no second key.",
        ),
    ] = None,
) -> str | None:
    """Raises BadRequest for more than one, which different parties would read differently."""
    if len(request.headers.getlist(_IDEMPOTENCY_KEY)) > 1:
        raise BadRequest.field(_IDEMPOTENCY_KEY, "Send one Idempotency-Key.")
    return sent


def _key(row: KeyRow) -> Key:
    return Key.model_validate(_shown(row))


def _once(issued: IssuedKey) -> NewKey:
    """The one reply with the key itself; like every reply here it is marked `no-store`."""
    return NewKey.model_validate({**_shown(issued.row), "key": issued.text})


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
) -> Listing[Key]:
    """A workspace's keys, in the order they were made."""
    page = await keys.find(services, caller, workspace_id, search=search, limit=limit, cursor=cursor)
    return Listing(data=[_key(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/workspaces/{workspace_id}/api-keys", status_code=201, response_model=NewKey, responses=_REPEAT)
@needs(Right.MANAGE_KEYS)
async def create_key(
    *,
    services: UsedServices,
    caller: KnownCaller,
    workspace_id: Id,
    body: KeyIn,
    idempotency_key: Annotated[str | None, Depends(_idempotency_key)] = None,
) -> Response:
    """A new key. `key` is shown in this answer and never again.

    With an Idempotency-Key the request can be repeated safely, such as after an answer that was lost, or a 503 with the code
    `not_yet_in_force`, after which the key is saved: a repeat makes nothing, and answers 200 with the key that was made, the
    header `idempotency-replayed: true`, and `key: null`. Reset that key to get a secret, or delete it. The same Idempotency-Key
    with another body is a 422, and a 409 once the key that it made is deleted.
    """
    issued = await keys.create(
        services,
        caller,
        workspace_id,
        description=body.description,
        models=body.models,
        idempotency_key=idempotency_key,
    )
    if issued.text is None:
        made = MadeKey.model_validate(_shown(issued.row))
        return JSONResponse(made.model_dump(mode="json"), headers={"idempotency-replayed": "true"})
    return JSONResponse(_once(issued).model_dump(mode="json"), status_code=201)


@router.get("/api-keys/{key_id}")
@needs(Right.READ_WORKSPACE)
async def get_key(*, services: UsedServices, caller: KnownCaller, key_id: Id) -> Key:
    return _key(await keys.get(services, caller, key_id))


@router.patch("/api-keys/{key_id}")
@needs(Right.MANAGE_KEYS)
async def describe_key(*, services: UsedServices, caller: KnownCaller, key_id: Id, body: KeyPatch) -> Key:
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
async def disable_key(*, services: UsedServices, caller: KnownCaller, key_id: Id) -> Key:
    """No call that starts after the answer passes, until the key is enabled again."""
    return _key(await keys.set_status(services, caller, key_id, KeyStatus.DISABLED))


@router.post("/api-keys/{key_id}/enable")
@needs(Right.MANAGE_KEYS)
async def enable_key(*, services: UsedServices, caller: KnownCaller, key_id: Id) -> Key:
    return _key(await keys.set_status(services, caller, key_id, KeyStatus.ACTIVE))


@router.post("/api-keys/{key_id}/reset")
@needs(Right.MANAGE_KEYS)
async def reset_key(*, services: UsedServices, caller: KnownCaller, key_id: Id) -> NewKey:
    """A new secret under the same ID, shown once; the old one passes no call that starts after the answer.

    A repeat makes yet another secret: if an answer was lost, reset the key again. This takes no Idempotency-Key.
    """
    return _once(await keys.reset(services, caller, key_id))
