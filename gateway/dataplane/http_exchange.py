"""One request of the data plane and its reply, straight on uvicorn's connection: no ASGI messages, no second task.

It stands in uvicorn's protocol where a request's cycle would: uvicorn queues pipelined requests, and waits for what is under way,
by a few attributes of that cycle, which are here too (`uvicorn_protocol` lists them).
"""

import asyncio
import time
from typing import Any, Final, Protocol

from gateway.dataplane.ports import ClientGone, Holding
from gateway.domain.errors import BodyTimeout, InvalidBody
from gateway.domain.upstreams import Fields, Headers

_DRAINED: Final = 64 << 10  # an unread body of this size is taken off the connection; before a larger one it is closed
_UNASKED: Final = 64 << 10  # what is taken of a body before anybody asked for it
_NO_LENGTH: Final = frozenset((204, 304))
_JOINED: Final = 32 << 10  # a body up to this size is copied behind its head: one buffer costs less than two
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Flow(Protocol):
    """Uvicorn's flow control of one connection."""

    write_paused: bool

    async def drain(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Connection(Protocol):
    """The protocol that a request came by."""

    transport: Any
    flow: Any
    loop: asyncio.AbstractEventLoop
    write_seconds: float
    body_seconds: float
    received_at: float

    def on_response_complete(self) -> None: ...


class Event:
    """Uvicorn sets a cycle's event when its connection is lost; a cancelled task needs no telling."""

    def set(self) -> None:
        """Nobody waits for it."""


_EVENT: Final = Event()
_LINES: Final = {status: b"HTTP/1.1 %d \r\n" % status for status in range(100, 600)}


def status_line(status: int, phrase: str) -> None:
    """Give a status its phrase; any other is sent without one (RFC 9112, section 4)."""
    _LINES[status] = b"HTTP/1.1 %d %s\r\n" % (status, phrase.encode())


class HttpExchange:
    """Implements `Exchange`. Made when a request's headers are complete; `body_part` and `body_end` are told of what follows.

    `task` is the one that serves it, once it is being served; `begun` says that it has taken its first step. Uvicorn's names:
    `response_started`, `response_complete`, `keep_alive`, `disconnected`, `message_event`.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_declared",
        "_expects",
        "_is_head",
        "_is_old",
        "_late",
        "_out",
        "_parts",
        "_size",
        "_waiter",
        "_whole",
        "begun",
        "disconnected",
        "fields",
        "gone",
        "headers",
        "keep_alive",
        "method",
        "path",
        "response_complete",
        "response_started",
        "started",
        "task",
        "waited",
    )

    message_event = _EVENT

    def __init__(
        self, connection: Connection, method: str, path: str, headers: Headers, *, is_old: bool, keep_alive: bool
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.fields: Fields = dict(headers)
        self.gone = False
        self.keep_alive = keep_alive
        self.started = connection.received_at
        self.begun = self.response_started = self.response_complete = self.disconnected = False
        self.task: asyncio.Task[Any] | None = None
        self._connection = connection
        self._expects = self.fields.get(b"expect", b"").lower() == b"100-continue"
        self._is_old = is_old
        self._is_head = method == "HEAD"
        self._parts: list[bytes] = []
        self._size = 0
        self._whole = False
        self._late = False
        self.waited = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._out: list[bytes] = []
        self._chunked = False
        self._declared: int | None = None

    # The request

    def body_part(self, part: bytes) -> None:
        """A part of the body came. Beyond what may come unasked, reading pauses until somebody asks."""
        self._parts.append(part)
        self._size += len(part)
        if self._waiter is not None:
            self._wake()
        elif self._size > _UNASKED:
            self._connection.flow.pause_reading()

    def body_end(self) -> None:
        self._whole = True
        self._wake()

    async def body(self, hold: Holding) -> bytes:
        """The whole body. Raises BodyTimeout, InvalidBody, ClientGone, and what `hold` raises."""
        if self._whole:
            raw = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            hold.add(len(raw))
            self._parts = []
            return raw
        length = self._length()
        if length is not None:
            hold.check(length)
        if self._expects:
            self._connection.transport.write(_CONTINUE)
        self._expects = False
        return await self._rest_of_body(hold)

    async def _rest_of_body(self, hold: Holding) -> bytes:
        taken: list[bytes] = []
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._connection.body_seconds):
                while True:
                    parts, self._parts, self._size = self._parts, [], 0
                    hold.add(sum(map(len, parts)))
                    taken += parts
                    if self._whole:
                        return b"".join(taken)
                    self._waiter = self._connection.loop.create_future()
                    self._connection.flow.resume_reading()
                    await self._waiter
                    self._waiter = None
        except TimeoutError:
            self._late = True
            raise BodyTimeout from None
        finally:
            self._waiter = None
            self.waited += time.monotonic() - begun

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _length(self) -> int | None:
        value = self.fields.get(b"content-length")
        if value is None:
            return None
        if not value.isdigit():
            raise InvalidBody("content-length is no number")
        return int(value)

    def _unread_is_large(self) -> bool:
        """Whether a body that nobody will read is more than is worth taking off the connection."""
        if self._whole:
            return False
        if b"transfer-encoding" in self.fields or b"expect" in self.fields:
            return True
        length = self.fields.get(b"content-length", b"0")
        return not length.isdigit() or int(length) > _DRAINED

    # The reply

    async def start(self, status: int, headers: Headers) -> None:
        """Begin the reply; its head leaves with the first part of its body, or with this turn of the event loop."""
        self._check()
        closes = self._begins()
        out = [_LINES[status]]
        out += [b"%s: %s\r\n" % field for field in headers]
        declared = dict(headers).get(b"content-length")
        self._declared = None if declared is None else int(declared)
        bodiless = status in _NO_LENGTH
        self._chunked = self._declared is None and not bodiless and not self._is_head and not self._is_old
        if self._chunked:
            out.append(b"transfer-encoding: chunked\r\n")
        elif self._declared is None and not bodiless and not self._is_head:
            closes = True  # HTTP/1.0 knows no chunks: such a reply ends with its connection
        if closes:
            self.keep_alive = False
            out.append(b"connection: close\r\n")
        out.append(b"\r\n")
        self._out = out
        if self._declared is None:
            self._connection.loop.call_soon(self._flush)

    def _begins(self) -> bool:
        """The reply begins; answers whether the connection ends with it."""
        self.response_started = True
        return self._late or not self.keep_alive or self._unread_is_large()

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole reply at once. Raises ClientGone."""
        self._check()
        out = [_LINES[status]]
        out += [b"%s: %s\r\n" % field for field in headers]
        if status not in _NO_LENGTH:
            out.append(b"content-length: %d\r\n" % len(body))
        if self._begins():
            self.keep_alive = False
            out.append(b"connection: close\r\n")
        out.append(b"\r\n")
        transport = self._connection.transport
        if self._is_head or not body:
            transport.write(b"".join(out))
        elif len(body) <= _JOINED:
            out.append(body)
            transport.write(b"".join(out))
        else:
            transport.writelines((b"".join(out), body))
        if self._connection.flow.write_paused:
            await self._drain()
        self._ended()

    def _flush(self) -> None:
        if self._out and not self.gone:
            out, self._out = self._out, []
            self._connection.transport.write(b"".join(out))

    async def write(self, chunk: bytes) -> None:
        """Send a part of the body; returns when the client can take more. Raises ClientGone."""
        if not chunk or self._is_head:
            return
        self._check()
        out, self._out = self._out, []
        if self._chunked:
            out += (b"%x\r\n" % len(chunk), chunk, b"\r\n")
        else:
            out.append(chunk)
        if len(chunk) <= _JOINED:
            self._connection.transport.write(b"".join(out))
        else:
            self._connection.transport.writelines(out)
        if self._connection.flow.write_paused:
            await self._drain()

    async def _drain(self) -> None:
        """Wait until the client has taken enough; one that takes nothing for too long is left. Raises ClientGone."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._connection.write_seconds):
                await self._connection.flow.drain()
        except TimeoutError:
            self.gone = True
            self._connection.transport.abort()
            raise ClientGone from None
        finally:
            self.waited += time.monotonic() - begun
        self._check()

    async def end(self) -> None:
        self._check()
        if self._chunked:
            self._out.append(b"0\r\n\r\n")
        self._flush()
        self._ended()

    def _ended(self) -> None:
        self._completed()
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()

    def abort(self) -> None:
        """Break the connection, so that a reply cut short cannot look complete."""
        self._flush()
        self._completed()
        self._connection.transport.close()

    def _completed(self) -> None:
        self.response_complete = True
        self._parts = []

    def _check(self) -> None:
        if self.gone:
            raise ClientGone

    def leave(self) -> None:
        """The client has closed its connection: whoever serves the exchange is cancelled."""
        self.disconnected = True
        if not self.response_complete:
            self.gone = True
            if self.task is not None:
                self.task.cancel()
