"""The HTTP client when something goes wrong: faults, deadlines, and callers that leave."""

import asyncio
import gc
from contextlib import suppress

import pytest

from gateway.domain.faults import UpstreamFault, UpstreamTimedOut
from gateway.domain.upstreams import Upstream
from gateway.upstream.client import HttpReply
from tests.upstream.raw_upstream import Call, body_of, client, post, raw_upstream, silent, unused_port


async def collect(reply: HttpReply, got: bytearray) -> None:
    while chunk := await reply.chunk():
        got += chunk


# Faults


async def test_refused_connection() -> None:
    """Nobody listens: a fault that says the request reached nobody, and why."""
    async with client() as http:
        with pytest.raises(UpstreamFault, match=r"refused|Connect call failed") as caught:
            await http.send(Upstream(id="u", name="u", base_url=f"http://127.0.0.1:{unused_port()}"), "/x", [], b"{}")
        assert not caught.value.reached


@pytest.mark.parametrize(
    "base_url",
    ["http://no-such-host.invalid/v1", f"http://{'a' * 64}.example/v1", "ftp://h/v1", "h/v1", "http://[::1/v1", "http://h:x"],
)
async def test_address_that_cannot_be_reached(base_url: str) -> None:
    """A name that does not resolve, or a base URL that is none, is a fault before anything is sent."""
    async with client() as http:
        with pytest.raises(UpstreamFault) as caught:
            await http.send(Upstream(id="u", name="u", base_url=base_url), "/x", [], b"{}")
        assert not caught.value.reached


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\nprivate\r\n",
    ],
)
async def test_body_that_breaks_off(broken: bytes) -> None:
    """A body that ends before its announced end is a fault after its bytes, never a whole reply; and quotes none of it."""

    async def breaks(call: Call) -> None:
        await call.write(broken)
        call._writer.close()

    async with raw_upstream(breaks) as server, client() as http:
        reply = await post(http, server)
        got = bytearray()
        with pytest.raises(UpstreamFault) as caught:
            await collect(reply, got)
        assert got == b"four"
        assert caught.value.reached
        assert not isinstance(caught.value, UpstreamTimedOut)
        assert "private" not in str(caught.value)
        await reply.close()


@pytest.mark.parametrize(
    "head", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: " + b"x" * 200_000]
)
async def test_head_that_is_malformed(head: bytes) -> None:
    """A head that is not HTTP, or without end, is a fault, and the request counts as acted on."""

    async def malformed(call: Call) -> None:
        await call.write(head)
        await call.gone()

    async with raw_upstream(malformed) as server, client() as http:
        with pytest.raises(UpstreamFault) as caught:
            await post(http, server)
        assert caught.value.reached
        assert len(str(caught.value)) <= 200


# Deadlines


async def test_connect_deadline_in_the_handshake() -> None:
    """A server that accepts but never answers the TLS handshake costs the connect deadline; its connection is closed."""
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        gone.set()
        writer.transport.abort()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server, client(connect=0.1) as http:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamTimedOut) as caught:
            await http.send(Upstream(id="u", name="u", base_url=f"https://127.0.0.1:{port}"), "/x", [], b"{}")
        assert not caught.value.reached
        gc.disable()
        try:
            await asyncio.wait_for(gone.wait(), 1)
        finally:
            gc.enable()


async def test_connect_deadline_covers_waiting_for_a_connection() -> None:
    """When all connections are taken, a call waits no longer than the connect deadline, and is told it reached nobody."""
    async with raw_upstream(silent) as server, client(connect=0.1, max_connections=1) as http:
        first = asyncio.create_task(post(http, server))
        await server.asked.wait()
        with pytest.raises(UpstreamTimedOut) as caught:
            await post(http, server)
        assert not caught.value.reached
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_first_byte_deadline() -> None:
    """An upstream that thinks for too long is a time-out, after which it sees the connection closed."""
    gone = asyncio.Event()

    async def thinks(call: Call) -> None:
        await call.gone()
        gone.set()

    async with raw_upstream(thinks) as server, client(connect=0.05, first_byte=0.2) as http:
        with pytest.raises(UpstreamTimedOut) as caught:
            await post(http, server)
        assert caught.value.reached
        await asyncio.wait_for(gone.wait(), 1)


