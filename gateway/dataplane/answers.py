"""Replies that the gateway gives itself: refusals and the list of models."""

import msgspec

from gateway.dataplane.call import Call
from gateway.dataplane.headers import refusal as refusal_headers
from gateway.dataplane.ports import Exchange
from gateway.dataplane.sse import error_event
from gateway.domain.errors import ModelNotFound, Refusal
from gateway.domain.grants import Model
from gateway.domain.upstreams import Headers

_CREATED = 0  # when a model was made is not known; OpenAI's SDKs want a number


async def refuse(exchange: Exchange, call: Call, refusal: Refusal) -> None:
    """Answer with an error; a stream that has begun gets it as its last event, any other reply is broken off."""
    if not call.replied:
        call.status = refusal.status
        await _json(exchange, call, refusal.status, refusal.body(call.id), refusal_headers(refusal, call.decision))
    elif call.stream:
        await exchange.write(error_event(refusal, call.id))
        await exchange.end()
    else:
        exchange.abort()


async def models(exchange: Exchange, call: Call, usable: list[tuple[Model, str]], name: str) -> None:
    """All models that the caller may use, or the one called `name`. Raises ModelNotFound."""
    shown = [{"id": model.name, "object": "model", "created": _CREATED, "owned_by": owner} for model, owner in usable]
    if not name:
        await _json(exchange, call, 200, {"object": "list", "data": shown}, [])
        return
    for row in shown:
        if row["id"] == name:
            await _json(exchange, call, 200, row, [])
            return
    raise ModelNotFound(name)


async def _json(exchange: Exchange, call: Call, status: int, value: object, headers: Headers) -> None:
    body = msgspec.json.encode(value)
    call.status, call.replied = status, True
    await exchange.respond(status, [(b"content-type", b"application/json"), (b"x-request-id", call.id.encode()), *headers], body)
