"""The edge: uvicorn's own httptools protocol, which takes the data plane's paths itself and leaves all others to the application.

A request under the data plane's prefix becomes an `HttpExchange`, served by one task, in the place that a cycle of ASGI messages
has for others; so pipelined requests are answered in order, whichever they are for. Besides, it has what uvicorn lacks:

- deadlines and a size for headers: a client that dribbles them is answered 408, one that sends too many 431 (RFC 6585, section
  5), one whose request is no HTTP 400; each loses its connection;
- a wish to upgrade is passed over, as HTTP allows (RFC 9110, section 7.8), without the body being lost;
- a way to take leave of kept connections: not by closing them, which would lose a request that is on its way.

Timers are set where something is waited for, and left alone where nothing is: a connection has one that looks whether it is idle
for too long, and a request that came whole has none.

It touches of uvicorn's protocol `transport`, `loop`, `url`, `headers`, `cycle`, `flow`, `parser`, `pipeline`, `tasks`, the
parser's callbacks, `_start_asgi_task`, `send_400_response`, `shutdown`, `on_response_complete`, `timeout_keep_alive` and what
goes with it, and of a cycle `response_started`, `response_complete`, `keep_alive`, `disconnected` and `message_event`; a test
holds uvicorn to these names.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, cast

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.dataplane.endpoints import PREFIX
from gateway.dataplane.http_exchange import HttpExchange, status_line
from gateway.dataplane.lingering import LingeringTransport
from gateway.dataplane.ports import ClientGone
from gateway.domain.ids import call_id
from gateway.domain.upstreams import Headers

_BAD = b"400 Bad Request", "invalid_request"
_TIMEOUT = b"408 Request Timeout", "request_timeout", "The request headers did not arrive in time."
_TOO_LARGE = b"431 Request Header Fields Too Large", "request_headers_too_large", "The request headers are too large."
_NO_HTTP = "The request is not valid HTTP."
_SEPARATORS = 4  # of a header line: colon, space, line end
_OURS = PREFIX.encode()
_BEHIND = frozenset(b"/?")
_OF_AN_UPGRADE = frozenset((b"upgrade", b"connection", b"http2-settings"))

for _status in HTTPStatus:
    status_line(_status.value, _status.phrase)

_MOST_QUEUED = 16

Serve = Callable[[HttpExchange], Awaitable[None]]


def _exchange(cycle: object) -> HttpExchange | None:
    return cycle if isinstance(cycle, HttpExchange) else None


def _reply(status: bytes, code: str, message: str) -> bytes:
    request_id = call_id(time.time_ns() // 1_000_000)
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    body = msgspec.json.encode({"error": error, "request_id": request_id})
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
    return head % (status, len(body), request_id.encode()) + body


class HeadersTooLarge(Exception):  # noqa: N818 — stops the parser, is never shown
    """Headers that came in one piece turned out to be too large."""


class Drain:
    """Whether a server is about to end. Once it has `begun`, each reply says `connection: close`; a connection without a request
    is closed after `quiet_seconds`, so that a client that is just sending is still answered, and told not to come back.
    """

    def __init__(self, quiet_seconds: float = 1.0) -> None:
        self.begun = False
        self.quiet_seconds = quiet_seconds


async def _nobody(exchange: HttpExchange) -> None:
    raise RuntimeError(f"nobody serves {exchange.path}")


class EdgeProtocol(HttpToolsProtocol):
    """`serve` answers an exchange. `header_seconds`: how long a request's headers may take, from its first byte or, on a new
    connection, from its opening; and how long the rest of a body may take that was answered before it was read. `header_bytes`:
    how large headers may be together with the request line. `body_seconds`: how long a body may take; `write_seconds`: how long a
    client may take nothing of its reply. `configured` makes a subclass with other values.
    """

    serve: Serve = staticmethod(_nobody)
    header_seconds = 10.0
    header_bytes = 64 << 10
    body_seconds = 120.0
    write_seconds = 120.0
    drain = Drain()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._header_size = 0
        self._in_headers = True
        self._unframed = 0  # bytes behind the headers since the last of the body's: sizes and extensions of chunks, trailers
        self._running: RequestResponseCycle | None = None
        self._exchange: HttpExchange | None = None  # the one whose body is coming in
        self._upgrading = False
        self._refused = False
        self._idle_since = 0.0
        self.received_at = 0.0

    @classmethod
    def configured(cls, **values: Any) -> type["EdgeProtocol"]:
        if "serve" in values:
            values["serve"] = staticmethod(values["serve"])
        return type("EdgeProtocol", (cls,), {"drain": Drain()} | values)

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it as well
        self._lingering = LingeringTransport(transport, unread=self._is_unread, resume=self._resume, loop=self.loop)
        super().connection_made(cast("asyncio.Transport", self._lingering))
        self._start_deadline()
        if self.drain.begun:
            self._close_when_quiet()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._lingering.lost()
        queued = [exchange for cycle, _ in self.pipeline if (exchange := _exchange(cycle))]
        self.pipeline.clear()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        for exchange in queued:
            self._leave(exchange)
        # uvicorn tells the request that came last, which is not the one being answered if another is queued behind it.
        running = self._running
        if (exchange := _exchange(running)) is not None:
            self._leave(exchange)
        elif running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()

    def data_received(self, data: bytes) -> None:
        if self._lingering.lingering:
            return
        self.received_at = time.monotonic()
        if self._in_headers:
            self._header_size += len(data)
        else:
            self._unframed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if not self._refused:
                self.send_400_response(_NO_HTTP)
            return
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade(data[upgrade.args[0] :])
            return
        if max(self._header_size, self._unframed) > self.header_bytes:
            self._refuse(*_TOO_LARGE)
        elif self._header_size or (not self._in_headers and not self._busy):
            self._start_deadline()

    def _pass_over_upgrade(self, rest: bytes) -> None:
        """Answer the request as if it had not asked for another protocol (RFC 9110, section 7.8), which nobody here speaks.

        The parser takes what follows such a head for the other protocol's; so another one reads the same head without the wish.
        """
        self._upgrading = False
        fields = b"".join(b"%s: %s\r\n" % field for field in self.headers if field[0] not in _OF_AN_UPGRADE)
        head = b"%s %s HTTP/1.1\r\n%s\r\n" % (self.parser.get_method(), self.url, fields)
        self.parser = httptools.HttpRequestParser(self)
        self._header_size = 0
        self._in_headers = True
        self.data_received(head + rest)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._in_headers = True
        self._exchange = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field. After the headers the list is another one, so that trailer fields count for nothing: they came after the
        headers were acted on (RFC 9110, section 6.5.1).
        """
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        self._stop_deadline()
        self._in_headers = False
        if self._header_size > self.header_bytes:  # of which a part may be the body's
            size = len(self.url) + sum(len(name) + len(value) + _SEPARATORS for name, value in self.headers)
            if size > self.header_bytes:
                self._refuse(*_TOO_LARGE)
                raise HeadersTooLarge
        self._header_size = 0
        url, headers = self.url, self.headers
        if url.startswith(_OURS) and (len(url) == len(_OURS) or url[len(_OURS)] in _BEHIND):
            self._begin_exchange(headers)
        else:
            self._begin_cycle(headers)
        self.headers = []
        if self.drain.begun:
            self.cycle.keep_alive = False

    def _begin_cycle(self, headers: Headers) -> None:
        """A request for the application: uvicorn's own way, which begins with the scope that was left out before."""
        url = self.url
        super().on_message_begin()
        self.url = url
        self.headers += headers
        self.expect_100_continue = any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        super().on_headers_complete()

    def _begin_exchange(self, headers: Headers) -> None:
        is_old = self.parser.get_http_version() == "1.0"
        path = self.url.partition(b"?")[0].decode("latin-1")
        exchange = HttpExchange(
            self,
            self.parser.get_method().decode("latin-1"),
            path,
            headers,
            is_old=is_old,
            keep_alive=not is_old and self.parser.should_keep_alive(),
        )
        before: RequestResponseCycle | None = self.cycle
        self.cycle = cast("RequestResponseCycle", exchange)
        self._exchange = exchange
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
            return
        # Reading goes on, since a client's leaving is read as well; unless it sends without end.
        self.pipeline.appendleft((self.cycle, self.app))
        if len(self.pipeline) > _MOST_QUEUED:
            self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        self._unframed = 0
        if self._exchange is None:
            super().on_body(body)
        elif not self._exchange.response_complete:
            self._exchange.body_part(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        if self._exchange is None:
            super().on_message_complete()
        else:
            self._exchange.body_end()
        self._stop_deadline()
        self._in_headers = True
        self._header_size = self._unframed = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if (exchange := _exchange(cycle)) is not None:
            exchange.task = self.loop.create_task(self._served(exchange))
            self.tasks.add(exchange.task)
        else:
            super()._start_asgi_task(cycle, app)

    async def _served(self, exchange: HttpExchange) -> None:
        exchange.begun = True
        try:
            await self.serve(exchange)
        except ClientGone:
            pass
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            # The cancellation was ours, and it has done its work.
        finally:
            if not exchange.response_complete:
                exchange.abort()
            if exchange.task is not None:
                self.tasks.discard(exchange.task)

    def _leave(self, exchange: HttpExchange) -> None:
        """The client has gone. A task that is cancelled before its first step never takes any, so it is forgotten here."""
        exchange.leave()
        if exchange.task is not None and not exchange.begun:
            self.tasks.discard(exchange.task)

    # Timers, and the end

    def on_response_complete(self) -> None:
        """Go on with the request that is queued, or be idle. In the place of uvicorn's own, which sets a timer for each reply."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            if (exchange := _exchange(cycle)) is not None:
                exchange.started = time.monotonic()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """The connection's timer: close it if it was idle for long enough, else look again when that may be."""
        self.timeout_keep_alive_task = None
        if self._busy or self._deadline is not None:
            rest = float(self.timeout_keep_alive)
        else:
            rest = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self.timeout_keep_alive_task = self.loop.call_later(rest, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

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
        self._idle_since = self.loop.time()
        seconds = min(self.timeout_keep_alive, self.drain.quiet_seconds)
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        self._refuse(*_BAD, msg)

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
