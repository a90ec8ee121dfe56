"""`/admin/v1/accounts/{id}/live`: how full the account's buckets are, and who drives that; also as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.control import schemas_live as schemas
from gateway.control import streams
from gateway.control.auth import authenticate
from gateway.control.context import KnownCaller, Services, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.problems import Problem
from gateway.control.schemas import Id, when
from gateway.control.services import live
from gateway.control.services.live import Bucket, Driving, InModel, InWorkspace, Live, Traffic
from gateway.control.streams import EventStream, event
from gateway.domain.buckets import Kind
from gateway.domain.faults import StorageUnavailable
from gateway.domain.roles import Right

RETRY_MS = 2000
_SHARE = 4
"""Where a look takes long, the pause after it is so many times as long."""

_NAMES = {Kind.REQUESTS: "rpm", Kind.TOKENS: "tpm"}
_ENDED = "ended"

router = APIRouter(prefix="/accounts/{account_id}/live", tags=["limits"], route_class=GuardedRoute)


def shown(found: Live) -> schemas.Live:
    return schemas.Live.model_validate(
        {
            "account_id": found.account_id,
            "at": when(found.at),
            "since": when(found.since),
            "source": found.source,
            "open_calls": found.open_calls,
            **_traffic(found.traffic),
            "models": [_model(each) for each in found.models],
            "more_models": found.more,
            "drivers": [_driver(each) for each in found.drivers],
        }
    )


def _traffic(traffic: Traffic) -> dict[str, Any]:
    return {
        "admitted": traffic.admitted,
        "failures": traffic.failures,
        "tokens": traffic.tokens,
        "refused": traffic.refused,
        "causes": [
            {"code": cause.code, "level": cause.level or None, "calls": calls} for cause, calls in traffic.causes.most_common()
        ],
    }


def _bucket(bucket: Bucket) -> dict[str, Any]:
    return {
        "limit": _NAMES[bucket.kind],
        "per_minute": bucket.limit,
        "capacity": bucket.capacity,
        "used": bucket.used,
        "reset_ms": bucket.reset_ms,
    }


def _model(each: InModel) -> dict[str, Any]:
    return {
        "model": each.model,
        **_traffic(each.traffic),
        "buckets": [_bucket(bucket) for bucket in each.buckets],
        "workspaces": [_workspace(within) for within in each.workspaces],
        "more_workspaces": each.more,
    }


def _workspace(each: InWorkspace) -> dict[str, Any]:
    return {
        "workspace_id": each.workspace_id,
        "name": each.name,
        **_traffic(each.traffic),
        "buckets": [_bucket(bucket) for bucket in each.buckets],
    }


def _driver(each: Driving) -> dict[str, Any]:
    return {
        "workspace_id": each.workspace_id,
        "workspace_name": each.workspace_name,
        "key_id": each.key_id,
        "masked": None if each.key is None else each.key.masked,
        "description": "" if each.key is None else each.key.description,
        "model": each.model,
        **_traffic(each.traffic),
    }


@router.get("")
@needs(Right.SEE_ACCOUNT)
async def get_live(*, services: UsedServices, caller: KnownCaller, account_id: Id) -> schemas.Live:
    """How full each bucket of the models with calls is, and the calls of the last five minutes.

    Whoever sees only some of the account's workspaces gets the account's buckets, and of calls only those of these workspaces.
    """
    return shown(await live.read(services, caller, account_id))


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of events, each with the same JSON as without `/events`.",
        "content": {streams.MEDIA_TYPE: {"schema": {"type": "string"}, "example": "event: live\ndata: {…}\n\n"}},
    }
}


@router.get("/events", response_class=EventStream, responses=_EVENTS)
@needs(Right.SEE_ACCOUNT)
async def live_events(*, request: Request, services: UsedServices, caller: KnownCaller, account_id: Id) -> Response:
    """The same every two seconds, as server-sent events named `live`.

    The stream ends after a quarter of an hour, and as soon as the caller may not see this any more: then with an event `ended`
    that says why. To see it does not count as using a session.
    """
    first = await live.read(services, caller, account_id)
    place = services.streams.take(caller.actor)
    return EventStream(_events(request, services, account_id, first), services.streams, place)


async def _events(request: Request, services: Services, account_id: str, first: Live) -> AsyncIterator[str]:
    now, bounds = asyncio.get_running_loop().time, services.streams
    begun, pause = now(), bounds.every_seconds
    yield f"retry: {RETRY_MS}\n\n{_live(first)}"
    while now() - begun < bounds.longest_seconds and await bounds.pause(pause):
        looked = now()
        try:
            yield _live(await live.read(services, await authenticate(request, services), account_id))
        except Problem as problem:
            yield event(_ENDED, json.dumps({"status": problem.status, "detail": problem.detail}))
            return
        except StorageUnavailable:
            yield ": the database cannot be reached\n\n"
        pause = max(bounds.every_seconds, _SHARE * (now() - looked))


def _live(found: Live) -> str:
    return event("live", shown(found).model_dump_json())
