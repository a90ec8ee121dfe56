"""Deadlines and a size for request headers, which uvicorn's protocol lacks: a client that dribbles them is answered 408, one that
sends too many 431 (RFC 6585, section 5), one whose request is no HTTP 400; each loses its connection. And a way to take leave of
connections that are kept open: not by closing them, which would lose the request that is on its way.

A subclass of uvicorn's own httptools protocol, given to its `http=` setting. It touches `transport`, `loop`, `url`, `headers`,
`cycle`, `flow`, the parser's callbacks, `_start_asgi_task`, `send_400_response`, `shutdown`, `timeout_keep_alive` and what goes
with it, and of a cycle `response_started`, `response_complete`, `keep_alive`, `disconnected` and `message_event`; a test holds
uvicorn to these names.
"""

import asyncio
import time
from typing import Any, cast

import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.dataplane.lingering import LingeringTransport
from gateway.domain.ids import call_id

_BAD = b"400 Bad Request", "invalid_request"
_TIMEOUT = b"408 Request Timeout", "request_timeout", "The request headers did not arrive in time."
_TOO_LARGE = b"431 Request Header Fields Too Large", "request_headers_too_large", "The request headers are too large."
_SEPARATORS = 4  # of a header line: colon, space, line end


def _reply(status: bytes, code: str, message: str) -> bytes:
    request_id = call_id(time.time_ns() // 1_000_000)
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    body = msgspec.json.encode({"error": error, "request_id": request_id})
    return (
        b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n%s"
        % (
            status,
            len(body),
            request_id.encode(),
            body,
        )
    )


class HeadersTooLarge(Exception):  # noqa: N818 — stops the parser, is never shown
    """Headers that came in one piece turned out to be too large."""


class Drain:
    """Whether a server is about to end. Once it has `begun`, each reply says `connection: close`; a connection without a request
    is closed after `quiet_seconds`, so that a client that is just sending is still answered, and told not to come back.
    """

    def __init__(self, quiet_seconds: float = 1.0) -> None:
        self.begun = False
        self.quiet_seconds = quiet_seconds


class DeadlineProtocol(HttpToolsProtocol):
    """`header_seconds`: how long a request's headers may take, from its first byte or, on a new connection, from its opening; and
    how long the rest of a body may take that was answered before it was read. `header_bytes`: how large headers may be together
    with the request line. `configured` makes a subclass with other values.
    """

    header_seconds = 10.0
    header_bytes = 64 << 10
    drain = Drain()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._header_size = 0
        self._in_headers = True
        self._unframed = 0  # bytes behind the headers since the last of the body's: sizes and extensions of chunks, trailers
        self._running: RequestResponseCycle | None = None
        self._refused = False

    @classmethod
    def configured(cls, *, header_seconds: float, header_bytes: int, drain: Drain | None = None) -> type["DeadlineProtocol"]:
        values = {"header_seconds": header_seconds, "header_bytes": header_bytes, "drain": drain or Drain()}
        return type("DeadlineProtocol", (cls,), values)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it as well
        self._lingering = LingeringTransport(transport, unread=self._is_unread, resume=self._resume, loop=self.loop)
        super().connection_made(cast("asyncio.Transport", self._lingering))
        self._start_deadline()
        if self.drain.begun:
            self._close_when_quiet()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._lingering.lost()
        super().connection_lost(exc)
        # uvicorn tells the request that came last, which is not the one being answered if another is queued behind it.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._lingering.lingering:
            return
        if self._in_headers:
            self._start_deadline()
            self._header_size += len(data)
        else:
            self._unframed += len(data)
        super().data_received(data)
        if max(self._header_size, self._unframed) > self.header_bytes:
            self._refuse(*_TOO_LARGE)
        elif not self._in_headers and not self._busy:
            self._start_deadline()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        self._stop_deadline()
        self._in_headers = False
        self._header_size = 0
        size = len(self.url) + sum(len(name) + len(value) + _SEPARATORS for name, value in self.headers)
        if size > self.header_bytes:
            self._refuse(*_TOO_LARGE)
            raise HeadersTooLarge
        super().on_headers_complete()
        if self.drain.begun:
            self.cycle.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field. A trailer field is left out: it came after the headers were acted on (RFC 9110, section 6.5.1)."""
        if self._in_headers:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._unframed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_deadline()
        self._in_headers = True
        self._header_size = self._unframed = 0

    def shutdown(self) -> None:
        """The server is about to end: have this connection end without losing a request.

        A reply that has not begun tells the client so; after one that has, or without any, the connection stays open for as long
        as a request may be on its way.
        """
        self.timeout_keep_alive = min(self.timeout_keep_alive, self.drain.quiet_seconds)  # type: ignore[assignment]  # any number
        if not self._busy:
            self._close_when_quiet()
        elif self._running is not None and not self._running.response_started:
            self._running.keep_alive = False

    def _close_when_quiet(self) -> None:
        self._unset_keepalive_if_required()
        seconds = min(self.timeout_keep_alive, self.drain.quiet_seconds)
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        self._refuse(*_BAD, msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def _busy(self) -> bool:
        """Whether a request is being answered."""
        return self._running is not None and not self._running.response_complete

    def _start_deadline(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.header_seconds, self._too_slow)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._busy:
            self._start_deadline()  # a reply under way outlasts a stray byte behind its request
        elif self._in_headers:
            self._refuse(*_TIMEOUT)
        else:
            self.transport.close()

    def _refuse(self, status: bytes, code: str, message: str) -> None:
        self._stop_deadline()
        if not self.transport.is_closing():
            if not self._busy:
                self.transport.write(_reply(status, code, message))
            self._refused = True
            self.transport.close()

    def _resume(self) -> None:
        self.flow.resume_reading()

    def _is_unread(self) -> bool:
        """Whether the client may still be sending what nobody will read."""
        return self._refused or not self._in_headers
