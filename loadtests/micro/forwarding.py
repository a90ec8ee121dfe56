"""Steps of the way to a model server and back."""

from gateway.dataplane.headers import downward, rate_limit, upward
from gateway.dataplane.sse import EventStream, usage_of
from gateway.domain.usage import Usage
from gateway.upstream.http1.connection import Connection
from gateway.upstream.http1.request import head_of, target
from loadtests.micro.messages import (
    COMPLETION,
    EVENTS,
    JSON_REPLY,
    PIECES,
    REPLY_HEADERS,
    SMALL,
    STREAM,
    STREAM_REPLY,
    headers,
)
from loadtests.micro.step import Run, Sink, Step, at_once
from loadtests.micro.world import admitted

_GROUP = "3 the model server"
_USED = Usage(input=10, output=5)


async def _upward() -> Run:
    given = headers("sk-1", SMALL)
    fields = dict(given)

    def run() -> list[tuple[bytes, bytes]]:
        return upward(given, fields)

    names = [name for name, _ in run()]
    assert b"authorization" not in names
    assert len(names) > 10
    return run


async def _head() -> Run:
    to = target("https://models.example.com/v1", "sk-upstream")
    given = upward(headers("sk-1", SMALL), dict(headers("sk-1", SMALL)))

    def run() -> bytes:
        return head_of(b"POST", to, b"/chat/completions", given, len(SMALL))

    assert run().startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: models.example.com\r\n")
    return run


def _connection() -> Connection:
    connection = Connection(lambda _: None, most_head=64 << 10)
    connection.connection_made(Sink())
    return connection


def _exchange(connection: Connection, pieces: list[bytes]) -> bytes:
    """One exchange of a kept connection: the request is sent, the reply comes in pieces, and is read to its end."""
    connection.begin(b"POST / HTTP/1.1\r\n\r\n", SMALL, first_byte=300.0, idle=120.0)
    read = []
    for number, piece in enumerate(pieces):
        connection.data_received(piece)
        if number == 0:
            at_once(connection.reply())
        if number < len(pieces) - 1 and number > 0:
            read.append(at_once(connection.chunk()))
    while part := at_once(connection.chunk()):
        read.append(part)
    if not connection.release():
        raise RuntimeError("the connection cannot be used again")
    return b"".join(read)


def _reply(pieces: list[bytes], whole: bytes) -> Step:
    async def prepare() -> Run:
        connection = _connection()

        def run() -> bytes:
            return _exchange(connection, pieces)

        assert run() == whole
        assert connection.status == 200
        return run

    what = "JSON reply" if len(pieces) == 1 else f"reply of {EVENTS} events in {PIECES} pieces"
    return Step(_GROUP, f"{what} parsed, on a kept connection", prepare)


async def _downward() -> Run:
    fields = dict(REPLY_HEADERS)
    assert (b"server", b"uvicorn") not in downward(REPLY_HEADERS, fields)
    return lambda: downward(REPLY_HEADERS, fields)


async def _rate_limit() -> Run:
    gauges = (await admitted()).gauges
    assert len(rate_limit(gauges)) == 6
    return lambda: rate_limit(gauges)


async def _usage() -> Run:
    assert usage_of(COMPLETION) == _USED
    return lambda: usage_of(COMPLETION)


async def _events() -> Run:
    def run() -> EventStream:
        stream = EventStream(hide_usage=True)
        ended = 0
        for piece in STREAM:
            stream.feed(piece)
            ended += stream.done
        assert ended == 1
        return stream

    stream = run()
    assert (stream.usage, stream.done) == (_USED, True)
    assert stream.events in (EVENTS, EVENTS - 1)
    return run


STEPS = [
    Step(_GROUP, "headers for the model server", _upward),
    Step(_GROUP, "head of the request", _head),
    _reply([JSON_REPLY], COMPLETION),
    _reply(STREAM_REPLY, b"".join(STREAM)),
    Step(_GROUP, "headers for the client", _downward),
    Step(_GROUP, "x-ratelimit headers of 4 buckets", _rate_limit),
    Step(_GROUP, "usage of a JSON reply", _usage),
    Step(_GROUP, f"{EVENTS} events in {PIECES} pieces looked through", _events),
]
