"""What is told of a call once it has ended: its log line, its trace."""

import logging
from dataclasses import dataclass

from gateway.dataplane.call import Call
from gateway.dataplane.call_lines import CallLines
from gateway.dataplane.ports import Exchange
from gateway.dataplane.tracing import Tracer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Observers:
    """Those who are told; None is nobody."""

    lines: CallLines | None = None
    tracer: Tracer | None = None

    def __call__(self, call: Call, exchange: Exchange) -> None:
        """Tell them. Raises nothing: the call is over, and its reply was right."""
        try:
            if self.tracer is not None:
                self.tracer.ended(call, exchange)
            if self.lines is not None:
                self.lines.ended(call)
        except Exception:  # noqa: BLE001 — whatever is wrong with what is told of calls, calls go on
            _log.exception("the end of call %s could not be told", call.id, extra={"request_id": call.id})
