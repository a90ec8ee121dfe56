"""The ASGI edge: requests under the data plane's prefix become exchanges; the rest goes to the next application.

One task a call listens for the client leaving, from the moment that its body is read; then the serving task is cancelled, which
closes the call upstream.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.dataplane.endpoints import PREFIX
from gateway.dataplane.ports import ClientGone, Holding
from gateway.domain.errors import BodyTimeout, InvalidBody
from gateway.domain.upstreams import Headers

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PREFIX = PREFIX.encode() + b"/"
_DRAINED = 64 << 10  # an unread body of this size is taken off the connection; before a larger one it is closed


class AsgiExchange:
    """One request and its reply over ASGI (the HTTP specification, version 2.3)."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, body_seconds: float) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1")
        self.headers: Headers = scope["headers"]
        self.gone = False
        self._receive = receive
        self._send = send
        self._body_seconds = body_seconds
        self._body_read = False
        self._late = False
        self._ended = False
        self._watch: asyncio.Task[None] | None = None

    async def body(self, hold: Holding) -> bytes:
        declared = self._declared()
        if declared is not None:
            hold.check(declared)
        try:
            async with asyncio.timeout(self._body_seconds):
                parts = [part async for part in self._parts(hold)]
        except TimeoutError:
            self._late = True
            raise BodyTimeout from None
        self._body_read = True
        task = asyncio.current_task()
        if task is not None:
            self._watch = asyncio.create_task(self._watch_client(task))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _parts(self, hold: Holding) -> Any:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ClientGone
            part = message.get("body", b"")
            if part:
                hold.add(len(part))
                yield part
            if not message.get("more_body", False):
                return

    async def start(self, status: int, headers: Headers) -> None:
        if self._late or (not self._body_read and self._unread_is_large()):
            headers = [*headers, (b"connection", b"close")]
        await self._say({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes) -> None:
        await self._say({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        self._ended = True
        await self._say({"type": "http.response.body", "body": b"", "more_body": False})

    def abort(self) -> None:
        """The server closes a connection whose reply was not ended."""
        self._ended = True

    async def close(self) -> None:
        """Stop listening for the client."""
        if self._watch is not None:
            self._watch.cancel()

    async def _say(self, message: Message) -> None:
        if self.gone:
            raise ClientGone
        try:
            await self._send(message)
        except OSError as error:
            self.gone = True
            raise ClientGone from error

    async def _watch_client(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._ended:
            self.gone = True
            task.cancel()

    def _declared(self) -> int | None:
        for name, value in self.headers:
            if name == b"content-length":
                if not value.isdigit():
                    raise InvalidBody("content-length is no number")
                return int(value)
        return None

    def _unread_is_large(self) -> bool:
        for name, value in self.headers:
            if name in (b"transfer-encoding", b"expect"):
                return True
            if name == b"content-length":
                return not value.isdigit() or int(value) > _DRAINED
        return False


class AsgiEdge:
    """The application at the root: the data plane's paths here, all others in `other`. `body_seconds` bounds a body's arrival."""

    def __init__(self, serve: Callable[[AsgiExchange], Awaitable[None]], other: App, *, body_seconds: float) -> None:
        self._serve = serve
        self._other = other
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (scope["raw_path"] + b"/").startswith(_PREFIX):
            await self._other(scope, receive, send)
            return
        exchange = AsgiExchange(scope, receive, send, body_seconds=self._body_seconds)
        try:
            await self._serve(exchange)
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            # The cancellation was ours, and it has done its work.
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        except ClientGone:
            pass
        finally:
            await exchange.close()
