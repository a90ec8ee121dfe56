"""The ASGI edge on a real server, spoken to over raw sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from gateway.domain.faults import UpstreamFault
from tests.dataplane.edge_server import Client, Edge, edge
from tests.dataplane.fakes import ScriptedReply
from tests.dataplane.world import CHAT, COMPLETION, MODEL, STREAM, World, chunk, completion, events, reply, until, world

_BODY = {"model": MODEL, "messages": []}
_STREAMED = {"model": MODEL, "stream": True}
_MODELS = "/compatible-mode/v1/models"


@asynccontextmanager
async def _served(**how: Any) -> AsyncIterator[tuple[World, Edge]]:
    async with world(most_body=1 << 20) as w, edge(w, **how) as server:
        yield w, server


def _code(body: bytes) -> object:
    return json.loads(body)["error"]["code"]


async def test_a_call_and_another_on_the_same_connection() -> None:
    """A completion comes whole, in chunks or not, and the connection is kept."""
    async with _served() as (w, server):
        w.upstreams.serve(MODEL, completion(), events(), completion())
        client = await server.client()
        await client.say(client.request(_BODY))
        assert (await client.reply())[::2] == (200, COMPLETION)
        await client.say(client.request(_STREAMED))
        status, fields, body = await client.reply()
        assert (status, fields["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert body == b"".join(STREAM[:3] + STREAM[4:])
        raw = client.request(b"", "transfer-encoding: chunked", length=-1)
        await client.say(raw + b"12\r\n" + b'{"model":"m","x":1' + b"\r\n1\r\n}\r\n0\r\n\r\n")
        assert (await client.reply())[0] == 200
        assert w.upstreams.sent[-1].body == b'{"model":"m","x":1}'
        w.at_rest()


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent without waiting get their replies one after the other."""
    async with _served() as (w, server):
        w.upstreams.serve(MODEL, *(reply(200, b"%d" % number) for number in range(3)))
        client = await server.client()
        await client.say(client.request(_BODY) * 3 + client.request(method="GET", path=_MODELS))
        assert [(await client.reply())[2] for _ in range(3)] == [b"0", b"1", b"2"]
        assert json.loads((await client.reply())[2])["data"][0]["id"] == MODEL


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/compatible-mode/v1/nowhere", "sk-wrong", 401),
        ("/compatible-mode/v1/nowhere", None, 404),
        ("/compatible-mode/v1", "sk-wrong", 401),
        ("/compatible-mode/v1", None, 404),
        ("/compatible-mode/v1/", None, 404),
        ("/compatible-mode/v1/chat/completions/", None, 404),
        ("/compatible-mode/v1//chat/completions", None, 404),
        ("/compatible-mode/v1/models/%6D", None, 200),
        ("/compatible-mode/v1/models?x=1", None, 200),
    ],
)
async def test_paths_of_the_data_plane(path: str, key: str | None, status: int) -> None:
    """Authentication comes before routing, and what is not declared is not found."""
    async with _served() as (_, server):
        client = await server.client()
        await client.say(client.request(method="GET", path=path, key=key))
        assert (await client.reply())[0] == status


@pytest.mark.parametrize("path", ["/", "/compatible-mode/v12/models", "/compatible%2Dmode/v1/models", "/console/"])
async def test_other_paths_are_the_next_application_s(path: str) -> None:
    """What is not under the data plane's prefix, as it was sent, goes on."""
    async with _served() as (_, server):
        client = await server.client()
        await client.say(client.request(method="GET", path=path, key="none"))
        assert (await client.reply())[2].startswith(b"other /")


@pytest.mark.parametrize("size", [10, 60_000])
async def test_a_refusal_keeps_the_connection(size: int) -> None:
    """A small body that was not read is taken off the connection, which serves the next request."""
    async with _served() as (w, server):
        w.upstreams.serve(MODEL, completion())
        client = await server.client()
        await client.say(client.request(b"x" * size, key="sk-wrong"))
        status, fields, _ = await client.reply()
        assert status == 401
        assert "connection" not in fields
        await client.say(client.request(_BODY))
        assert (await client.reply())[0] == 200


async def test_a_body_declared_too_large_is_refused_unread() -> None:
    """413 by content-length alone, before a byte of the body is sent, and the connection ends."""
    async with _served() as (w, server):
        client = await server.client()
        await client.say(client.request(b"", length=(1 << 20) + 1))
        status, fields, body = await client.reply()
        assert (status, fields["connection"], _code(body)) == (413, "close", "request_too_large")
        assert await client.closed()
        w.at_rest()


async def test_a_body_that_grows_too_large_is_refused() -> None:
    """413 as soon as the bound is passed, where no length was declared; what was kept is given back."""
    async with _served() as (w, server):
        client = await server.client()
        await client.say(client.request(b"", "transfer-encoding: chunked", length=-1))
        part = b"%x\r\n" % (1 << 16) + b" " * (1 << 16) + b"\r\n"
        for _ in range(17):
            await client.say(part)
        status, fields, body = await client.reply()
        assert (status, fields["connection"], _code(body)) == (413, "close", "request_too_large")
        w.at_rest()


@pytest.mark.parametrize("key", [None, "sk-wrong"])
async def test_a_client_that_sends_all_before_it_reads_gets_its_answer(key: str | None) -> None:
    """A refusal in the middle of a large body reaches a client that goes on sending, as no reset connection would."""
    async with _served() as (w, server), httpx2.AsyncClient(trust_env=False) as client:
        headers = {"authorization": f"Bearer {w.key.text if key is None else key}"}
        answer = await client.post(f"http://127.0.0.1:{server.port}{CHAT}", content=b"x" * (20 << 20), headers=headers)
        assert answer.status_code == (413 if key is None else 401)
        assert answer.headers["connection"] == "close"


