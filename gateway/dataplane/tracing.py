"""A call's spans: one for the call, and one for each of its steps, made of the marks on `Call` once it has ended.

Names and attributes are those of OpenTelemetry's semantic conventions for generative AI and HTTP where there are any, else begin
with `gateway.`. What a caller made up (a model that is none, a path) is in none of them.
"""

import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from urllib.parse import urlsplit

from gateway.dataplane.call import Call
from gateway.dataplane.call_lines import is_sampled
from gateway.dataplane.endpoints import ENDPOINTS, PREFIX, Policy
from gateway.dataplane.ports import Exchange
from gateway.dataplane.trace_context import FIELDS, Trace, begin, new_id
from gateway.domain.upstreams import Headers
from gateway.ops.spans import Span

Attributes = dict[str, str | int | float | bool]

_OPERATIONS = {"chat.completions": "chat", "completions": "text_completion", "embeddings": "embeddings"}
_ROUTES = {endpoint.name: (endpoint.method, PREFIX + endpoint.path) for endpoint in ENDPOINTS}
_OF_MODELS = frozenset(endpoint.name for endpoint in ENDPOINTS if endpoint.policy is Policy.MODEL)
_FIRST_ERROR, _FIRST_OF_OURS = 400, 500
_PORTS = {"http": 80, "https": 443}
_NS = 1_000_000_000


class Tracer:
    """`sample` is the share of the calls without a trace of their own that are recorded; `send` takes a call's spans."""

    def __init__(self, sample: float, send: Callable[[list[Span]], None]) -> None:
        self._sample = sample
        self._send = send

    def upward(self, call: Call, headers: Headers) -> Headers:
        """`headers` as they go upstream, with the call's own trace in the place of the client's. To be asked once a call."""
        call.trace = self._begin(call, headers)
        return [field for field in headers if field[0] not in FIELDS] + call.trace.upward()

    def ended(self, call: Call, exchange: Exchange) -> None:
        """A call has ended, however it did: its spans are sent on if it is recorded."""
        trace = call.trace = call.trace or self._begin(call, exchange.headers)
        if trace.sampled:
            now, wall = time.monotonic(), time.time_ns()
            self._send(list(_spans(call, trace, now, wall)))

    def _begin(self, call: Call, headers: Headers) -> Trace:
        return begin(headers, sampled=is_sampled(call.id, self._sample))


def _spans(call: Call, trace: Trace, now: float, wall: int) -> Iterator[Span]:
    """`now` is the call's end, `wall` the Unix time of it in nanoseconds, by which every mark becomes such a time."""

    def at(mark: float) -> int:
        return wall - int((now - mark) * _NS)

    parent = trace.parent
    operation = _OPERATIONS.get(call.endpoint, "")
    name = f"{operation} {call.model.name}" if operation and call.model is not None else operation or call.endpoint
    yield Span(
        name,
        "server",
        trace.trace_id,
        trace.root_id,
        0 if parent is None else parent.span_id,
        at(call.started),
        wall,
        _of_call(call, operation),
        error=call.status >= _FIRST_OF_OURS or call.outcome not in ("ok", "refused", "client_gone"),
        is_remote=parent is not None,
        state="" if parent is None else parent.state,
    )
    for step, begun, ended, over in _steps(call, now):
        forward = step == "forward"
        yield Span(
            step,
            "client" if forward else "internal",
            trace.trace_id,
            trace.forward_id if forward else new_id(),
            trace.root_id,
            at(begun),
            at(ended),
            _of_forward(call) if forward else {} if over else {"error.type": _error(call)},
            error=not over,
        )


def _steps(call: Call, now: float) -> Iterator[tuple[str, float, float, bool]]:
    """The steps that began: name, begin, end, and whether it came to its own end, not that of the call."""
    before = call.started
    marks = [("authenticate", call.authenticated_at)]
    if call.endpoint in _OF_MODELS:
        marks += [("read", call.read_at), ("admit", call.admitted_at)]
    for name, mark in marks:
        yield name, before, mark or now, bool(mark)
        if not mark:
            return
        before = mark
    if call.sent_at:
        yield "forward", call.sent_at, call.answered_at, 0 < call.upstream_status < _FIRST_ERROR
    if call.first_byte is not None:
        yield "relay", call.answered_at, now, call.outcome == "ok"


def _error(call: Call) -> str:
    """What a call that did not go well failed with: the code of its reply, else what the ledger says, else the status."""
    if call.refused:
        return call.refused
    return call.outcome if call.outcome != "ok" else str(call.status)


def _of_call(call: Call, operation: str) -> Attributes:
    found: Attributes = {"gateway.request.id": call.id, "gateway.outcome": call.outcome, "http.response.status_code": call.status}
    if operation:
        found["gen_ai.operation.name"] = operation
    if call.endpoint in _ROUTES:
        found["http.request.method"], found["http.route"] = _ROUTES[call.endpoint]
    if (caller := call.principal) is not None:
        found["gateway.account.id"] = caller.account_id
        found["gateway.workspace.id"] = caller.workspace_id
        found["gateway.key.id"] = caller.key_id
    if call.model is not None:
        found["gen_ai.request.model"] = call.model.name
        found["gateway.stream"] = call.stream
    if call.deployment is not None:
        found["gen_ai.provider.name"] = call.deployment.upstream_name
    if call.usage is not None:
        found["gen_ai.usage.input_tokens"] = call.usage.input
        found["gen_ai.usage.output_tokens"] = call.usage.output
    if call.first_byte is not None:
        found["gateway.first_byte.seconds"] = round(call.first_byte - call.started, 6)
    if call.outcome != "ok" or call.status >= _FIRST_ERROR:
        found["error.type"] = _error(call)
    return found


def _of_forward(call: Call) -> Attributes:
    """Where the call went; of several tries that is the last."""
    found: Attributes = {"http.request.method": "POST"}
    if (deployment := call.deployment) is not None:
        found["server.address"], found["server.port"] = _server(deployment.base_url)
        found["gen_ai.request.model"] = deployment.upstream_model
        found["gen_ai.provider.name"] = deployment.upstream_name
    if call.upstream_status:
        found["http.response.status_code"] = call.upstream_status
    if not 0 < call.upstream_status < _FIRST_ERROR:
        found["error.type"] = str(call.upstream_status) if call.upstream_status else _error(call)
    return found


@lru_cache(maxsize=1000)
def _server(base_url: str) -> tuple[str, int]:
    parts = urlsplit(base_url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
