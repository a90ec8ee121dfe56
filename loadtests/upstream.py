"""A model server with next to no work of its own, to measure what stands before it: `python loadtests/upstream.py PORT`.

What it answers depends on the model: `small` a completion of some 300 bytes; `large` one of 200 KB; `events` 200 events at once,
as a stream; `slow` an event a second for as long as the client stays, whose text says when it was sent. Every reply names 10
tokens in and 5 out.
"""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

MODELS = ("small", "large", "events", "slow")
EVENTS = 200
LARGE = 200_000
_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def _json(value: Any) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _completion(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return _json({"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": _USAGE})


def _event(data: str) -> bytes:
    event = b"data: " + data.encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def _delta(text: str) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return json.dumps({"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LAST = _event(json.dumps({"id": "c-1", "choices": [], "usage": _USAGE})) + _event("[DONE]") + b"0\r\n\r\n"
_SMALL = _completion("Hello to the whole wide world, and a good day to everybody in it.")
_BIG = _completion("x" * LARGE)
_LISTING = _json({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})
_PIECE = _event(_delta("hello"))
_GROUP = 20  # events a write: what a fast model server's kernel hands over at once


class Upstream(asyncio.Protocol):
    """One connection; requests come one at a time, with a content-length."""

    def __init__(self) -> None:
        self._received = b""
        self._stream: asyncio.Task[None] | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self._stream is not None:
            self._stream.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            at = head.find(b"content-length:")
            whole = end + 4 + (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
            if len(self._received) < whole:
                return
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get"):
            self._transport.write(_LISTING)
        elif b'"events"' in body:
            self._stream = asyncio.create_task(self._events())
        elif b'"slow"' in body:
            self._stream = asyncio.create_task(self._slow())
        else:
            self._transport.write(_BIG if b'"large"' in body else _SMALL)

    async def _events(self) -> None:
        self._transport.write(_HEAD)
        for _ in range(EVENTS // _GROUP):
            self._transport.write(_PIECE * _GROUP)
            await asyncio.sleep(0)
        self._transport.write(_LAST)

    async def _slow(self) -> None:
        self._transport.write(_HEAD)
        while True:
            self._transport.write(_event(_delta(f"sent {time.monotonic():.6f} .")))
            await asyncio.sleep(1)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
