"""Step 5: the reply to the client as it comes, usage read on the way past.

A JSON reply of up to 1 MiB is sent in one piece, so that one that breaks off is a clean 502; a longer one goes on as it comes,
and if it breaks off, so does the client's connection. An event stream that breaks off ends with an error event.
"""

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable

from gateway.dataplane.call import Call
from gateway.dataplane.headers import downward, rate_limit
from gateway.dataplane.ports import Exchange, Reply
from gateway.dataplane.sse import EventStream, error_event, usage_in_part, usage_of
from gateway.domain.errors import Refusal, RequestTimeOut, UpstreamError
from gateway.domain.faults import UpstreamFault, UpstreamTimedOut
from gateway.domain.upstreams import Headers
from gateway.ops.histograms import Histogram
from gateway.ops.redact import CREDENTIALS

_WHOLE = 1 << 20
_PART = 64 << 10  # of each end of a longer reply is searched for usage
_SUCCESS = range(200, 300)
_FIRST_ERROR = 400
_EVENT_STREAM = b"text/event-stream"


BeforeEnd = Callable[[Call], Awaitable[None]]
Gaps = Callable[[Call], Histogram]


async def relay(exchange: Exchange, call: Call, reply: Reply, *, hide_usage: bool, before_end: BeforeEnd, gaps: Gaps) -> None:
    """Send the reply on. Raises UpstreamError or RequestTimeOut if it breaks off before a byte was sent.

    `before_end` is waited for before the bytes that end the reply are sent: the last event of a stream, the body of any other.
    It may raise a Refusal, and does nothing the second time. `gaps` gives the histogram for the times between a stream's parts.
    """
    fields = reply.fields
    headers = downward(reply.headers, fields)
    headers.append((b"x-request-id", call.id.encode()))
    if call.decision is not None:
        headers += rate_limit(call.decision.gauges)
    content_type = fields.get(b"content-type", b"")
    plain = fields.get(b"content-encoding") in (None, b"identity")
    call.stream = plain and reply.status in _SUCCESS and content_type.partition(b";")[0].strip().lower() == _EVENT_STREAM
    if call.stream:
        await _events(exchange, call, reply, headers, before_end, hide_usage=hide_usage, gaps=gaps(call))
    else:
        # A length beside a transfer coding does not count (RFC 9112, section 6.3).
        length = None if b"transfer-encoding" in fields else fields.get(b"content-length")
        await _whole(exchange, call, reply, headers, before_end, length=length, readable=plain)


async def _events(
    exchange: Exchange, call: Call, reply: Reply, headers: Headers, before_end: BeforeEnd, *, hide_usage: bool, gaps: Histogram
) -> None:
    stream = EventStream(hide_usage=hide_usage)
    broken: Refusal | None = None
    last = b""
    counts, bounds, before = gaps.counts, gaps.bounds, 0.0
    try:
        await _start(exchange, call, reply.status, headers)
        while chunk := await reply.chunk():
            now = time.monotonic()
            if before:
                counts[bisect_left(bounds, now - before)] += 1
            else:
                call.first_byte = now
            before = now
            passed = stream.feed(chunk)
            if stream.done:
                _note(call, stream)
                await before_end(call)
            if passed:
                await exchange.write(passed)
        last = stream.rest()
        if not stream.complete:
            broken = UpstreamError("the stream ended without its end")
    except UpstreamFault as fault:
        if not stream.done:
            broken = _refusal(fault)
    finally:
        gaps.sum += before - (call.first_byte or before)
        _note(call, stream)
    if broken is not None:
        call.outcome = "upstream_broke"
        last += error_event(broken, call.id)
    await before_end(call)
    if last:
        await exchange.write(last)
    await exchange.end()


def _note(call: Call, stream: EventStream) -> None:
    call.usage, call.events, call.reply_bytes = stream.usage, stream.events, stream.bytes


async def _whole(
    exchange: Exchange, call: Call, reply: Reply, headers: Headers, before_end: BeforeEnd, *, length: bytes | None, readable: bool
) -> None:
    kept: list[bytes] = []
    head = tail = b""
    try:
        while chunk := await reply.chunk():
            if call.first_byte is None:
                call.first_byte = time.monotonic()
            call.reply_bytes += len(chunk)
            if call.replied:
                tail = (tail + chunk)[-_PART:]
                await exchange.write(chunk)
                continue
            kept.append(chunk)
            if call.reply_bytes > _WHOLE:
                if length is not None:
                    headers.append((b"content-length", length))
                await _start(exchange, call, reply.status, headers)
                whole = b"".join(kept)
                head, tail = whole[:_PART], whole[-_PART:]
                await exchange.write(whole)
    except UpstreamFault as fault:
        call.outcome = "upstream_broke"
        if not call.replied:
            raise _refusal(fault) from fault
        exchange.abort()
        return
    if call.replied:
        call.usage = (usage_in_part(tail) or usage_in_part(head)) if readable else None
        await before_end(call)
        await exchange.end()
        return
    body = kept[0] if len(kept) == 1 else b"".join(kept)
    call.usage = usage_of(body) if readable else None
    call.status = reply.status
    await before_end(call)
    call.replied = True
    await exchange.respond(reply.status, headers, body if reply.status < _FIRST_ERROR else CREDENTIALS.hide(body))


async def _start(exchange: Exchange, call: Call, status: int, headers: Headers) -> None:
    call.status, call.replied = status, True
    await exchange.start(status, headers)


def _refusal(fault: UpstreamFault) -> Refusal:
    return RequestTimeOut(str(fault)) if isinstance(fault, UpstreamTimedOut) else UpstreamError(str(fault))
