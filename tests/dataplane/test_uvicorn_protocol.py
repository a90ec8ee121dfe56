"""Deadlines and sizes of request headers on a real server."""

import asyncio
import contextlib
import inspect
import json

import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from gateway.dataplane.uvicorn_protocol import EdgeProtocol
from loadtests.micro.step import Sink
from tests.dataplane.edge_server import Client, edge
from tests.dataplane.world import MODEL, chunk, completion, events, until, world

_BODY = {"model": MODEL}


async def _refused(client: Client, status: int, code: str) -> None:
    answered, fields, body = await client.reply()
    told = json.loads(body)
    assert (answered, told["error"]["code"]) == (status, code)
    assert told["request_id"] == fields["x-request-id"]
    assert fields["connection"] == "close"
    assert await client.closed()


@pytest.mark.parametrize("first", [b"", b"GET /", b"POST /compatible-mode/v1/chat/completions HTTP/1.1\r\nhost: x\r\n"])
async def test_headers_have_a_deadline(first: bytes) -> None:
    """A client that says nothing, or dribbles its headers, is answered 408 and loses its connection."""
    async with world() as w, edge(w, header_seconds=0.3) as server:
        client = await server.client()

        async def dribble() -> None:
            await client.say(first)
            while first:
                await asyncio.sleep(0.05)
                await client.say(b"x" if first == b"GET /" else b"x: y\r\n")

        dribbling = asyncio.create_task(dribble())
        await _refused(client, 408, "request_timeout")
        dribbling.cancel()
        await asyncio.gather(dribbling, return_exceptions=True)


async def test_the_deadline_counts_for_each_request_of_a_connection() -> None:
    """A second request on a kept connection has its own deadline, from its first byte; being idle before it is no offence."""
    async with world() as w, edge(w, header_seconds=0.3) as server:
        w.upstreams.serve(MODEL, completion())
        client = await server.client()
        for _ in range(2):
            await client.say(client.request(_BODY))
            assert (await client.reply())[0] == 200
            await asyncio.sleep(0.5)
        await client.say(b"POST /")
        await _refused(client, 408, "request_timeout")


@pytest.mark.parametrize("behind", [b"\r\n", b"POST /slow"])
async def test_a_reply_under_way_outlasts_bytes_behind_its_request(behind: bytes) -> None:
    """A stray line end, or the beginning of a next request, does not cut the stream that is under way."""
    async with world() as w, edge(w, header_seconds=0.1) as server:
        more = asyncio.Event()
        w.upstreams.serve(MODEL, events(chunk("a"), more, chunk(finish="stop")))
        client = await server.client()
        await client.say(client.request({**_BODY, "stream": True}))
        assert (await client.head())[0] == 200
        assert await client.chunk() == chunk("a")
        await client.say(behind)
        await asyncio.sleep(0.4)
        more.set()
        assert await client.chunk() == chunk(finish="stop")
        assert await client.chunk() == b""
        assert w.ledger.only.outcome == "ok"


