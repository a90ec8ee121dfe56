"""Whole calls, without sockets: what is measured is all that this process does for a call but the work of its kernel.

Many are under way at a time, as under load, each on a connection of its own; so what an event loop does once for all that is
ready is shared.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import uvicorn
import uvloop
from uvicorn.server import ServerState

from gateway.dataplane.forward import Forwarder
from gateway.dataplane.http_exchange import HttpExchange
from gateway.dataplane.pipeline import serve
from gateway.dataplane.uvicorn_protocol import EdgeProtocol
from gateway.domain.grants import Limits
from gateway.domain.upstreams import Upstream
from gateway.upstream.client import HttpClient
from gateway.upstream.directory import Directory
from gateway.upstream.pool import UpstreamPool
from loadtests.micro.messages import (
    COMPLETION,
    EVENTS,
    JSON_REPLY,
    REPLY_HEADERS,
    SMALL,
    STREAM_REPLY,
    STREAMED,
    headers,
    request,
)
from loadtests.micro.step import Batch, Sink, Together
from loadtests.micro.world import ENOUGH, Limited
from tests.dataplane.fakes import RecordingExchange, ScriptedReply
from tests.dataplane.world import CHAT, MODEL

_GROUP = "5 whole calls"
_AT_A_TIME = 32
_BAD_KEY = "sk-" + "0" * 38


class NoNetwork(uvloop.Loop):
    """uvloop's event loop, whose connections lead to a model server without a socket."""

    async def create_connection(self, protocol_factory: Any, *_where: Any, **_how: Any) -> Any:
        protocol = protocol_factory()
        transport = _ModelServer(protocol, self)
        protocol.connection_made(transport)
        return transport, protocol


class _ModelServer(Sink):
    """Answers each request in the turns of the event loop that follow, a piece a turn. A request is sent in one go."""

    def __init__(self, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._protocol = protocol
        self._loop = loop

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._loop.call_soon(self._answer, STREAM_REPLY if STREAMED[-20:] in bytes(data) else [JSON_REPLY], 0)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _answer(self, pieces: list[bytes], number: int) -> None:
        self._protocol.data_received(pieces[number])
        if number + 1 < len(pieces):
            self._loop.call_soon(self._answer, pieces, number + 1)


async def _no_upstreams() -> list[Upstream]:
    return []


class _Clients:
    """Connections of clients to the edge; `serve_one` answers what they send."""

    def __init__(self, serve_one: Callable[[HttpExchange], Awaitable[None]]) -> None:
        protocol = EdgeProtocol.configured(serve=serve_one)
        config = uvicorn.Config(_nobody, interface="asgi3", http=protocol, ws="none", lifespan="off", log_config=None)
        self._state = ServerState()
        loop = asyncio.get_running_loop()
        self._sinks = [Sink() for _ in range(_AT_A_TIME)]
        self._protocols = [protocol(config, self._state, {}, loop) for _ in self._sinks]
        for each, sink in zip(self._protocols, self._sinks, strict=True):
            each.connection_made(sink)

    async def call(self, sent: bytes) -> None:
        """Each sends a request, and is answered."""
        for protocol in self._protocols:
            protocol.data_received(sent)
        while self._state.tasks:  # noqa: ASYNC110 — each turn of the event loop is part of what is measured
            await asyncio.sleep(0)

    def taken(self) -> list[bytes]:
        """What they received since it was taken last."""
        return [sink.taken() for sink in self._sinks]


async def _nobody(_scope: object, _receive: object, _send: object) -> None:
    raise RuntimeError("the application is not asked")


async def _edge() -> Batch:
    reply = [*REPLY_HEADERS]
    sent = request("sk-1", CHAT, SMALL)

    async def answer(exchange: HttpExchange) -> None:
        await exchange.respond(200, reply, COMPLETION)

    clients = _Clients(answer)

    async def run() -> list[bytes]:
        await clients.call(sent)
        return clients.taken()

    for written in await run():
        assert written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert written.endswith(COMPLETION)
    return run


async def _pipeline() -> Batch:
    world = Limited()
    given = headers(world.key.text, SMALL)
    world.upstreams.serve(MODEL, ScriptedReply(200, REPLY_HEADERS, [COMPLETION]))

    async def run() -> list[RecordingExchange]:
        exchanges = [RecordingExchange("POST", CHAT, given, SMALL) for _ in range(_AT_A_TIME)]
        await asyncio.gather(*(serve(exchange, world.plane) for exchange in exchanges))
        for kept in (world.ledger.rows, world.upstreams.sent, world.upstreams.reports):
            kept.clear()
        return exchanges

    for exchange in await run():
        assert (exchange.status, exchange.text, exchange.ended) == (200, COMPLETION, True)
    world.at_rest()
    return run


def _whole(name: str, body: bytes, status: int, end: bytes, *, limits: Limits = ENOUGH, key: str = "") -> Together:
    """Calls from the bytes that a client sends to those that it receives, through everything."""

    async def prepare() -> Batch:
        world = Limited(limits)
        directory = Directory([Upstream("up-1", "models", "http://127.0.0.1:9/v1", "sk-upstream", {MODEL: MODEL})], _no_upstreams)
        plane = replace(world.plane, forwarder=Forwarder(UpstreamPool(directory, HttpClient())))

        async def answer(exchange: HttpExchange) -> None:
            await serve(exchange, plane)

        clients = _Clients(answer)
        sent = request(key or world.key.text, CHAT, body)

        async def run() -> list[bytes]:
            await clients.call(sent)
            world.ledger.rows.clear()
            world.refusals.rows.clear()
            return clients.taken()

        await run()
        for written in await run():
            assert written.startswith(b"HTTP/1.1 %d " % status)
            assert end in written
            assert written.count(b"x-ratelimit-remaining-tokens: ") == (status != 401)
        world.at_rest()
        return run

    return Together(_GROUP, name, prepare, per=_AT_A_TIME)


STEPS = [
    Together(_GROUP, "edge alone: request read, task, constant reply written", _edge, per=_AT_A_TIME),
    Together(_GROUP, "pipeline alone: fake edge, fake model server", _pipeline, per=_AT_A_TIME),
    _whole("JSON call, bytes to bytes", SMALL, 200, COMPLETION),
    _whole(f"stream of {EVENTS} events, bytes to bytes", STREAMED, 200, b"data: [DONE]"),
    _whole("call with a bad key, bytes to bytes", SMALL, 401, b"invalid_api_key", key=_BAD_KEY),
    _whole("call over its limit, bytes to bytes", SMALL, 429, b"retry-after-ms", limits=Limits(rpm=1, tpm=1_000_000)),
]
