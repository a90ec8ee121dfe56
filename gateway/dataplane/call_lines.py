"""A log line for each call, at its end: who called what, what came of it, how long it took. No prompt, no header field."""

import logging
import time

from gateway.dataplane.call import Call

_log = logging.getLogger("gateway.calls")
_FIRST_ERROR = 400
_RANDOM_DIGITS = 12  # of a call ID, at its end: random bits alone
_ALL = 1 << 4 * _RANDOM_DIGITS


def is_sampled(call_id: str, share: float) -> bool:
    """Whether a call is among `share` of all. The ID alone decides, so that every process and every reader agrees."""
    return int(call_id[-_RANDOM_DIGITS:], 16) < share * _ALL


class CallLines:
    """Writes the lines: of the calls that went well a `share` (0 to 1), of the others all."""

    def __init__(self, share: float) -> None:
        self._share = share
        _log.setLevel(logging.INFO)  # they were asked for, whatever else is written

    def ended(self, call: Call) -> None:
        """A call has ended, however it did."""
        good = call.outcome == "ok" and call.status < _FIRST_ERROR
        if good and not is_sampled(call.id, self._share):
            return
        _log.info("call", extra=fields(call, time.monotonic()))


def fields(call: Call, now: float) -> dict[str, object]:
    """What the line says, by name (`ops.logs.FIELDS`); what is not known of a call is left out. `now` is its end.

    `model` is the catalogue's name: what a caller made up could be anything.
    """
    total = now - call.started
    found: dict[str, object] = {"request_id": call.id, "endpoint": call.endpoint}
    if (caller := call.principal) is not None:
        found |= {"account_id": caller.account_id, "workspace_id": caller.workspace_id, "key_id": caller.key_id}
    if call.model is not None:
        found |= {"model": call.model.name, "stream": call.stream}
    found |= {"status": call.status, "outcome": call.outcome}
    if call.refused:
        found["code"] = call.refused
    if call.deployment is not None:
        found["upstream"] = call.deployment.upstream_name
    if call.usage is not None:
        found |= {"input_tokens": call.usage.input, "output_tokens": call.usage.output}
    if call.first_byte is not None:
        found["ttft_ms"] = _ms(call.first_byte - call.started)
    if call.trace is not None and call.trace.sampled:
        found["trace_id"] = f"{call.trace.trace_id:032x}"
    # As `gateway_overhead_seconds` counts it.
    own = total - call.upstream_seconds - call.client_seconds - call.waited_seconds
    return found | {"duration_ms": _ms(total), "overhead_ms": _ms(max(0.0, own))}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
