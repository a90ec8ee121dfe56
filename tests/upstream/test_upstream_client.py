"""What the HTTP client sends, what it hands back, and how it uses connections, against servers of which every byte is known."""

import asyncio
import ssl
from contextlib import suppress

import pytest

from gateway.domain.faults import UpstreamFault
from gateway.domain.upstreams import Upstream
from tests.support.tls_relay import CERTIFICATE
from tests.upstream.raw_upstream import Call, answer, body_of, client, post, raw_upstream

# What is sent


async def test_request_is_exactly_what_was_given() -> None:
    """No header of the library's own joins the caller's, and the body arrives byte for byte."""
    headers = [(b"content-type", b"application/json"), (b"x-twice", b"1"), (b"x-twice", b"2")]
    async with raw_upstream(answer) as server, client() as http:
        reply = await http.send(server.upstream(api_key="secret"), "/chat/completions", headers, b'{"a": "\xc3\xa4"}')
        assert await body_of(reply) == b"fine"
        assert server.requests == [
            b"POST /v1/chat/completions HTTP/1.1\r\n"
            b"host: 127.0.0.1:%d\r\nauthorization: Bearer secret\r\n"
            b"content-type: application/json\r\nx-twice: 1\r\nx-twice: 2\r\n"
            b"content-length: 11\r\n\r\n"
            b'{"a": "\xc3\xa4"}' % server.port
        ]


