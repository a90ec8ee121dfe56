"""Trials of an upstream: what came back, or why nothing did."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.domain.trials import Cause, Outcome, Trial
from gateway.domain.upstreams import Upstream
from gateway.upstream.directory import Directory
from gateway.upstream.trial import Managed, Trials
from tests.upstream.raw_upstream import Call, Script, raw_upstream, silent, unused_port

PEM = Path(__file__).parent.parent / "support" / "test-only.pem"
ASK = Trial("/chat/completions", b'{"model":"m"}')


@asynccontextmanager
async def trials(seconds: float = 5.0, most_bytes: int = 64 << 10) -> AsyncIterator[Trials]:
    made = Trials(seconds=seconds, most_bytes=most_bytes)
    try:
        yield made
    finally:
        await made.close()


async def tried(base_url: str, seconds: float = 5.0) -> Outcome:
    async with trials(seconds) as made:
        return await made.run(Upstream(id="u", name="u", base_url=base_url), ASK)


async def test_what_is_sent_and_what_comes_back() -> None:
    """A trial posts its body to the path below the base URL with the upstream's credential, and gives status and body back."""

    async def fine(call: Call) -> None:
        await call.reply(b'{"a":1}', b"201 Created")

    async with raw_upstream(fine) as server, trials() as made:
        outcome = await made.run(server.upstream(api_key="the-credential"), ASK)
    assert (outcome.status, outcome.body, outcome.whole, outcome.cause, outcome.location) == (201, b'{"a":1}', True, None, None)
    assert outcome.milliseconds < 5000
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"authorization: bearer the-credential" in head.lower()
    assert json.loads(body) == {"model": "m"}


async def test_a_trial_without_a_body_is_a_get() -> None:
    """The list of models is asked for by GET, without a body."""

    async def fine(call: Call) -> None:
        await call.reply(b"{}")

    async with raw_upstream(fine) as server, trials() as made:
        await made.run(server.upstream(), Trial("/models"))
    assert server.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"content-length" not in server.requests[0].lower()


async def test_each_trial_has_a_connection_of_its_own() -> None:
    """No connection is kept: the next trial finds out by itself whether one can be made."""

    async def fine(call: Call) -> None:
        await call.reply(b"{}")

    async with raw_upstream(fine) as server, trials() as made:
        for _ in range(2):
            assert (await made.run(server.upstream(), ASK)).status == 200
        assert server.connections == 2


async def test_redirects_are_told_not_followed() -> None:
    """A redirect is an answer like any other: whoever sent it does not learn of the credential elsewhere."""

    async def elsewhere(call: Call) -> None:
        await call.reply(b"", b"302 Found", b"location: http://127.0.0.1:%d/other\r\n" % server.port)

    async with raw_upstream(elsewhere) as server, trials() as made:
        outcome = await made.run(server.upstream(), ASK)
        assert (outcome.status, outcome.location) == (302, f"http://127.0.0.1:{server.port}/other")
        assert len(server.requests) == 1


async def test_an_answer_is_read_up_to_its_bound() -> None:
    """Of an answer without end no more than the bound is read, and the connection is closed."""
    closed = asyncio.Event()

    async def endless(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                await call.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        except ConnectionError:
            closed.set()

    async with raw_upstream(endless) as server, trials(most_bytes=4096) as made:
        outcome = await made.run(server.upstream(), ASK)
        assert (outcome.status, outcome.body, outcome.whole, outcome.cause) == (200, b"x" * 4096, False, None)
        await asyncio.wait_for(closed.wait(), 5)


async def drips(call: Call) -> None:
    await call.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(100):
        await call.write(b"1\r\nx\r\n")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(("script", "status"), [(silent, None), (drips, 200)])
async def test_a_trial_ends_in_time(script: Script, status: int | None) -> None:
    """A server that says nothing, or speaks for ever, holds a trial no longer than its time."""
    async with raw_upstream(script) as server, trials(seconds=0.3) as made:
        outcome = await asyncio.wait_for(made.run(server.upstream(), ASK), 3)
    assert (outcome.cause, outcome.status, outcome.whole) == (Cause.TIME, status, False)
    assert 250 <= outcome.milliseconds < 2000


@pytest.mark.parametrize(
    ("base_url", "cause"),
    [
        ("http://127.0.0.1:{port}/v1", Cause.REFUSED),
        ("http://localhost:{port}/v1", Cause.REFUSED),
        ("http://no-such-host.invalid/v1", Cause.NAME),
        (f"http://{'a' * 64}.example/v1", Cause.NAME),
    ],
)
async def test_who_cannot_be_reached(base_url: str, cause: Cause) -> None:
    """A refused connection is told from a name that does not resolve."""
    outcome = await tried(base_url.format(port=unused_port()))
    assert (outcome.cause, outcome.status) == (cause, None)
    assert outcome.words


async def test_certificates_are_checked() -> None:
    """A certificate that nobody vouches for ends the trial before the credential is sent, and is told as such."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    got = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read(65536))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    async with server:
        outcome = await tried(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    assert (outcome.cause, outcome.status, bytes(got)) == (Cause.TLS, None, b"")


async def test_tls_to_a_server_without_it() -> None:
    """A server that answers TLS in plain text is told as such."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        outcome = await tried(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    assert (outcome.cause, outcome.status) == (Cause.TLS, None)


async def test_a_connection_that_is_never_made() -> None:
    """Where no connection comes about, the trial says that, and not that the server was slow."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.transport.abort()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        outcome = await tried(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", seconds=0.4)
        await asyncio.sleep(0)
    assert (outcome.cause, outcome.words) == (Cause.TIME, "no connection within 0.2 s")


async def test_a_body_that_breaks_off() -> None:
    """An answer that ends before its end shows what has come, and is no whole one."""

    async def breaks(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour")
        call._writer.close()

    async with raw_upstream(breaks) as server, trials() as made:
        outcome = await made.run(server.upstream(), ASK)
    assert (outcome.cause, outcome.status, outcome.body, outcome.whole) == (Cause.OTHER, 200, b"four", False)


async def test_a_credential_that_cannot_be_sent() -> None:
    """A credential that is no HTTP is told as such, without a word of it."""
    async with raw_upstream(silent) as server, trials() as made:
        outcome = await made.run(server.upstream(api_key="secret\r\nx: y"), ASK)
    assert outcome.cause is Cause.UNSENDABLE
    assert "secret" not in repr(outcome)
    assert server.requests == []


async def test_trials_count_for_nothing() -> None:
    """Trials that fail neither eject an upstream nor become its last error."""

    async def none() -> list[Upstream]:
        return []

    upstream = Upstream(id="u", name="u", base_url=f"http://127.0.0.1:{unused_port()}", models={"m": "m"})
    async with trials() as made:
        managed = Managed(Directory([upstream], none), made)
        for _ in range(10):
            assert (await managed.try_out(upstream, ASK)).cause is Cause.REFUSED
        state = managed.states()[0]
    assert (state.state, state.last_error) == ("healthy", None)


async def test_trials_take_no_more_connections_than_they_may() -> None:
    """More trials at once than there may be wait their turn, and end in time all the same."""
    async with raw_upstream(silent) as server:
        made = Trials(seconds=0.4, most=2)
        outcomes = await asyncio.wait_for(asyncio.gather(*(made.run(server.upstream(), ASK) for _ in range(5))), 5)
        await made.close()
        assert server.connections <= 4
    assert {outcome.cause for outcome in outcomes} == {Cause.TIME}