@pytest.mark.parametrize("pieces", [1, 40, 10_000])
@pytest.mark.parametrize("where", ["field", "target", "many fields"])
async def test_headers_have_a_size(pieces: int, where: str) -> None:
    """Headers over the bound are answered 431, in one piece or many, whatever makes them large, before they are acted on."""
    async with world() as w, edge(w, header_bytes=10_000) as server:
        client = await server.client()
        raw = {
            "field": client.request(_BODY, "x-long: " + "y" * 11_000),
            "target": client.request(_BODY, path="/compatible-mode/v1/" + "y" * 11_000),
            "many fields": client.request(_BODY, *(f"x-{number}: y" for number in range(1200))),
        }[where]
        step = max(1, len(raw) // pieces)
        for at in range(0, len(raw), step):
            client.writer.write(raw[at : at + step])
            if pieces == 40:
                await asyncio.sleep(0.001)
        await _refused(client, 431, "request_headers_too_large")
        assert w.store.asked == []


async def test_headers_within_the_size_pass_with_a_large_body() -> None:
    """Only headers count, not the body that comes in the same piece."""
    async with world() as w, edge(w, header_bytes=1000) as server:
        w.upstreams.serve(MODEL, completion())
        client = await server.client()
        for _ in range(3):
            await client.say(client.request({**_BODY, "x": "y" * 100_000}))
            assert (await client.reply())[0] == 200


async def test_trailer_fields_are_no_header_fields() -> None:
    """What comes behind a chunked body neither authenticates a call nor spoils it, and goes nowhere."""
    async with world() as w, edge(w) as server:
        w.upstreams.serve(MODEL, completion())
        client = await server.client()
        tail = b"d\r\n" + b'{"model":"m"}' + b"\r\n0\r\nauthorization: Bearer x\r\nx-trailer: 1\r\n\r\n"
        await client.say(client.request(b"", "transfer-encoding: chunked", length=-1) + tail)
        assert (await client.reply())[0] == 200
        assert b"x-trailer" not in dict(w.upstreams.sent[0].headers)
        good = f"authorization: Bearer {w.key.text}".encode()
        head = b"POST /compatible-mode/v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        await client.say(head + tail.replace(b"authorization: Bearer x", good))
        assert (await client.reply())[0] == 401


@pytest.mark.parametrize("line", [b"x: y\r\n", b"x", b"\r\n"])
async def test_trailers_have_a_size(line: bytes) -> None:
    """Trailers without end, as many fields or one, or as the extension of a chunk, end the connection."""
    async with world() as w, edge(w, header_bytes=10_000) as server:
        client = await server.client()
        await client.say(client.request(b"", "transfer-encoding: chunked", length=-1) + b"2\r\n{}\r\n")
        start = b"1;" if line == b"\r\n" else b"0\r\nx: "
        with contextlib.suppress(ConnectionError):
            await client.say(start)
            for _ in range(40):
                await client.say((b"y" if line == b"\r\n" else line) * 1000)
                await asyncio.sleep(0)
        assert await client.closed()
        await client.leave()
        await until(lambda: w.bodies.held == 0)
        w.at_rest()


async def test_what_is_no_http_is_refused_in_the_same_shape() -> None:
    """Nonsense on the wire is a 400 that OpenAI's SDKs can read."""
    async with world() as w, edge(w) as server:
        client = await server.client()
        await client.say(b"NONSENSE\r\n\r\n")
        await _refused(client, 400, "invalid_request")


async def test_the_rest_of_a_refused_body_has_a_deadline() -> None:
    """After a refusal a client cannot hold the connection by dribbling the body that nobody wants."""
    async with world() as w, edge(w, header_seconds=0.3) as server:
        client = await server.client()
        await client.say(client.request(b"x", key="sk-wrong", length=1000))
        assert (await client.reply())[0] == 401

        async def dribble() -> None:
            for _ in range(80):
                await client.say(b"x")
                await asyncio.sleep(0.05)

        dribbling = asyncio.create_task(dribble())
        assert await client.closed()
        dribbling.cancel()
        await asyncio.gather(dribbling, return_exceptions=True)


async def test_a_client_that_leaves_with_a_request_queued_cancels_the_one_under_way() -> None:
    """Uvicorn tells the last request of a connection that its client has left; the one being answered has to hear it too."""
    async with world() as w, edge(w) as server:
        theirs = events(*[chunk("a")] * 5, asyncio.Event(), *[chunk("b" * 60_000)] * 500)
        w.upstreams.serve(MODEL, theirs)
        client = await server.client()
        await client.say(client.request({**_BODY, "stream": True}) + client.request(_BODY))
        assert (await client.head())[0] == 200
        await client.chunk()
        await client.leave()
        await until(lambda: theirs.closed, seconds=1)
        assert w.ledger.rows[0].outcome == "client_gone"


async def test_the_end_is_told_before_a_connection_is_closed() -> None:
    """A server about to end answers a request that comes on a kept connection, and says `connection: close` with it; a reply that
    had begun before is followed by one more request at most; a quiet connection is closed after a while.
    """
    async with world() as w, edge(w) as server:
        drain = server.server.config.http.drain  # type: ignore[union-attr]
        drain.quiet_seconds = 0.6
        more = asyncio.Event()
        w.upstreams.serve(MODEL, events(chunk("a"), more, chunk(finish="stop")))
        kept, quiet, streaming = [await server.client() for _ in range(3)]
        await streaming.say(streaming.request({**_BODY, "stream": True}))
        assert (await streaming.head())[0] == 200
        w.upstreams.serve(MODEL, completion())
        for client in (kept, quiet):
            await client.say(client.request(_BODY))
            assert "connection" not in (await client.reply())[1]
        drain.begun = True
        for connection in list(server.server.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0.2)
        await kept.say(kept.request(_BODY))
        status, fields, _ = await kept.reply()
        assert (status, fields["connection"]) == (200, "close")
        assert await kept.closed()
        assert await quiet.closed()
        more.set()
        while await streaming.chunk():
            pass
        await streaming.say(streaming.request(_BODY))
        status, fields, _ = await streaming.reply()
        assert (status, fields["connection"]) == (200, "close")
        assert await streaming.closed()
        late = await server.client()
        await late.say(late.request(_BODY))
        assert (await late.reply())[1]["connection"] == "close"


async def test_a_wish_to_upgrade_is_passed_over() -> None:
    """A request that would rather speak HTTP/2 is answered in HTTP/1.1, with its body, and so is the next on its connection."""
    async with world() as w, edge(w) as server:
        w.upstreams.serve(MODEL, completion())
        client = await server.client()
        wish = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAARAAAAAAAIAAAAA")
        raw = client.request(_BODY, *wish)
        await client.say(raw)
        assert (await client.reply())[0] == 200
        for at in range(0, len(raw), 7):  # in pieces
            await client.say(raw[at : at + 7])
        assert (await client.reply())[0] == 200
        assert json.loads(w.upstreams.sent[-1].body) == _BODY
        assert not {b"upgrade", b"http2-settings"} & {name for name, _ in w.upstreams.sent[-1].headers}


async def test_http_1_0_gets_no_chunks() -> None:
    """A client of HTTP/1.0 gets a stream that ends with its connection, since it knows no chunks (RFC 9112, section 7.1)."""
    async with world() as w, edge(w) as server:
        w.upstreams.serve(MODEL, events(chunk("a"), chunk(finish="stop")))
        client = await server.client()
        await client.say(client.request({**_BODY, "stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0"))
        status, fields = await client.head()
        assert (status, fields["connection"], "transfer-encoding" in fields) == (200, "close", False)
        assert await client.reader.read() == chunk("a") + chunk(finish="stop")


async def test_a_client_that_takes_nothing_is_left() -> None:
    """A client that never reads its stream loses its connection after a while, and the upstream is let go."""
    async with world() as w, edge(w, write_seconds=0.2) as server:
        theirs = events(*[chunk("x" * 65536)] * 4000)
        w.upstreams.serve(MODEL, theirs)
        client = await server.client(receive_buffer=4096)
        await client.say(client.request({**_BODY, "stream": True}))
        await until(lambda: theirs.closed)
        assert w.ledger.only.outcome == "client_gone"
        w.at_rest()


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    """A kept connection without a request is closed, counted from its last reply, and not while one is under way."""
    async with world() as w, edge(w, keep_alive=1) as server:
        more = asyncio.Event()
        w.upstreams.serve(MODEL, completion(), completion(), events(chunk("a"), more, chunk(finish="stop")))
        client = await server.client()
        for _ in range(2):
            await client.say(client.request(_BODY))
            assert (await client.reply())[0] == 200
            await asyncio.sleep(0.7)
        await client.say(client.request({**_BODY, "stream": True}))
        assert (await client.head())[0] == 200
        await asyncio.sleep(1.2)
        more.set()
        while await client.chunk():
            pass
        assert await client.closed()


def test_uvicorn_still_has_the_names_that_are_touched() -> None:
    """Uvicorn is pinned to a minor version; if these names change, the edge has to be looked at."""
    protocol = inspect.getsource(httptools_impl.HttpToolsProtocol)
    for name in (
        "transport", "loop", "url", "headers", "cycle", "flow", "parser", "pipeline", "tasks", "expect_100_continue",
        "timeout_keep_alive", "timeout_keep_alive_task",
    ):  # fmt: skip
        assert f"self.{name} = " in protocol or f"self.{name}: " in protocol, name
    for name in (
        "connection_made", "connection_lost", "data_received", "on_message_begin", "on_headers_complete",
        "on_header", "on_body", "on_message_complete", "on_response_complete", "_start_asgi_task", "send_400_response",
        "shutdown", "_unset_keepalive_if_required", "timeout_keep_alive_handler",
    ):  # fmt: skip
        mine = inspect.signature(getattr(EdgeProtocol, name))
        theirs = inspect.signature(getattr(httptools_impl.HttpToolsProtocol, name))
        assert list(mine.parameters) == list(theirs.parameters), name
    cycle = inspect.getsource(httptools_impl.RequestResponseCycle)
    for name in ("response_complete", "response_started", "keep_alive", "disconnected", "message_event"):
        assert f"self.{name} = " in cycle, name
    assert "self._start_asgi_task(self.cycle, app)" in protocol
    assert "except httptools.HttpParserError" in protocol
    assert uvicorn.__version__.startswith("0.54.")


async def test_a_client_that_leaves_before_its_task_begins_is_forgotten() -> None:
    """A task that is cancelled before its first step leaves nothing behind that an ending server would wait for."""
    edge_class = EdgeProtocol.configured()
    state, config = (
        ServerState(),
        uvicorn.Config(lambda: None, interface="asgi3", http=edge_class, lifespan="off", log_config=None),
    )
    protocol = edge_class(config, state, {}, asyncio.get_running_loop())
    protocol.connection_made(Sink())
    protocol.data_received(b"GET /compatible-mode/v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    assert len(state.tasks) == 1
    protocol.connection_lost(None)
    await asyncio.sleep(0)
    assert not state.tasks
