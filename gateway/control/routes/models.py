"""`/admin/v1/models`."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from gateway.control import schemas_catalogue as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter, Limit, Listing, ModelPath, when
from gateway.control.services import models
from gateway.control.services.checks import deletion
from gateway.control.services.models import KnownModel
from gateway.domain.grants import Limits
from gateway.domain.roles import Right

router = APIRouter(prefix="/models", tags=["models"], route_class=GuardedRoute)

TypeFilter = Annotated[
    Literal["chat", "completion", "embedding", "none"] | None,
    Query(alias="type", description="Of this type; `none`: nobody said of which."),
]


def _shown(model: KnownModel) -> schemas.Model:
    return schemas.Model(
        name=model.name,
        type=model.type,
        vendor=model.vendor,
        rpm=model.limits.rpm,
        tpm=model.limits.tpm,
        source="upstream" if model.row is None else "database",
        owned_by=model.owned_by,
        served_by=len(model.served_by),
        healthy=model.healthy,
        grants=model.grants,
        created_at=None if model.row is None else when(model.row.created_at),
        updated_at=None if model.row is None else when(model.row.updated_at),
    )


@router.get("")
@needs(Right.SIGNED_IN)
async def list_models(
    *,
    services: UsedServices,
    caller: KnownCaller,
    q: Filter = None,
    vendor: Filter = None,
    kind: TypeFilter = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Listing[schemas.Model]:
    """The catalogue, by name: what is stored, and what upstreams serve besides; `q` is a part of the name or of the vendor."""
    page = await models.find(services, caller, search=q, vendor=vendor, kind=kind, limit=limit, cursor=cursor)
    return Listing(data=[_shown(model) for model in page.rows], next_cursor=page.next_cursor)


@router.get("/{model:path}")
@needs(Right.SIGNED_IN)
async def get_model(*, services: UsedServices, caller: KnownCaller, model: ModelPath) -> schemas.Model:
    return _shown(await models.get(services, caller, model))


@router.put("/{model:path}", responses={201: {"model": schemas.Model, "description": "Nothing was stored of it before."}})
@needs(Right.MANAGE_CATALOGUE)
async def put_model(
    *, services: UsedServices, caller: KnownCaller, response: Response, model: ModelPath, body: schemas.ModelIn
) -> schemas.Model:
    """Store limits, type and vendor of a model in place of what was stored; in force for calls after the answer."""
    limits = Limits(rpm=body.rpm, tpm=body.tpm)
    known, is_new = await models.put(services, caller, model, limits=limits, kind=body.type, vendor=body.vendor)
    response.status_code = 201 if is_new else 200
    return _shown(known)


@router.delete("/{model:path}", status_code=204)
@needs(Right.MANAGE_CATALOGUE)
async def delete_model(*, services: UsedServices, caller: KnownCaller, model: ModelPath) -> None:
    """Forget what is stored of a model, and every workspace's grant of it."""
    async with deletion(services):
        await models.delete(services, caller, model)
