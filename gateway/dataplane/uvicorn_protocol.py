"""Deadlines and a size for request headers, which uvicorn's protocol lacks: a client that dribbles them is answered 408, one that
sends too many 431 (RFC 6585, section 5), and loses its connection.

A subclass of uvicorn's own httptools protocol, given to its `http=` setting. It touches `transport`, `cycle` and the parser's
callbacks; a test holds uvicorn to these names.
"""

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def _reply(status: bytes, code: str, message: str) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    body = msgspec.json.encode({"error": error, "request_id": None})
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


_TIMEOUT = _reply(b"408 Request Timeout", "request_timeout", "The request headers did not arrive in time.")
_TOO_LARGE = _reply(b"431 Request Header Fields Too Large", "request_headers_too_large", "The request headers are too large.")


class DeadlineProtocol(HttpToolsProtocol):
    """`header_seconds`: how long a request's headers may take, from its first byte or, on a new connection, from its opening.
    `header_bytes`: how large they may be together with the request line. `configured` makes a subclass with other values.
    """

    header_seconds = 10.0
    header_bytes = 64 << 10

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_deadline: asyncio.TimerHandle | None = None
        self._header_size = 0
        self._in_headers = True

    @classmethod
    def configured(cls, *, header_seconds: float, header_bytes: int) -> type["DeadlineProtocol"]:
        return type("DeadlineProtocol", (cls,), {"header_seconds": header_seconds, "header_bytes": header_bytes})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it as well
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            if self._header_deadline is None:
                self._await_headers()
            self._header_size += len(data)
        super().data_received(data)
        if self._in_headers and self._header_size > self.header_bytes:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        self._headers_done()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_headers = True
        self._header_size = 0

    def _await_headers(self) -> None:
        self._header_deadline = self.loop.call_later(self.header_seconds, self._too_slow)

    def _headers_done(self) -> None:
        self._in_headers = False
        self._header_size = 0
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _too_slow(self) -> None:
        self._refuse(_TIMEOUT)

    def _refuse(self, reply: bytes) -> None:
        self._headers_done()
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(reply)
            self.transport.close()
