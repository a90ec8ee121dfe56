"""Step 4: to a model server, and to the next one while no byte has reached the client.

Another deployment is tried after a connection that failed or was lost without a reply, and after a 429, 502, 503 or 504 from
one; never after a time-out, for which the client has waited long enough. The last answer is the one that counts.
"""

import time
from dataclasses import dataclass

from gateway.dataplane import wire
from gateway.dataplane.call import Call
from gateway.dataplane.endpoints import Endpoint
from gateway.dataplane.headers import upward
from gateway.dataplane.ports import Reply, Upstreams
from gateway.dataplane.tracing import Tracer
from gateway.domain.errors import ModelUnavailable, Refusal, RequestTimeOut, UpstreamError
from gateway.domain.faults import UnsendableRequest, UpstreamFault, UpstreamTimedOut
from gateway.domain.upstreams import Deployment, Fields, Headers

_RETRIED = frozenset((429, 502, 503, 504))
# What a server says of itself. A 500 may be what one caller's request does to it, and must not eject it for all others.
_UNWELL = frozenset((502, 503, 504))
# What a client may see; of the others 401, 403 and 407 tell of our account there, and a redirect would lead elsewhere.
_ANSWERS = frozenset((*range(200, 300), *range(400, 600))) - {401, 403, 407}
_UNAVAILABLE_RETRY_MS = 1000


@dataclass(frozen=True, slots=True)
class Forwarder:
    """Sends calls to the upstreams."""

    upstreams: Upstreams
    tracer: Tracer | None = None

    async def forward(self, call: Call, body: wire.Body, endpoint: Endpoint, headers: Headers, fields: Fields) -> Reply:
        """An upstream's reply that may go to the client, for whoever asks to close.

        Raises ModelUnavailable, RequestTimeOut, UpstreamError.
        """
        sent = upward(headers, fields)
        sent.append((b"x-request-id", call.id.encode()))  # by which the upstream's log lines are found
        sent = sent if self.tracer is None else self.tracer.upward(call, sent)
        tried: list[Deployment] = []
        fault: UpstreamFault | None = None
        deployment = self.upstreams.choose(body.model, tried)
        while deployment is not None:
            tried.append(deployment)
            call.deployment, call.upstream = deployment, deployment.upstream_id
            raw = _on_the_wire(body, endpoint, deployment)
            fault, reply = None, None
            begun = time.monotonic()
            call.sent_at = call.sent_at or begun
            try:
                call.sent = True
                reply = await self.upstreams.send(deployment, endpoint.path, sent, raw)
            except UpstreamFault as error:
                if not isinstance(error, UnsendableRequest):  # a caller's header must not eject an upstream
                    self.upstreams.report(deployment, healthy=False)
                call.sent = error.reached
                fault = error
                if error.reached and isinstance(error, UpstreamTimedOut):
                    break
            else:
                self.upstreams.report(deployment, healthy=reply.status not in _UNWELL)
            finally:
                call.answered_at = time.monotonic()
                if reply is None:
                    call.upstream_seconds += call.answered_at - begun
            deployment = self.upstreams.choose(body.model, tried) if reply is None or reply.status in _RETRIED else None
            if reply is not None:
                if deployment is None:
                    call.upstream_status = reply.status
                    if reply.status in _ANSWERS:
                        return reply
                    fault = UpstreamFault(f"it answered {reply.status}", reached=True)
                await reply.close()
                call.upstream_seconds += reply.waited
        raise _refusal(fault, call, body.model) from fault


def _refusal(fault: UpstreamFault | None, call: Call, model: str) -> Refusal:
    """What the last fault is to the client; None stands for no deployment that could be tried."""
    if fault is None:
        return ModelUnavailable(f"no healthy deployment of {model}", retry_after_ms=_UNAVAILABLE_RETRY_MS)
    if isinstance(fault, UpstreamTimedOut):
        return RequestTimeOut(f"{call.deployment}: {fault}")
    return UpstreamError(f"{call.deployment}: {fault}")


def _on_the_wire(body: wire.Body, endpoint: Endpoint, deployment: Deployment) -> bytes:
    """The body for one deployment: its own name for the model, and usage asked for in every stream."""
    return wire.edited(
        body,
        model=None if deployment.upstream_model == body.model else deployment.upstream_model,
        include_usage=body.stream and endpoint.streams,
    )
