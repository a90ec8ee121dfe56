"""`/admin/v1/upstreams`."""

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter

from gateway.control import schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, operator
from gateway.control.problems import BadRequest
from gateway.control.schemas import PAGE, Cursor, Id, Limit, when
from gateway.control.services import upstreams
from gateway.control.services.upstreams import KnownUpstream, read_base_url, read_models
from gateway.domain.upstreams import Upstream

router = APIRouter(prefix="/upstreams", tags=["upstreams"], route_class=GuardedRoute)

_NULLABLE = frozenset({"api_key"})


def _shown(known: KnownUpstream) -> schemas.Upstream:
    upstream, state, row = known.upstream, known.state, known.row
    return schemas.Upstream(
        id=upstream.id,
        name=upstream.name,
        base_url=upstream.base_url,
        has_api_key=upstream.api_key is not None,
        models=dict(upstream.models),
        lists_models=upstream.lists_models,
        weight=upstream.weight,
        enabled=upstream.enabled,
        source=upstream.source,
        state="disabled" if state is None else state.state,
        serves=[] if state is None else list(state.models),
        last_error=None if state is None else state.last_error,
        created_at=None if row is None else when(row.created_at),
        updated_at=None if row is None else when(row.updated_at),
    )


@router.get("")
@operator
async def list_upstreams(
    *, services: UsedServices, limit: Limit = PAGE, cursor: Cursor = None
) -> schemas.Listing[schemas.Upstream]:
    """All upstreams, those of settings and the demo included, with their state in this process."""
    page = await upstreams.find(services, limit=limit, cursor=cursor)
    return schemas.Listing(data=[_shown(known) for known in page.rows], next_cursor=page.next_cursor)


@router.post("", status_code=201)
@operator
async def create_upstream(*, services: UsedServices, caller: KnownCaller, body: schemas.UpstreamIn) -> schemas.Upstream:
    """A new upstream, in use when the answer is sent."""
    base_url = read_base_url(body.base_url)
    models, lists_models = read_models(body.models)
    upstream = Upstream(
        id="",
        name=body.name or (urlsplit(base_url).hostname or base_url)[:120],
        base_url=base_url,
        api_key=body.api_key,
        models=models,
        lists_models=lists_models,
        weight=body.weight,
        enabled=body.enabled,
    )
    return _shown(await upstreams.create(services, caller, upstream))


@router.get("/{upstream_id}")
@operator
async def get_upstream(*, services: UsedServices, upstream_id: Id) -> schemas.Upstream:
    return _shown(await upstreams.get(services, upstream_id))


@router.patch("/{upstream_id}")
@operator
async def change_upstream(
    *, services: UsedServices, caller: KnownCaller, upstream_id: Id, body: schemas.UpstreamPatch
) -> schemas.Upstream:
    """Change the fields that are sent; in use when the answer is sent."""
    fields: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    for name, value in fields.items():
        if value is None and name not in _NULLABLE:
            raise BadRequest.field(name, "This field cannot be null; leave it out to keep it as it is.")
    if "base_url" in fields:
        fields["base_url"] = read_base_url(fields["base_url"])
    if "models" in fields:
        fields["models"], fields["lists_models"] = read_models(fields["models"])
    return _shown(await upstreams.change(services, caller, upstream_id, fields))


@router.delete("/{upstream_id}", status_code=204)
@operator
async def delete_upstream(*, services: UsedServices, caller: KnownCaller, upstream_id: Id) -> None:
    await upstreams.delete(services, caller, upstream_id)
