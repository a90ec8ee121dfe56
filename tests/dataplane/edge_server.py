"""The edge on a real uvicorn server in this process, and raw connections to it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn

from gateway.dataplane.http_exchange import HttpExchange
from gateway.dataplane.pipeline import serve
from gateway.dataplane.uvicorn_protocol import EdgeProtocol
from tests.dataplane.world import CHAT, World

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def _other(scope: Scope, receive: Receive, send: Send) -> None:
    """What stands behind the edge: says which path it got."""
    body = b"other " + scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, world: World) -> None:
        self.reader = reader
        self.writer = writer
        self.world = world

    def request(
        self,
        body: bytes | dict[str, Any] = b"",
        *fields: str,
        method: str = "POST",
        path: str = CHAT,
        key: str | None = None,
        length: int | None = None,
    ) -> bytes:
        """The bytes of a request; `length` is a content-length that need not be true, -1 for none."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        text = self.world.key.text if key is None else key
        lines = [f"{method} {path} HTTP/1.1", "host: gateway.test", f"authorization: Bearer {text}", *fields]
        if length != -1:
            lines.append(f"content-length: {len(raw) if length is None else length}")
        return "\r\n".join([*lines, "", ""]).encode() + raw

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and fields of the next reply."""
        async with asyncio.timeout(5):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), fields

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        """The next reply, whole."""
        status, fields = await self.head()
        async with asyncio.timeout(5):
            if "content-length" in fields:
                return status, fields, await self.reader.readexactly(int(fields["content-length"]))
            body = b""
            while part := await self.chunk():
                body += part
            return status, fields, body

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        async with asyncio.timeout(5):
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size + 2)
            return data[:-2]

    async def closed(self) -> bool:
        """Whether the server ends the connection, without another byte, soon."""
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                return await self.reader.read(1) == b""
            return True

    async def leave(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class Edge:
    """A running server. `port` is where it listens."""

    def __init__(self, port: int, world: World, server: uvicorn.Server) -> None:
        self.port = port
        self.world = world
        self.server = server
        self._clients: list[Client] = []

    async def client(self, *, receive_buffer: int | None = None) -> Client:
        made = socket.socket()
        made.setblocking(False)
        if receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
        limit = receive_buffer or 1 << 16
        client = Client(*await asyncio.open_connection(sock=made, limit=limit), self.world)
        self._clients.append(client)
        return client

    async def leave(self) -> None:
        for client in self._clients:
            await client.leave()


@asynccontextmanager
async def edge(
    world: World,
    *,
    body_seconds: float = 5.0,
    header_seconds: float = 5.0,
    header_bytes: int = 64 << 10,
    write_seconds: float = 5.0,
    keep_alive: int = 5,
) -> AsyncIterator[Edge]:
    """The whole data plane behind a listening socket on a free port."""

    async def to_pipeline(exchange: HttpExchange) -> None:
        await serve(exchange, world.plane)

    config = uvicorn.Config(
        _other,
        http=EdgeProtocol.configured(
            serve=to_pipeline,
            header_seconds=header_seconds,
            header_bytes=header_bytes,
            body_seconds=body_seconds,
            write_seconds=write_seconds,
        ),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        async with asyncio.timeout(5):
            while not server.started:
                await asyncio.sleep(0.01)
        running = Edge(listening.getsockname()[1], world, server)
        try:
            yield running
        finally:
            await running.leave()
            server.should_exit = True
            await task


__all__ = ["Client", "Edge", "edge"]
