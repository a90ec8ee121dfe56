"""One connection to an upstream, and the reply that is being read from it.

httptools (llhttp, in its strict mode) reads the bytes. What it lets pass and a gateway must not is refused here: a transfer
coding other than `chunked` alone, chunks from HTTP/1.0, another protocol's version, a switch of protocols, and anything behind a
reply's end. Whatever is wrong with a reply, its connection is broken and never used again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import httptools

from gateway.domain.faults import UpstreamFault, UpstreamTimedOut
from gateway.domain.upstreams import Fields, Headers

NEVER: Final = float("inf")
_HIGH = 256 << 10
_JOINED = 32 << 10  # a body up to this size is copied behind its head: one buffer costs less than two
_INTERIM = range(100, 200)
_SWITCHING = 101
_BODILESS = frozenset((204, 304))
_VERSIONS = frozenset(("1.0", "1.1"))
CLOSED_EARLY = "the connection was closed without a reply"


class BadReply(Exception):  # noqa: N818 — says what it is
    """A reply that cannot be relied on; its text quotes nothing of it."""


class Connection(asyncio.Protocol):
    """The protocol of one connection. At most one exchange is on it at a time; `begin` starts one.

    `deadline` is when (in the loop's time) whoever waits has waited long enough, `NEVER` while nobody does; a task of the pool
    calls `expire` after it. `freed` is called once an exchange has ended and the connection can take another, `lost` when it is
    gone. `waited` is how many seconds this exchange waited for the upstream so far: until something came, not until somebody had
    the time to look at it.
    """

    __slots__ = (
        "_begun",
        "_chunked",
        "_chunks",
        "_close_delimited",
        "_done",
        "_fault",
        "_head_size",
        "_in_head",
        "_interim",
        "_keep",
        "_loop",
        "_lost",
        "_method_is_head",
        "_most_head",
        "_parser",
        "_paused",
        "_queued",
        "_read",
        "_reading",
        "_unwritten",
        "_waiter",
        "_woken_at",
        "born",
        "closed",
        "deadline",
        "fields",
        "first_byte",
        "headers",
        "idle",
        "lost",
        "on_body",
        "since",
        "status",
        "transport",
        "used",
        "waited",
    )

    def __init__(self, lost: Callable[["Connection"], None], *, most_head: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._most_head = most_head
        self._chunks: deque[bytes] = deque()
        # What the parser calls for each part of a body, of which a stream has very many.
        self.on_body = self._chunks.append
        self.lost = lost
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.born = self.since = self._loop.time()
        self.closed = False
        self.used = 0
        self.deadline = NEVER
        self.idle = self.first_byte = NEVER
        self._parser: Any = None
        self._unwritten = False
        self._waiter: asyncio.Future[None] | None = None
        self._begun = self._woken_at = self.waited = 0.0
        self._fault: UpstreamFault | None = None
        self._done = True
        self._reading = False
        self._lost = False

    # The exchange

    def begin(self, head: bytes, body: bytes, *, first_byte: float, idle: float, is_head: bool = False) -> None:
        """Send a request; times are seconds. The reply is there once `reply` returns."""
        self.used += 1
        self.first_byte, self.idle = first_byte, idle
        self.status = 0
        self.headers: Headers = []
        self.fields: Fields = {}
        self._read: Headers = self.headers
        self._method_is_head = is_head
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._chunks.clear()
        self._queued = self._head_size = 0
        self._in_head, self._interim, self._chunked, self._close_delimited = True, False, False, False
        self._done = self._keep = self._paused = False
        self._fault = None
        self._reading = True
        self.waited = 0.0
        self.deadline = self._loop.time() + first_byte
        if len(body) <= _JOINED:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self._begun = time.monotonic()

    async def reply(self) -> None:
        """Return once the head of the final reply is read. Raises UpstreamFault, UpstreamTimedOut."""
        try:
            while self._in_head and self._fault is None:
                await self._woken()
        finally:
            self._waited(self._begun)
        if self._in_head and self._fault is not None:
            raise self._fault

    async def chunk(self) -> bytes:
        """The next part of the body; empty at its end. Raises UpstreamFault if it breaks off, UpstreamTimedOut if it stalls."""
        while not self._chunks:
            if self._fault is not None:
                raise self._fault
            if self._done:
                return b""
            self.deadline = self._loop.time() + self.idle
            begun = time.monotonic()
            try:
                await self._woken()
            finally:
                self._waited(begun)
            self.deadline = NEVER  # a client that takes its time is no upstream that is silent
        if len(self._chunks) == 1:
            part = self._chunks.popleft()
        else:
            part = b"".join(self._chunks)
            self._chunks.clear()
        self._queued = 0
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        return part

    def release(self) -> bool:
        """End the exchange; answers whether the connection can take another. One whose reply was not read whole is broken."""
        self.deadline = NEVER
        self._reading = False
        whole = self._done and self._fault is None and not self._chunks
        if whole and self._keep and not self._unwritten and not self.closed and not self.transport.is_closing():
            self.since = self._loop.time()
            if self._method_is_head:
                self._parser = None  # it waits for a body
            return True
        self.abort()
        return False

    def abort(self) -> None:
        """Break the connection."""
        self.closed = True
        self.deadline = NEVER
        if self._fault is None and not self._done:
            self._fail(UpstreamFault("the connection was closed", reached=True))
        if self.transport is not None:
            self.transport.abort()

    @property
    def lost_unanswered(self) -> bool:
        """Whether the other side closed the connection before it sent a byte of a reply."""
        return self._lost and self._in_head and self._head_size == 0

    def expire(self, now: float) -> None:
        """Fail whoever waits, if the deadline is past."""
        if now < self.deadline:
            return
        self.deadline = NEVER
        if self._in_head:
            fault = UpstreamTimedOut(f"no reply within {self.first_byte:g} s", reached=True)
        else:
            fault = UpstreamTimedOut(f"nothing more came for {self.idle:g} s", reached=True)
        self._fail(fault)
        self.abort()

    def _woken(self) -> asyncio.Future[None]:
        """What is done once something has come."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _waited(self, begun: float) -> None:
        """Somebody waited from `begun` until the upstream sent something, or until now if it did not."""
        self.waited += (self._woken_at if self._woken_at >= begun else time.monotonic()) - begun

    def _fail(self, fault: UpstreamFault) -> None:
        if self._fault is None and not self._done:
            self._fault = fault
        self._woken_at = time.monotonic()
        self._wake()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        self._unwritten = True

    def resume_writing(self) -> None:
        self._unwritten = False

    def data_received(self, data: bytes) -> None:
        if not self._reading or self._done:
            # Nobody asked: a reply to nothing, which must not become the reply to the next request.
            self.abort()
            return
        if self._waiter is not None:
            self._woken_at = time.monotonic()  # before it is read, which is work of this process
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except BadReply as bad:
            self._break(f"the reply is malformed: {bad}")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            self._break(f"the reply is malformed: {cause if isinstance(cause, BadReply) else type(error).__name__}")
        else:
            if self._in_head and self._head_size > self._most_head:
                self._break("the reply's head is too large")
            elif self._method_is_head and self._chunks:
                self._break("the reply is malformed: a body to a request that has none")
            elif not self._in_head:
                self._received(len(data))

    def _received(self, size: int) -> None:
        """Of a body something came; of its size the framing around it is a part as well."""
        self._queued += size
        self._wake()
        if self._queued > _HIGH and not self._paused and not self._done:
            self._paused = True
            self.transport.pause_reading()

    def _break(self, words: str) -> None:
        self._fail(UpstreamFault(words, reached=True))
        self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = not self.closed
        self.closed = True
        self.deadline = NEVER
        if not self._done and not self._in_head and self._close_delimited and error is None:
            self._done = True
            self._woken_at = time.monotonic()
            self._wake()
        elif not self._done:
            words = CLOSED_EARLY if self._in_head else "the reply broke off"
            self._fail(UpstreamFault(f"{words}: {error}"[:200] if error else words, reached=True))
        self.lost(self)

    # The parser's side

    def on_header(self, name: bytes, value: bytes) -> None:
        self._read.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._parser.get_http_version() not in _VERSIONS:
            raise BadReply("another version of HTTP")
        if status in _INTERIM:
            if status == _SWITCHING:
                raise BadReply("a switch of protocols that nobody asked for")
            self._interim = True
            self.headers = self._read = []
            return
        self._interim = False
        self.status = status
        self._frame(status)
        self._in_head = False
        self._read = []  # trailer fields go there: they come after the headers were acted on (RFC 9110, section 6.5.1)
        self.deadline = NEVER
        if self._method_is_head:
            self._done, self._keep = True, self._parser.should_keep_alive()

    def _frame(self, status: int) -> None:
        """How the reply's end is known (RFC 9112, section 6.3). Raises BadReply where that is not certain."""
        fields = self.fields = dict(self.headers)
        coded = b"transfer-encoding" in fields
        if coded:
            codings = [value for name, value in self.headers if name == b"transfer-encoding"]
            if codings != [b"chunked"] and [each.lower() for each in codings] != [b"chunked"]:
                raise BadReply("a transfer coding that nobody asked for")
            if self._parser.get_http_version() == "1.0":
                raise BadReply("chunks from HTTP/1.0")
            self._chunked = True
        self._close_delimited = (
            not coded and b"content-length" not in fields and status not in _BODILESS and not self._method_is_head
        )

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            return
        self._done = True
        self._keep = self._parser.should_keep_alive()

    def on_message_begin(self) -> None:
        if self._done:
            raise BadReply("bytes behind its end")
