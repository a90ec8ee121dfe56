"""`/admin/v1/upstreams`."""

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter

from gateway.control import schemas_catalogue as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.problems import BadRequest
from gateway.control.schemas import PAGE, Cursor, Filter, Id, Limit, Listing, when
from gateway.control.services import test_calls, upstreams
from gateway.control.services.test_calls import Called
from gateway.control.services.upstreams import KnownUpstream
from gateway.domain.roles import Right
from gateway.domain.upstreams import ModelNames, Upstream, read_base_url, read_models

router = APIRouter(prefix="/upstreams", tags=["upstreams"], route_class=GuardedRoute)

_NULLABLE = frozenset({"api_key"})
_REMEDIES = {
    "base_url": "Give a full address such as https://models.example/v1.",
    "models": 'Name models as "a" or "a=name-over-there", each once, or "*" for all that the upstream lists.',
}


def _base_url(text: str) -> str:
    try:
        return read_base_url(text)
    except ValueError as error:
        raise _refused("base_url", error) from None


def _models(models: object) -> ModelNames:
    try:
        return read_models(models)
    except ValueError as error:
        raise _refused("models", error) from None


def _refused(field: str, error: ValueError) -> BadRequest:
    why = str(error)
    return BadRequest.field(field, f"{why[0].upper()}{why[1:]}. {_REMEDIES[field]}")


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
        serves=list(known.serves),
        last_error=None if state is None else state.last_error,
        created_at=None if row is None else when(row.created_at),
        updated_at=None if row is None else when(row.updated_at),
    )


@router.get("")
@needs(Right.MANAGE_CATALOGUE)
async def list_upstreams(
    *, services: UsedServices, caller: KnownCaller, q: Filter = None, limit: Limit = PAGE, cursor: Cursor = None
) -> Listing[schemas.Upstream]:
    """All upstreams, those of settings and the demo included, with their state in this process; `q` is a part of name or URL."""
    page = await upstreams.find(services, caller, search=q, limit=limit, cursor=cursor)
    return Listing(data=[_shown(known) for known in page.rows], next_cursor=page.next_cursor)


@router.post("", status_code=201)
@needs(Right.MANAGE_CATALOGUE)
async def create_upstream(*, services: UsedServices, caller: KnownCaller, body: schemas.UpstreamIn) -> schemas.Upstream:
    """A new upstream, in use when the answer is sent."""
    base_url, models = _base_url(body.base_url), _models(body.models)
    upstream = Upstream(
        id="",
        name=body.name or (urlsplit(base_url).hostname or base_url)[:120],
        base_url=base_url,
        api_key=body.api_key,
        models=models.names,
        lists_models=models.lists,
        weight=body.weight,
        enabled=body.enabled,
    )
    return _shown(await upstreams.create(services, caller, upstream))


@router.get("/{upstream_id}")
@needs(Right.MANAGE_CATALOGUE)
async def get_upstream(*, services: UsedServices, caller: KnownCaller, upstream_id: Id) -> schemas.Upstream:
    return _shown(await upstreams.get(services, caller, upstream_id))


@router.patch("/{upstream_id}")
@needs(Right.MANAGE_CATALOGUE)
async def change_upstream(
    *, services: UsedServices, caller: KnownCaller, upstream_id: Id, body: schemas.UpstreamPatch
) -> schemas.Upstream:
    """Change the fields that are sent; in use when the answer is sent."""
    fields: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    for name, value in fields.items():
        if value is None and name not in _NULLABLE:
            raise BadRequest.field(name, "This field cannot be null; leave it out to keep it as it is.")
    if "base_url" in fields:
        fields["base_url"] = _base_url(fields["base_url"])
    if "models" in fields:
        models = _models(fields["models"])
        fields["models"], fields["lists_models"] = models.names, models.lists
    return _shown(await upstreams.change(services, caller, upstream_id, fields))


@router.delete("/{upstream_id}", status_code=204)
@needs(Right.MANAGE_CATALOGUE)
async def delete_upstream(*, services: UsedServices, caller: KnownCaller, upstream_id: Id) -> None:
    await upstreams.delete(services, caller, upstream_id)


@router.post("/{upstream_id}/test")
@needs(Right.MANAGE_CATALOGUE)
async def call_upstream(
    *, services: UsedServices, caller: KnownCaller, upstream_id: Id, body: schemas.CallIn
) -> schemas.CallOutcome:
    """A test call with the upstream's own credential, also to one that is disabled: at most 16 tokens, 10 seconds, 64 KiB.

    It is answered 200 whatever came of it. It follows no redirect, counts for no health and no usage, and is written to the audit
    trail.
    """
    return _outcome(await test_calls.run(services, caller, upstream_id, model=body.model, prompt=body.prompt))


def _outcome(called: Called) -> schemas.CallOutcome:
    answer = called.answer
    return schemas.CallOutcome(
        ok=answer.ok,
        status=called.status,
        milliseconds=called.milliseconds,
        model=called.model,
        upstream_model=called.upstream_model,
        reply=answer.reply,
        usage=schemas.CallUsage(
            input_tokens=answer.usage.get("input_tokens"),
            output_tokens=answer.usage.get("output_tokens"),
            total_tokens=answer.usage.get("total_tokens"),
        ),
        error=answer.error,
        hint=answer.hint,
    )
