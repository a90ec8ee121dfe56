"""Which trace a call belongs to, as W3C Trace Context writes it (Recommendation of 2021): read from a client, written upstream.

A `traceparent` that the specification forbids counts as none, and `tracestate` with it; a `tracestate` that it forbids counts as
none alone.
"""

import os
import re
from dataclasses import dataclass

from gateway.domain.upstreams import Headers

_PARENT = b"traceparent"
_STATE = b"tracestate"
FIELDS = frozenset((_PARENT, _STATE))

# Version, trace, parent, flags; a version to come may add to it behind another hyphen.
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)
_NO_VERSION = b"ff"
_FIRST_VERSION = b"00"
_SAMPLED = 1
_MEMBER = re.compile(
    r"([a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MOST_MEMBERS = 32


@dataclass(frozen=True, slots=True)
class Remote:
    """What a client says that its call is part of; `sampled` says whether it records the trace itself."""

    trace_id: int
    span_id: int
    sampled: bool
    state: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace of one call. `root_id` and `forward_id` are those of its own spans; `parent` is the client's, if it sent one."""

    trace_id: int
    root_id: int
    forward_id: int
    sampled: bool
    parent: Remote | None = None

    def upward(self) -> Headers:
        """The header fields by which the upstream's spans become children of the forward span."""
        headers: Headers = [(_PARENT, b"00-%032x-%016x-%02x" % (self.trace_id, self.forward_id, self.sampled))]
        if self.parent is not None and self.parent.state:
            headers.append((_STATE, self.parent.state.encode("ascii")))
        return headers


def remote(headers: Headers) -> Remote | None:
    """What a request says that it is part of, None for nothing or nonsense."""
    parents = [value for name, value in headers if name == _PARENT]
    found = _TRACEPARENT.fullmatch(parents[0].strip(b" \t")) if len(parents) == 1 else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    trace_id, span_id = int(trace, 16), int(span, 16)
    if version == _NO_VERSION or (version == _FIRST_VERSION and more is not None) or not trace_id or not span_id:
        return None
    state = ",".join(value.decode("latin-1") for name, value in headers if name == _STATE)
    return Remote(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), _valid(state))


def _valid(state: str) -> str:
    """The list of members, or nothing where it is none."""
    members = [member.strip(" \t") for member in state.split(",")]
    members = [member for member in members if member]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {each[1] for each in found if each is not None}
    return ",".join(members) if len(keys) == len(members) <= _MOST_MEMBERS else ""


def begin(headers: Headers, *, sampled: bool) -> Trace:
    """A call's trace: the client's where `headers` name one, which then also says whether it is recorded; else a new one, of
    which `sampled` says it.
    """
    parent = remote(headers)
    bits = os.urandom(32)
    root_id, forward_id = new_id(bits[:8]), new_id(bits[8:16])
    if parent is None:
        return Trace(int.from_bytes(bits[16:], "big") or 1, root_id, forward_id, sampled)
    return Trace(parent.trace_id, root_id, forward_id, parent.sampled, parent)


def new_id(bits: bytes | None = None) -> int:
    """A span's ID: 64 random bits, not all zero."""
    return int.from_bytes(os.urandom(8) if bits is None else bits, "big") or 1