async def test_a_body_that_does_not_come_is_given_up() -> None:
    """408 past the deadline, however steadily it dribbles, and the connection ends."""
    async with _served(body_seconds=0.3) as (w, server):
        client = await server.client()
        await client.say(client.request(b"{", length=100))

        async def dribble() -> None:
            for _ in range(50):
                await client.say(b" ")
                await asyncio.sleep(0.05)

        dribbling = asyncio.create_task(dribble())
        status, fields, body = await client.reply()
        assert (status, fields["connection"], _code(body)) == (408, "close", "request_timeout")
        assert await client.closed()
        dribbling.cancel()
        await asyncio.gather(dribbling, return_exceptions=True)
        w.at_rest()


async def test_no_body_is_invited_for_a_bad_key() -> None:
    """With `Expect: 100-continue` a bad key is a 401 without a 100 before it, and a good one gets its 100."""
    async with _served() as (w, server):
        w.upstreams.serve(MODEL, completion())
        refused = await server.client()
        await refused.say(refused.request(b"", "expect: 100-continue", key="sk-wrong", length=20))
        status, fields, _ = await refused.reply()
        assert (status, fields["connection"]) == (401, "close")
        invited = await server.client()
        body = json.dumps(_BODY).encode()
        await invited.say(invited.request(b"", "expect: 100-continue", length=len(body)))
        assert (await invited.head())[0] == 100
        await invited.say(body)
        assert (await invited.reply())[0] == 200
        large = await server.client()
        await large.say(large.request(b"", "expect: 100-continue", length=1 << 30))
        assert (await large.reply())[0] == 413


async def _begun(w: World, server: Edge, *script: bytes | Exception | asyncio.Event) -> tuple[Client, ScriptedReply]:
    theirs = events(*script)
    w.upstreams.serve(MODEL, theirs)
    client = await server.client()
    await client.say(client.request(_STREAMED))
    assert (await client.head())[0] == 200
    return client, theirs


async def test_a_client_that_leaves_cancels_the_upstream() -> None:
    """The upstream's reply is closed within a second of the client's leaving, though the upstream says nothing meanwhile."""
    async with _served() as (w, server):
        client, theirs = await _begun(w, server, chunk("a"), asyncio.Event())
        assert await client.chunk() == chunk("a")
        await client.leave()
        await until(lambda: theirs.closed, seconds=1)
        await until(lambda: w.ledger.rows)
        assert w.ledger.only.outcome == "client_gone"
        w.at_rest()


async def test_a_client_that_leaves_before_the_head_cancels_the_upstream() -> None:
    """The same while the upstream has not answered yet."""
    async with _served() as (w, server):
        w.upstreams.serve(MODEL, completion())
        w.upstreams.pause = asyncio.Event()
        client = await server.client()
        await client.say(client.request(_BODY))
        await until(lambda: w.upstreams.sent)
        await client.leave()
        await until(lambda: w.ledger.rows, seconds=1)
        assert (w.ledger.only.outcome, w.ledger.only.status) == ("client_gone", 499)
        w.at_rest()


async def test_a_client_that_leaves_in_its_body_leaves_nothing() -> None:
    """Half a body is given back."""
    async with _served() as (w, server):
        client = await server.client()
        await client.say(client.request(b"x" * 1000, length=5000))
        await until(lambda: w.bodies.held == 1000)
        await client.leave()
        await until(lambda: w.bodies.held == 0, seconds=1)
        assert w.ledger.rows == []


async def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    """What a client does not take is not pulled from the upstream: memory stays bounded by the connection's buffers."""
    async with _served() as (w, server):
        piece = chunk("x" * 65536)
        theirs = events(*[piece] * 4000)
        w.upstreams.serve(MODEL, theirs)
        client = await server.client(receive_buffer=4096)
        await client.say(client.request(_STREAMED))
        pulled = -1
        while pulled != theirs.pulled:
            pulled = theirs.pulled
            await asyncio.sleep(0.3)
        assert 0 < pulled < 1000
        await client.leave()
        await until(lambda: theirs.closed, seconds=1)
        assert w.ledger.only.outcome == "client_gone"


async def test_a_long_reply_that_breaks_off_does_not_look_complete() -> None:
    """The connection ends before the length that was promised, or before the last chunk."""
    async with _served() as (w, server):
        script: list[bytes | Exception] = [b"x" * (2 << 20), UpstreamFault("reset", reached=True)]
        w.upstreams.serve(MODEL, reply(200, script, (b"content-length", b"9999999")), reply(200, script))
        for declared in (True, False):
            client = await server.client()
            await client.say(client.request(_BODY))
            _, fields = await client.head()
            assert ("content-length" in fields) is declared
            rest = await client.reader.read()
            assert not rest.endswith(b"0\r\n\r\n")
            assert len(rest) < 9999999


async def test_a_stopping_server_settles_its_calls() -> None:
    """Calls that outlast the time to stop are cut, recorded and leave nothing."""
    async with world() as w:
        async with edge(w) as server:
            client, theirs = await _begun(w, server, chunk("a"), asyncio.Event())
            server._clients.clear()
        await client.leave()
        assert theirs.closed
        assert w.ledger.only.outcome == "gateway_stopped"
        w.at_rest()
