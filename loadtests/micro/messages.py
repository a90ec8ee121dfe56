"""The messages that are measured: what OpenAI's SDK sends, and what model servers answer."""

import json

from gateway.domain.upstreams import Headers
from loadtests.load import Shot
from tests.dataplane.world import MODEL

SMALL = Shot(MODEL).body().encode()
LARGE = Shot(MODEL, prompt=100_000).body().encode()
STREAMED = Shot(MODEL, stream=True).body().encode()
EVENTS = 200
PIECES = 10
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}

_SDK: Headers = [
    (b"host", b"gateway.example.com"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"accept", b"application/json"),
    (b"content-type", b"application/json"),
    (b"user-agent", b"AsyncOpenAI/Python 3.54.0"),
    (b"x-stainless-lang", b"python"),
    (b"x-stainless-package-version", b"3.54.0"),
    (b"x-stainless-os", b"Linux"),
    (b"x-stainless-arch", b"x64"),
    (b"x-stainless-runtime", b"CPython"),
    (b"x-stainless-runtime-version", b"3.11.7"),
    (b"x-stainless-async", b"async:asyncio"),
    (b"x-stainless-retry-count", b"0"),
    (b"x-stainless-read-timeout", b"600"),
]
REPLY_HEADERS: Headers = [
    (b"date", b"Fri, 27 Nov 2026 08:00:00 GMT"),
    (b"server", b"uvicorn"),
    (b"content-type", b"application/json"),
    (b"x-request-id", b"req-1"),
    (b"openai-processing-ms", b"12"),
    (b"cache-control", b"no-store"),
]


def headers(key: str, body: bytes) -> Headers:
    return [*_SDK, (b"authorization", b"Bearer " + key.encode()), (b"content-length", b"%d" % len(body))]


def request(key: str, path: str, body: bytes) -> bytes:
    """A call as it comes over the wire."""
    lines = b"".join(b"%s: %s\r\n" % field for field in headers(key, body))
    return b"POST %s HTTP/1.1\r\n%s\r\n%s" % (path.encode(), lines, body)


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _delta(number: int) -> object:
    choice = {"index": 0, "delta": {"content": f"word{number} "}, "finish_reason": None}
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}


_END = [
    {"id": "c-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "c-1", "choices": [], "usage": USAGE},
]
_TEXT = "Hello to the whole wide world, and a good day to everybody in it."
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}
COMPLETION = json.dumps(
    {"id": "c-1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [_CHOICE], "usage": USAGE}
).encode()

_ALL = [_event(_delta(number)) for number in range(EVENTS - 3)] + [_event(value) for value in _END] + [b"data: [DONE]\n\n"]
STREAM = [b"".join(_ALL[start : start + EVENTS // PIECES]) for start in range(0, EVENTS, EVENTS // PIECES)]
"""200 events in ten pieces, as a fast server's come off a connection; the last tell the usage and the end."""

_HEAD = b"HTTP/1.1 200 OK\r\n" + b"".join(b"%s: %s\r\n" % field for field in REPLY_HEADERS)
JSON_REPLY = _HEAD + b"content-length: %d\r\n\r\n%s" % (len(COMPLETION), COMPLETION)
_STREAM_HEAD = _HEAD.replace(b"application/json", b"text/event-stream") + b"transfer-encoding: chunked\r\n\r\n"
STREAM_REPLY = [
    _STREAM_HEAD,
    *(b"".join(b"%x\r\n%s\r\n" % (len(event) + 2, event + b"\n\n") for event in piece.split(b"\n\n")[:-1]) for piece in STREAM),
    b"0\r\n\r\n",
]
"""The same stream as it comes over the wire: the head, the pieces with a chunk an event, the end."""