async def test_first_byte_deadline_is_for_the_whole_head() -> None:
    """A head that drips does not push its deadline back."""

    async def drips(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            await call.write(b"a: b\r\n")
            await asyncio.sleep(0.02)

    async with raw_upstream(drips) as server, client(first_byte=0.2) as http:
        with pytest.raises(UpstreamTimedOut):
            await post(http, server)


async def test_first_byte_deadline_covers_sending() -> None:
    """An upstream that does not read the request cannot hold the call past the first-byte deadline."""
    done = asyncio.Event()
    hung_up = asyncio.Event()

    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.transport.abort()
        hung_up.set()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
    async with server, client(first_byte=0.2) as http:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamTimedOut) as caught:
            await http.send(Upstream(id="u", name="u", base_url=f"http://127.0.0.1:{port}"), "/x", [], b"x" * 30_000_000)
        assert caught.value.reached
        done.set()
        await hung_up.wait()


async def test_idle_deadline_counts_from_byte_to_byte() -> None:
    """A body may take longer than the idle deadline in all, but not fall silent for as long."""

    async def stalls(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(0.1)
            await call.write(b"1\r\nx\r\n")
        await call.gone()

    async with raw_upstream(stalls) as server, client(idle=0.4) as http:
        reply = await post(http, server)
        got = bytearray()
        with pytest.raises(UpstreamTimedOut) as caught:
            await collect(reply, got)
        assert got == b"xxxxxx"
        assert caught.value.reached
        await reply.close()


# Leaving


async def test_cancelled_send_closes_the_connection() -> None:
    """A client that leaves while the model thinks is seen to leave by the upstream, within a second."""
    gone = asyncio.Event()

    async def thinks(call: Call) -> None:
        await call.gone()
        gone.set()

    async with raw_upstream(thinks) as server, client() as http:
        call = asyncio.create_task(post(http, server))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(gone.wait(), 1)


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_read_closes_the_connection(times: int) -> None:
    """A client that leaves in the middle of a stream is seen to leave by the upstream, within a second, and the pool gets
    its place back; also when the task is cancelled again while it cleans up."""
    gone = asyncio.Event()

    async def streams(call: Call) -> None:
        if call.number == 1:
            await call.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
            await call.gone()
            gone.set()
        else:
            await call.reply(b"fine")

    async with raw_upstream(streams) as server, client(max_connections=1) as http:
        read = asyncio.Event()

        async def relay() -> None:
            reply = await post(http, server)
            try:
                while await reply.chunk():
                    read.set()
            finally:
                await reply.close()

        task = asyncio.create_task(relay())
        await read.wait()
        await asyncio.sleep(0.01)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 1)
        assert await body_of(await post(http, server)) == b"fine"


async def test_close_survives_its_callers_cancellation() -> None:
    """A reply that is being closed is closed, even if whoever closes it is cancelled at once; its place in the pool is free."""
    async with raw_upstream(lambda call: call.reply(b"x" * 1_000_000)) as server, client(max_connections=1) as http:
        reply = await post(http, server)
        closing = asyncio.create_task(reply.close())
        await asyncio.sleep(0)
        closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing
        assert await body_of(await post(http, server)) == b"x" * 1_000_000


async def test_abandoned_chunks_leave_nothing_behind() -> None:
    """Reading no more chunks and closing the reply is enough: no warning, no open connection."""
    gone = asyncio.Event()

    async def streams(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await call.gone()
        gone.set()

    async with raw_upstream(streams) as server, client() as http:
        reply = await post(http, server)
        await reply.chunk()
        await reply.close()
        await asyncio.wait_for(gone.wait(), 1)
        gc.collect()
        with pytest.raises(UpstreamFault):
            await reply.chunk()


async def test_closed_client() -> None:
    """Closing breaks off what is under way and refuses what comes after; closing again does nothing."""

    async def streams(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await call.gone()

    async with raw_upstream(streams) as server, client() as http:
        reply = await post(http, server)
        await http.close()
        with pytest.raises(UpstreamFault):
            await body_of(reply)
        await http.close()
        with pytest.raises(UpstreamFault) as caught:
            await post(http, server)
        assert not caught.value.reached
