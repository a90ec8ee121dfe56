"""An upstream of which a test decides every byte, a socket server that runs a script for each request; and a client to ask it."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from gateway.domain.upstreams import Upstream
from gateway.upstream.client import HttpClient, HttpReply


class Call:
    """One request as it came, and the connection to answer on. `number` counts the server's requests, `connection` says which."""

    def __init__(
        self, raw: bytes, number: int, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.raw = raw
        self.number = number
        self.connection = connection
        self._reader = reader
        self._writer = writer

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self, body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> None:
        await self.write(b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (status, headers, len(body), body))

    async def gone(self) -> None:
        """Return once the client has closed the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    def hang_up(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Call], Awaitable[None]]


class RawUpstream:
    """The running server: what it saw, and the upstream to reach it by."""

    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.connections = 0
        self.port = 0
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()

    def upstream(self, **changes: object) -> Upstream:
        values: dict[str, object] = {"id": "up-1", "name": "one", "base_url": f"http://127.0.0.1:{self.port}/v1"} | changes
        return Upstream(**values)  # type: ignore[arg-type]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        connection = self.connections
        try:
            while not writer.is_closing():
                raw = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", raw)
                raw += await reader.readexactly(int(length[1])) if length else b""
                self.requests.append(raw)
                self.asked.set()
                await self._script(Call(raw, len(self.requests), connection, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def raw_upstream(script: Script) -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream(script)
    server = await asyncio.start_server(upstream._connected, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        await upstream.stop()
        await server.wait_closed()


def unused_port() -> int:
    """A port that refuses connections."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@asynccontextmanager
async def client(**settings: Any) -> AsyncIterator[HttpClient]:
    made = HttpClient(**settings)
    try:
        yield made
    finally:
        await made.close()


async def body_of(reply: HttpReply) -> bytes:
    body = bytearray()
    try:
        while chunk := await reply.chunk():
            body += chunk
        return bytes(body)
    finally:
        await reply.close()


async def post(http: HttpClient, server: RawUpstream, **changes: object) -> HttpReply:
    return await http.send(server.upstream(**changes), "/chat/completions", [], b"{}")


async def answer(call: Call) -> None:
    await call.reply(b"fine")


async def silent(call: Call) -> None:
    await call.gone()
