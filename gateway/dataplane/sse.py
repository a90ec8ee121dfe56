"""Reading an event stream on its way past (server-sent events, WHATWG HTML, section 9.2).

Only whole events are let through, so that an error event can always follow as an event of its own. An event's bytes are not
changed; the one event that may be kept back is the usage that the gateway asked for and the client did not.
"""

import re
from collections import deque

import msgspec

from gateway.domain.errors import Refusal
from gateway.domain.usage import Usage

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_DONE = re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\]")
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"|(?:^|[\r\n])data:\s*\{\s*"error"\s*:')
_BOUNDARY = re.compile(rb"\n\r?\n|\r\r")  # of `\r\n\r\n` its last three bytes tell
_MOST_TAIL = 8 << 20
_LONGEST_BOUNDARY = 4
_ENDING = 3  # events that can tell of an end: a finish reason, the usage, `[DONE]`
_MOST_TOKENS = 1_000_000_000  # no call uses more; a count above is not believed
_NULL = msgspec.Raw(b"null")


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Reply(msgspec.Struct):
    usage: _Usage | None = None


class _Chunk(msgspec.Struct):
    usage: _Usage | None = None
    choices: list[msgspec.Raw] | None = None
    error: msgspec.Raw = _NULL


_reply = msgspec.json.Decoder(_Reply)
_chunk = msgspec.json.Decoder(_Chunk)
_usage = msgspec.json.Decoder(_Usage)


def _told(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    read, written, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
    if read is None and written is None and total is None:
        return None
    if (read or 0) > _MOST_TOKENS or (written or 0) > _MOST_TOKENS or (total or 0) > _MOST_TOKENS:
        return None
    read = max(0, read or 0)
    if written is None:
        written = (total or read) - read
    details = usage.prompt_tokens_details
    cached = 0 if details is None else min(max(0, details.cached_tokens or 0), read)
    return Usage(input=read, output=max(0, written), cached=cached)


def usage_of(body: bytes) -> Usage | None:
    """The usage that a whole JSON reply names, or None."""
    try:
        return _told(_reply.decode(body).usage)
    except msgspec.MsgspecError:
        return None


def usage_in_part(part: bytes) -> Usage | None:
    """The last usage in a part of a reply that was not kept whole, or None."""
    found = list(_USAGE.finditer(part))
    if not found:
        return None
    start = found[-1].end() - 1
    depth = 0
    for index in range(start, len(part)):
        depth += {0x7B: 1, 0x7D: -1}.get(part[index], 0)
        if depth == 0:
            try:
                return _told(_usage.decode(part[start : index + 1]))
            except msgspec.MsgspecError:
                return None
    return None


class EventStream:
    """One reply's events. Feed it what comes; send on what it returns.

    `usage` is the last that was named; `events` and `bytes` count what went past, for a stream that breaks off.
    """

    def __init__(self, *, hide_usage: bool) -> None:
        self._hide_usage = hide_usage
        self._tail = bytearray()
        self._last: deque[bytes] = deque(maxlen=_ENDING)
        self._may_be_done = False
        self.usage: Usage | None = None
        self.events = 0
        self.bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        """The whole events that `chunk` completes; the start of the next one is kept."""
        # What was kept holds no boundary, so a huge event is searched once only, however small its pieces.
        tail = self._tail
        if not tail and chunk.endswith((b"\n\n", b"\n\r\n")):
            return self._passed(chunk)
        searched = max(0, len(tail) - _LONGEST_BOUNDARY + 1)
        tail += chunk
        cut = _last_boundary(tail, searched)
        if cut == 0 and len(tail) > _MOST_TAIL:
            cut = len(tail)
        if cut == 0:
            return b""
        block = bytes(tail[:cut])
        del tail[:cut]
        return self._passed(block)

    def rest(self) -> bytes:
        """What the upstream left after its last event, once it has ended in good order."""
        tail, self._tail = bytes(self._tail), bytearray()
        return self._passed(tail) if tail else b""

    @property
    def complete(self) -> bool:
        """Whether the stream says that it is over: `[DONE]`, a finish reason, or an error of the upstream's own."""
        return self.done or _FINISHED.search(self._ending()) is not None

    @property
    def done(self) -> bool:
        """Whether `[DONE]` went past, after which nothing can be missing."""
        return self._may_be_done and _DONE.search(self._ending()) is not None

    def _ending(self) -> bytes:
        """The last few events with data: the same ones, in whatever pieces they came."""
        events: list[bytes] = []
        for block in reversed(self._last):
            events[:0] = _last_with_data(block)
            if len(events) >= _ENDING:
                break
        return b"".join(events[-_ENDING:])

    def _passed(self, block: bytes) -> bytes:
        events = block.count(b"data:")
        if events:
            self._last.append(block)
            if block.rfind(b"[DONE]") >= 0:  # or somebody speaks of it; backwards the search takes half the time
                self._may_be_done = True
        self.events += events
        self.bytes += len(block)
        if block.rfind(b'"usage"') < 0:
            return block
        named = block.find(b'"usage"')
        if _USAGE.search(block, named) is None:
            return block
        # Of a large block the part before is nobody's concern.
        before = block.rfind(b"\n\n", 0, named) + 2 if b"\r" not in block else 0
        before = before if before > 1 else 0
        kept = [_blank_lines(each) if self._is_extra(each) else each for each in _split(block[before:])]
        return block[:before] + b"".join(kept)

    def _is_extra(self, event: bytes) -> bool:
        """Read an event's usage; whether it is there for us alone."""
        if _USAGE.search(event) is None:
            return False
        data = b"\n".join(line[5:].lstrip() for line in event.splitlines() if line.startswith(b"data:"))
        try:
            chunk = _chunk.decode(data)
        except msgspec.MsgspecError:
            return False
        usage = _told(chunk.usage)
        if usage is None:
            return False
        self.usage = usage
        self.events -= not chunk.choices
        return self._hide_usage and not chunk.choices and chunk.error == _NULL  # an error is never kept back


def _last_boundary(data: bytearray, start: int) -> int:
    """The index after the last whole event whose boundary lies behind `start`, 0 if there is none."""
    end = 0
    for boundary in (b"\n\n", b"\n\r\n", b"\r\r"):
        found = data.rfind(boundary, start)
        if found >= 0:
            end = max(end, found + len(boundary))
    return end


def _split(block: bytes) -> list[bytes]:
    if b"\r" not in block:  # as mostly; a search by pattern takes thirty times as long
        *whole, rest = block.split(b"\n\n")
        return [*[event + b"\n\n" for event in whole], rest]
    events = []
    start = 0
    for boundary in _BOUNDARY.finditer(block):
        events.append(block[start : boundary.end()])
        start = boundary.end()
    events.append(block[start:])
    return events


def _last_with_data(block: bytes) -> list[bytes]:
    """The last events of a block that have data, at least as many as tell of an end, or all."""
    if b"\r" not in block:
        pieces = block.rsplit(b"\n\n", 2 * _ENDING)
        with_data = [event + b"\n\n" for event in pieces if b"data:" in event]
        if len(with_data) > _ENDING:  # without the first, which may be many
            return with_data[1:]
    return [event for event in _split(block) if b"data:" in event]


def _blank_lines(event: bytes) -> bytes:
    """The blank lines before an event, which are not part of it."""
    return event[: len(event) - len(event.lstrip(b"\r\n"))]


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """How a stream that has begun says that it failed (the reference's documentation of errors)."""
    return b"data: " + msgspec.json.encode(refusal.body(request_id)) + b"\n\n"