async def test_given_framing_and_credentials_never_leave() -> None:
    """A caller's host, framing and authorization are replaced, so that neither smuggling nor a key can pass."""
    headers = [
        (b"host", b"elsewhere"),
        (b"content-length", b"999"),
        (b"transfer-encoding", b"chunked"),
        (b"Authorization", b"Bearer sk-client"),
    ]
    async with raw_upstream(answer) as server, client() as http:
        await body_of(await http.send(server.upstream(), "/x", headers, b"abc"))
        assert server.requests == [b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-length: 3\r\n\r\nabc" % server.port]


async def test_get_has_no_body_and_no_length() -> None:
    """A GET carries nothing but its target, host and given headers."""
    async with raw_upstream(answer) as server, client() as http:
        await body_of(await http.send(server.upstream(), "/models", [(b"accept", b"*/*")], b"", method="GET"))
        assert server.requests == [b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1:%d\r\naccept: */*\r\n\r\n" % server.port]


@pytest.mark.parametrize("slashes", ["", "/", "//"])
async def test_base_url_and_path_join(slashes: str) -> None:
    """A base URL works with and without slashes at its end."""
    async with raw_upstream(answer) as server, client() as http:
        await body_of(await post(http, server, base_url=f"http://127.0.0.1:{server.port}/v1{slashes}"))
        assert server.requests[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")


async def test_credentials_of_a_url_are_not_sent() -> None:
    """A user and password in a base URL never become an authorization of the library's making."""
    async with raw_upstream(answer) as server, client() as http:
        await body_of(await post(http, server, base_url=f"http://user:pass@127.0.0.1:{server.port}/v1"))
        assert b"authorization" not in server.requests[0].lower()
        assert b"host: 127.0.0.1:%d\r\n" % server.port in server.requests[0]


async def test_cookies_are_not_kept() -> None:
    """What one reply sets is never sent with another call, which may be another tenant's."""

    async def sets_cookie(call: Call) -> None:
        await call.reply(b"fine", headers=b"set-cookie: a=b\r\n")

    async with raw_upstream(sets_cookie) as server, client() as http:
        for _ in range(2):
            await body_of(await post(http, server))
        assert b"cookie" not in server.requests[1].lower()


@pytest.mark.parametrize("api_key", ["sk-very\nsecret", "sk-very-secret\udc80", "sk-very-secret "])
async def test_unsendable_credential_is_not_quoted(api_key: str) -> None:
    """A credential that HTTP cannot carry is a fault of ours, and neither its text nor its causes tell the credential."""
    async with raw_upstream(answer) as server, client() as http:
        with pytest.raises(UpstreamFault) as caught:
            await post(http, server, api_key=api_key)
        assert not caught.value.reached
        assert "very" not in str(caught.value)
        assert caught.value.__suppress_context__
        assert server.requests == []


# What comes back


async def test_reply_headers_keep_order_and_duplicates() -> None:
    """Header fields come back as they were sent, only their names in lower case."""

    async def many(call: Call) -> None:
        await call.write(
            b"HTTP/1.1 201 Created\r\nX-B: 1\r\nSet-Cookie: a\r\nx-a: \xe4\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n"
        )

    async with raw_upstream(many) as server, client() as http:
        reply = await post(http, server)
        assert reply.status == 201
        assert reply.headers == [
            (b"x-b", b"1"),
            (b"set-cookie", b"a"),
            (b"x-a", b"\xe4"),
            (b"set-cookie", b"b"),
            (b"content-length", b"0"),
        ]
        assert await body_of(reply) == b""


async def test_body_is_not_decoded() -> None:
    """A compressed body passes as it is: only framing is taken off."""

    async def gzipped(call: Call) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        await call.write(head + b"3\r\n\x1f\x8b\x08\r\n2\r\nxx\r\n0\r\n\r\n")

    async with raw_upstream(gzipped) as server, client() as http:
        assert await body_of(await post(http, server)) == b"\x1f\x8b\x08xx"


async def test_chunks_come_as_they_are_sent() -> None:
    """A part of a stream is handed on before the next one exists."""
    more = asyncio.Event()

    async def two_parts(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await more.wait()
        await call.write(b"3\r\ntwo\r\n0\r\n\r\n")

    async with raw_upstream(two_parts) as server, client() as http:
        reply = await post(http, server)
        assert await reply.chunk() == b"one"
        more.set()
        assert [await reply.chunk(), await reply.chunk()] == [b"two", b""]
        await reply.close()


async def test_redirect_is_a_reply() -> None:
    """A redirect is not followed: the body and the credential go nowhere else."""

    async def redirect(call: Call) -> None:
        await call.reply(b"", status=b"307 Temporary Redirect", headers=b"location: /elsewhere\r\n")

    async with raw_upstream(redirect) as server, client() as http:
        reply = await post(http, server)
        assert reply.status == 307
        await reply.close()
        assert len(server.requests) == 1


async def test_interim_replies_are_skipped() -> None:
    """A 100 or 103 before the reply is not taken for it."""

    async def early(call: Call) -> None:
        await call.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await call.reply(b"fine")

    async with raw_upstream(early) as server, client() as http:
        reply = await post(http, server)
        assert (reply.status, await body_of(reply)) == (200, b"fine")


async def test_body_that_ends_with_the_connection() -> None:
    """A reply without a length is whole when the connection ends."""

    async def until_close(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        call._writer.close()

    async with raw_upstream(until_close) as server, client() as http:
        assert await body_of(await post(http, server)) == b"all of it"


# Connections


async def test_connection_is_used_again() -> None:
    """Calls one after the other share one connection."""
    async with raw_upstream(answer) as server, client() as http:
        for _ in range(5):
            await body_of(await post(http, server))
        assert (len(server.requests), server.connections) == (5, 1)


async def test_unread_reply_is_not_used_again() -> None:
    """A connection whose reply was left in the middle is broken, so that its rest cannot become another call's reply."""

    async def long(call: Call) -> None:
        await call.reply(b"x" * 1_000_000)

    async with raw_upstream(long) as server, client() as http:
        reply = await post(http, server)
        await reply.close()
        await reply.close()
        assert await body_of(await post(http, server)) == b"x" * 1_000_000
        assert server.connections == 2


async def test_kept_connection_closed_in_between() -> None:
    """A connection that the upstream closed while it was unused costs no call."""

    async def once(call: Call) -> None:
        await call.reply(b"fine")
        call.hang_up()

    async with raw_upstream(once) as server, client() as http:
        for _ in range(3):
            assert await body_of(await post(http, server)) == b"fine"
            await asyncio.sleep(0.02)
        assert server.connections == 3


@pytest.mark.parametrize("reset", [False, True])
async def test_kept_connection_closed_at_the_moment_of_use(reset: bool) -> None:
    """A kept connection that ends instead of a reply is replaced by a new one, once, with the same bytes."""

    async def closes_second(call: Call) -> None:
        if call.number == 2:
            if reset:
                import socket
                import struct

                call._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            call.hang_up()
        else:
            await call.reply(b"fine")

    async with raw_upstream(closes_second) as server, client() as http:
        for _ in range(2):
            assert await body_of(await post(http, server)) == b"fine"
        assert server.requests[1] == server.requests[2]
        assert (len(server.requests), server.connections) == (3, 2)


async def test_second_try_takes_no_kept_connection() -> None:
    """When all kept connections end as they are used, the second try is on a new one and succeeds."""
    both = asyncio.Barrier(2)

    async def ends_kept(call: Call) -> None:
        if call.number <= 2:
            await both.wait()
            await call.reply(b"fine")
        elif call.connection <= 2:
            call.hang_up()
        else:
            await call.reply(b"new")

    async with raw_upstream(ends_kept) as server, client() as http:
        for reply in await asyncio.gather(post(http, server), post(http, server)):
            await body_of(reply)
        assert await body_of(await post(http, server)) == b"new"
        assert (len(server.requests), server.connections) == (4, 3)


async def test_new_connection_closed_is_not_tried_again() -> None:
    """On a connection that is new, an end without a reply is a fault after one request: nothing is sent twice."""

    async def closes(call: Call) -> None:
        call.hang_up()

    async with raw_upstream(closes) as server, client() as http:
        with pytest.raises(UpstreamFault) as caught:
            await post(http, server)
        assert caught.value.reached
        assert len(server.requests) == 1


async def test_second_try_is_the_last() -> None:
    """An upstream that ends every reused connection sees a request twice and no more."""

    async def first_only(call: Call) -> None:
        if call.number == 1:
            await call.reply(b"fine")
        else:
            call.hang_up()

    async with raw_upstream(first_only) as server, client() as http:
        await body_of(await post(http, server))
        with pytest.raises(UpstreamFault) as caught:
            await post(http, server)
        assert caught.value.reached
        assert len(server.requests) == 3


async def test_many_calls_at_once() -> None:
    """Two hundred calls at once over twenty connections each get their own reply."""

    async def echo(call: Call) -> None:
        await call.reply(call.raw.rsplit(b"\r\n\r\n", 1)[1])

    async with raw_upstream(echo) as server, client(max_connections=20, connect=60) as http:

        async def one(number: int) -> bytes:
            return await body_of(await http.send(server.upstream(), "/x", [], b"%d" % number))

        assert await asyncio.gather(*map(one, range(200))) == [b"%d" % number for number in range(200)]
        assert server.connections <= 20


async def test_certificates_are_verified() -> None:
    """A server whose certificate nobody vouches for gets no request; one whose authority is given does."""
    certificate = CERTIFICATE
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)

    async def tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"{}")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine")
            await reader.read()
        writer.close()

    server = await asyncio.start_server(tls, "127.0.0.1", 0, ssl=server_side)
    async with server:
        upstream = Upstream(id="u", name="u", base_url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with client() as http:
            with pytest.raises(UpstreamFault, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await http.send(upstream, "/x", [], b"{}")
            assert not caught.value.reached
        async with client(ssl_context=ssl.create_default_context(cafile=certificate)) as http:
            assert await body_of(await http.send(upstream, "/x", [], b"{}")) == b"fine"
