"""A server whose every byte a test decides, and in which pieces they come; and what a client makes of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from gateway.domain.faults import UpstreamFault
from gateway.domain.upstreams import Upstream
from gateway.upstream.client import HttpClient


@dataclass(frozen=True)
class Outcome:
    """What a client got: the status, the fields, the body, and whether the reply came whole."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    whole: bool


FAILED = Outcome(0, (), b"", whole=False)
"""No reply at all: its head was refused, or never came."""


@asynccontextmanager
async def awkward(pieces: Sequence[bytes], *, close: bool = True) -> AsyncIterator[int]:
    """The port of a server that, for each request, sends the pieces and then, unless told otherwise, closes the connection."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await reader.readuntil(b"\r\n\r\n{}")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                writer.write_eof()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def ours(port: int) -> Outcome:
    """What our client makes of the server's reply."""
    http = HttpClient(connect=5, first_byte=2, idle=2)
    try:
        reply = await http.send(Upstream(id="u", name="u", base_url=f"http://127.0.0.1:{port}"), "/x", [], b"{}")
    except UpstreamFault:
        await http.close()
        return FAILED
    body = bytearray()
    whole = True
    try:
        while part := await reply.chunk():
            body += part
    except UpstreamFault:
        whole = False
    finally:
        await reply.close()
        await http.close()
    return Outcome(reply.status, tuple(reply.headers), bytes(body), whole)


async def oracle(port: int) -> Outcome:
    """What httpx2's transport makes of it."""
    async with httpx2.AsyncHTTPTransport(trust_env=False) as transport:
        request = httpx2.Request("POST", f"http://127.0.0.1:{port}/x", content=b"{}")
        try:
            reply = await transport.handle_async_request(request)
        except httpx2.TransportError:
            return FAILED
        body = bytearray()
        whole = True
        try:
            async for part in reply.aiter_raw():
                body += part
        except httpx2.TransportError:
            whole = False
        finally:
            await reply.aclose()
        headers = tuple((name.lower(), value) for name, value in reply.headers.raw)
        return Outcome(reply.status_code, headers, bytes(body), whole)
