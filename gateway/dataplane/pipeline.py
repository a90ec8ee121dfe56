"""A call, in six steps. Read this file first.

Each step takes what the one before it learnt, which `Call` keeps, and refuses by raising one error of `domain.errors`, which
becomes the reply. From admission on, `Settled` has every call settled and recorded once, whatever ends it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from gateway.dataplane import answers, wire
from gateway.dataplane.admit import Gate
from gateway.dataplane.bodies import Bodies
from gateway.dataplane.call import Call, begin
from gateway.dataplane.endpoints import Endpoint, Policy, Routes
from gateway.dataplane.forward import Forwarder
from gateway.dataplane.headers import patience
from gateway.dataplane.meter import Meter
from gateway.dataplane.observe import Observer
from gateway.dataplane.open_calls import OpenCalls
from gateway.dataplane.ports import ClientGone, Exchange, Refusals
from gateway.dataplane.relay import relay
from gateway.domain.causes import Cause
from gateway.domain.errors import InternalError, LimitRequests, NotFound, Refusal, RequestTimeOut, UpstreamError

_log = logging.getLogger(__name__)
_COUNTED = frozenset({401, 403, 404, 429, 503})
_NO_KEY = "no_key"  # which has no code of its own
_CLIENT_CLOSED = 499  # what the ledger says of a client that left before it was answered, as nginx's log does


@dataclass(frozen=True, slots=True)
class DataPlane:
    """The parts that calls pass through, put together once by the composition root."""

    gate: Gate
    routes: Routes
    bodies: Bodies
    forwarder: Forwarder
    meter: Meter
    refusals: Refusals
    open_calls: OpenCalls
    observer: Observer
    ended: Callable[[Call, Exchange], None] | None = None
    """Told of each call once it has ended, for its log line and its trace; None where neither is wanted."""


async def serve(exchange: Exchange, plane: DataPlane) -> None:
    """Answer one request, from its headers to its ledger entry."""
    call = begin(exchange.started)
    try:
        await plane.gate.authenticate(call, exchange)
        call.authenticated_at = time.monotonic()
        try:
            endpoint, name = plane.routes.match(exchange.method, exchange.path)
        except Refusal:
            await plane.gate.confirm(call)
            raise
        call.endpoint = endpoint.name
        if endpoint.policy is Policy.KEY:
            await _show_models(exchange, call, plane, name)
        else:
            await _serve_model(exchange, call, plane, endpoint)
    except Refusal as refusal:
        _log.log(_level(refusal), "call %s refused: %s %s", call.id, refusal.code, refusal.detail, extra={"request_id": call.id})
        call.outcome = "refused" if call.outcome == "ok" else call.outcome
        _count(call, plane, refusal)
        await answers.refuse(exchange, call, refusal)
    except asyncio.CancelledError:
        if call.cut is None:
            if call.outcome == "ok":
                call.outcome = "client_gone" if exchange.gone else "gateway_stopped"
            raise
        _uncancel()
        _count(call, plane, call.cut)
        await answers.refuse(exchange, call, call.cut)
    except ClientGone:
        call.outcome, call.status = "client_gone", call.status or _CLIENT_CLOSED
    except Exception:  # noqa: BLE001 — the one place where a fault of ours becomes a reply
        call.outcome, call.refused = "internal_error", InternalError.code
        _log.exception("call %s failed inside the gateway", call.id, extra={"request_id": call.id})
        await answers.refuse(exchange, call, InternalError())
    finally:
        call.client_seconds = exchange.waited
        plane.observer.ended(call)
        if plane.ended is not None:
            plane.ended(call, exchange)


async def _serve_model(exchange: Exchange, call: Call, plane: DataPlane, endpoint: Endpoint) -> None:
    with plane.bodies.hold() as hold:
        body = wire.read(await exchange.body(hold))
        call.read_at = time.monotonic()
        call.asked = body.model
        call.stream, call.body_bytes, call.choices = body.stream and endpoint.streams, len(body.raw), body.choices
        with Settled(exchange, call, plane):
            await plane.gate.admit(call, body, endpoint, patience(exchange.fields))
            call.admitted_at = time.monotonic()
            reply = await plane.forwarder.forward(call, body, endpoint, exchange.headers, exchange.fields)
            try:
                hide_usage = call.stream and not body.include_usage
                await relay(
                    exchange, call, reply, hide_usage=hide_usage, before_end=plane.meter.before_end, gaps=plane.observer.gaps
                )
            finally:
                await reply.close()
                call.upstream_seconds += reply.waited


class Settled:
    """Settles and records the call when the block ends. Nothing here waits, so nothing can come in between."""

    __slots__ = ("_call", "_exchange", "_plane")

    def __init__(self, exchange: Exchange, call: Call, plane: DataPlane) -> None:
        self._exchange, self._call, self._plane = exchange, call, plane

    def __enter__(self) -> None:
        self._plane.open_calls.opened(self._call)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        call, plane = self._call, self._plane
        try:
            if error is not None:
                self._say_why(error)
        finally:
            plane.open_calls.closed(call)
            plane.meter.finish(call)

    def _say_why(self, error: BaseException) -> None:
        """What the call came to, as its ledger entry tells it."""
        call = self._call
        if isinstance(error, Refusal):
            call.status = call.status or error.status
            if call.outcome == "ok" and call.admitted:
                call.outcome = "upstream_error"
        elif isinstance(error, ClientGone):
            call.outcome, call.status = "client_gone", call.status or _CLIENT_CLOSED
        elif isinstance(error, asyncio.CancelledError):
            call.outcome = "key_cut" if call.cut else "client_gone" if self._exchange.gone else "gateway_stopped"
            call.status = call.status or (call.cut.status if call.cut else _CLIENT_CLOSED)
        else:
            call.outcome, call.status = "internal_error", call.status or InternalError.status


async def _show_models(exchange: Exchange, call: Call, plane: DataPlane, name: str) -> None:
    call.asked = name
    await plane.gate.confirm(call)
    await answers.models(exchange, call, plane.gate.usable(call.caller), name)


def _count(call: Call, plane: DataPlane, refusal: Refusal) -> None:
    """Count a call that policy or limits kept out; one that was admitted is in the ledger, and one that is no call in neither."""
    cause, caller = _cause(call, refusal), call.principal
    call.refused, call.refused_at = cause.code or _NO_KEY, cause.level
    if caller is None or call.admitted or refusal.status not in _COUNTED or isinstance(refusal, NotFound):
        return
    # A name that somebody made up must not become one more row.
    model = call.asked if plane.gate.catalogue.model(call.asked) is not None else ""
    plane.refusals.count(call.at, caller, model, str(cause))


def _cause(call: Call, refusal: Refusal) -> Cause:
    code, decision = refusal.code or "", call.decision
    if refusal.status != LimitRequests.status or decision is None:
        return Cause(code)
    if decision.full is not None:
        return Cause(code, decision.full.level)
    return Cause(code, decision.refused.level.name.lower() if decision.refused is not None else "")


def _level(refusal: Refusal) -> int:
    """What a call met upstream is told to the operator, whom the client was sent to; the rest says nothing that metrics do not.

    Of an upstream that is down few calls get so far: after some failures it is ejected, and that is a 503.
    """
    return logging.WARNING if isinstance(refusal, UpstreamError | RequestTimeOut) else logging.DEBUG


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
