"""How connections are opened, kept, used again and let go."""

import asyncio
import socket
from typing import Any

import pytest

from gateway.domain.faults import UpstreamFault, UpstreamTimedOut
from gateway.upstream.http1 import connect as connecting
from gateway.upstream.http1.connect import connect
from gateway.upstream.http1.connection import Connection
from gateway.upstream.http1.request import Origin
from tests.upstream.raw_upstream import Call, answer, body_of, client, post, raw_upstream, silent

HOST = "models.example"


def _connection() -> Connection:
    return Connection(lambda _: None, most_head=4096)


def _resolves(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have the name lead to these addresses, in this order."""

    async def found(host: str, port: int, **_options: Any) -> list[Any]:
        assert host == HOST
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found, raising=False)


async def test_another_address_is_tried_where_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of which one address refuses is reached by the next, at once."""
    async with raw_upstream(answer) as server:
        _resolves(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.1")
        started = asyncio.get_running_loop().time()
        made = await connect(Origin(False, HOST, server.port), _connection, None)
        assert asyncio.get_running_loop().time() - started < 2
        assert made.transport.get_extra_info("peername")[0] == "127.0.0.1"
        made.abort()


async def test_another_address_is_tried_where_one_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of which one address never answers is reached by the next after a quarter of a second, not after the deadline."""
    to = connecting._to
    given_up = asyncio.Event()

    async def some_are_silent(address: Any, *rest: Any) -> Any:
        if address[1] == "127.0.0.2":
            try:
                await asyncio.sleep(60)
            finally:
                given_up.set()
        return await to(address, *rest)

    monkeypatch.setattr(connecting, "_to", some_are_silent)
    async with raw_upstream(answer) as server:
        _resolves(monkeypatch, "127.0.0.2", "127.0.0.1")
        made = await asyncio.wait_for(connect(Origin(False, HOST, server.port), _connection, None), 10)
        assert given_up.is_set()
        made.abort()


async def test_families_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of the two families alternate, so that a network without one of them costs one try (RFC 8305, section 4)."""
    _resolves(monkeypatch, "::1", "::2", "::3", "127.0.0.1", "127.0.0.2")
    order = [host for _, host, _ in await connecting._addresses(Origin(False, HOST, 80))]
    assert order == ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every address refuses, the first refusal is told, and nothing is left open."""
    async with raw_upstream(answer) as server:
        port = server.port
    _resolves(monkeypatch, "127.0.0.2", "127.0.0.1")
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await connect(Origin(False, HOST, port), _connection, None)


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    """A connection that nobody used for its time is closed by us, and the next call takes a new one."""
    gone = asyncio.Event()

    async def watched(call: Call) -> None:
        await call.reply(b"fine")
        if call.number == 1:
            await call.gone()
            gone.set()

    async with raw_upstream(watched) as server, client(keep_alive=0.2) as http:
        await body_of(await post(http, server))
        await asyncio.wait_for(gone.wait(), 5)
        await body_of(await post(http, server))
        assert server.connections == 2


async def test_the_one_used_last_is_used_next() -> None:
    """Of several kept connections the one used last is taken, so that the others can grow idle."""
    both = asyncio.Barrier(2)
    used: list[int] = []

    async def noted(call: Call) -> None:
        if call.number <= 2:
            await both.wait()
        used.append(call.connection)
        await call.reply(b"fine")

    async with raw_upstream(noted) as server, client() as http:
        first, second = await asyncio.gather(post(http, server), post(http, server))
        await body_of(first)
        await body_of(second)
        for _ in range(3):
            await body_of(await post(http, server))
        assert len(set(used[2:])) == 1
        assert server.connections == 2


async def test_bytes_nobody_asked_for_end_a_kept_connection() -> None:
    """What a server sends without a request must not become the reply to the next one."""

    async def talkative(call: Call) -> None:
        await call.reply(b"fine")
        if call.number == 1:
            await call.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother")

    async with raw_upstream(talkative) as server, client() as http:
        assert await body_of(await post(http, server)) == b"fine"
        await asyncio.sleep(0.05)
        assert await body_of(await post(http, server)) == b"fine"
        assert server.connections == 2


async def test_a_reply_before_the_request_is_sent_whole() -> None:
    """An upstream that refuses before it has read all is heard, and its connection is not used again."""
    done = asyncio.Event()

    async def refuses(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await writer.drain()
        await done.wait()
        writer.transport.abort()

    server = await asyncio.start_server(refuses, "127.0.0.1", 0, limit=1024)
    async with server, client() as http, raw_upstream(answer) as any_upstream:
        port = server.sockets[0].getsockname()[1]
        reply = await http.send(any_upstream.upstream(base_url=f"http://127.0.0.1:{port}"), "/x", [], b"x" * 30_000_000)
        assert reply.status == 413
        assert await body_of(reply) == b"big"
        assert http._pool.size == 0
        done.set()
        await asyncio.sleep(0.01)


async def test_a_slow_reader_stops_the_upstream() -> None:
    """What nobody takes is not pulled: memory stays bounded, however much the upstream has to send; and an idle deadline does not
    count meanwhile.
    """
    sent = 0

    async def endless(call: Call) -> None:
        nonlocal sent
        await call.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await call.write(b"x" * 65536)
            sent += 65536

    async with raw_upstream(endless) as server, client(idle=0.3) as http:
        reply = await post(http, server)
        await reply.chunk()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.4)
        assert sent < 40_000_000
        assert len(await reply.chunk()) > 0
        await reply.close()


async def test_head_has_no_body() -> None:
    """A HEAD is answered by its head alone, whatever length it names, and its connection is used again."""

    async def head(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")

    async with raw_upstream(head) as server, client() as http:
        for _ in range(2):
            reply = await http.send(server.upstream(), "/models", [], b"", method="HEAD")
            assert await body_of(reply) == b""
        assert server.connections == 1


async def test_who_leaves_the_line_gives_up_the_turn() -> None:
    """A call that is cancelled while it waits for a connection, or in the moment of its turn, leaves the turn to the next."""
    async with raw_upstream(silent) as server, client(max_connections=1) as http:
        first = asyncio.create_task(post(http, server))
        await server.asked.wait()
        waiting = [asyncio.create_task(post(http, server)) for _ in range(3)]
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[1].cancel()
        await asyncio.gather(first, *waiting[:2], return_exceptions=True)
        async with asyncio.timeout(5):
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
        waiting[2].cancel()
        await asyncio.gather(waiting[2], return_exceptions=True)
        assert http._pool.size == 0


async def test_closing_ends_the_line() -> None:
    """Whoever waits for a connection of a client that closes is told so, at once."""
    async with raw_upstream(silent) as server, client(max_connections=1) as http:
        first = asyncio.create_task(post(http, server))
        await server.asked.wait()
        second = asyncio.create_task(post(http, server))
        await asyncio.sleep(0.01)
        await http.close()
        for task in (first, second):
            with pytest.raises(UpstreamFault):
                await task


async def test_a_cancelled_connect_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is cancelled while its connection is being opened leaves no place taken."""

    async def never(*_: Any) -> Any:
        await asyncio.sleep(60)

    async with raw_upstream(answer) as server, client(max_connections=1) as http:
        monkeypatch.setattr(connecting, "_to", never)
        call = asyncio.create_task(post(http, server))
        await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        monkeypatch.undo()
        assert await body_of(await post(http, server)) == b"fine"


async def test_no_place_is_taken_by_faults() -> None:
    """Time-outs, broken replies and lost connections each give their place back."""

    async def odd(call: Call) -> None:
        if call.number % 3 == 0:
            call.hang_up()
        elif call.number % 3 == 1:
            await call.write(b"nonsense\r\n\r\n")
        else:
            await call.gone()

    async with raw_upstream(odd) as server, client(max_connections=2, first_byte=0.1) as http:
        for _ in range(12):
            with pytest.raises((UpstreamFault, UpstreamTimedOut)):
                await post(http, server)
        assert http._pool.size == 0
