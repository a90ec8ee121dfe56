"""What is known of one call as it goes through the six steps."""

import time

import msgspec

from gateway.dataplane.trace_context import Trace
from gateway.domain.admission import Answer, Decision
from gateway.domain.errors import Refusal
from gateway.domain.grants import Model, Principal
from gateway.domain.ids import call_id
from gateway.domain.upstreams import Deployment
from gateway.domain.usage import Usage


class Call(msgspec.Struct):
    """A call's facts, written by the steps that learn them. Times are `time.monotonic()` seconds; `at` is Unix milliseconds.

    `sent_at` is when the request was first handed to a deployment, `answered_at` when the reply that counts was there, its head,
    or nothing more was hoped for. `upstream_seconds` is all that the call waited for upstreams, `client_seconds` for its client's
    body and for it to take bytes, `waited_seconds` for room, because its client asked for that; all are whole once the call has
    ended. `refused` is why it was refused, an error's code, and `refused_at` whose limit that was: see `domain.causes.Cause`.
    """

    at: int
    started: float
    id: str
    endpoint: str = "unknown"
    digest: bytes = b""
    principal: Principal | None = None
    # admit; `asked` is the model's name as the client sent it
    asked: str = ""
    model: Model | None = None
    stream: bool = False
    body_bytes: int = 0
    choices: int = 1
    decision: Decision | None = None
    # forward and relay
    deployment: Deployment | None = None
    upstream: str = ""
    sent: bool = False
    upstream_status: int = 0
    usage: Usage | None = None
    events: int = 0
    reply_bytes: int = 0
    first_byte: float | None = None
    # when it came so far, 0.0 where it did not; and what it waited for others, in seconds
    authenticated_at: float = 0.0
    read_at: float = 0.0
    admitted_at: float = 0.0
    sent_at: float = 0.0
    answered_at: float = 0.0
    upstream_seconds: float = 0.0
    client_seconds: float = 0.0
    waited_seconds: float = 0.0
    # the end
    ended_at: float = 0.0
    refused: str = ""
    refused_at: str = ""
    status: int = 0
    outcome: str = "ok"
    trace: Trace | None = None
    replied: bool = False
    finished: bool = False
    cut: Refusal | None = None

    @property
    def caller(self) -> Principal:
        """The principal, once authenticated."""
        if self.principal is None:
            raise RuntimeError("asked for the principal before authentication")
        return self.principal

    @property
    def admitted(self) -> bool:
        return self.decision is not None and self.decision.answer is Answer.ADMITTED


def begin(started: float) -> Call:
    """A call whose headers came at the time `started`."""
    at = time.time_ns() // 1_000_000
    return Call(at=at, started=started, id=call_id(at))
