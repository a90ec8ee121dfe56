"""A model server with next to no work of its own, to measure what stands before it: `python loadtests/upstream.py PORT`.

What it answers depends on the model: `small` a completion of some 300 bytes; `large` one of 200 KB; `events` 200 events at once,
as a stream; `later` the small one after 20 ms; `slow` an event a second for as long as the client stays, whose text says when it
was sent; `slow-2` and `slow-5` one in two and five seconds. Every reply names 10 tokens in and 5 out.
"""

import asyncio
import json
import re
import sys
import time
from typing import Any

import uvloop

SLOW = {"slow": 1, "slow-2": 2, "slow-5": 5}
"""The models that bring an event now and then, with the seconds from one to the next."""
LATER_SECONDS = 0.02
MODELS = ("small", "large", "events", "later", *SLOW)
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
_MODEL = re.compile(rb'"model": *"([^"]*)"')
_BEGINNING = 300
_GROUP = 20  # events a write: what a fast model server's kernel hands over at once


class Wheel:
    """The slow streams of one model. Each has its millisecond, so that events are spread evenly over the time between two.

    It turns while there are streams, with one timer for all: one each would be much of the work.
    """

    def __init__(self, seconds: int) -> None:
        self._slots: list[list[asyncio.Transport]] = [[] for _ in range(seconds * 1000)]
        self._next = 0
        self._turning: asyncio.Task[None] | None = None
        self._streams = 0

    def add(self, transport: asyncio.Transport) -> None:
        """Send it events from now on, the first one at once, until it closes."""
        transport.write(_HEAD + _timed())
        self._next = (self._next + 619) % len(self._slots)  # a prime: neighbours are far apart, and all slots have their turn
        self._slots[self._next].append(transport)
        self._streams += 1
        if self._turning is None:
            self._turning = asyncio.create_task(self._turn())

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        begun, turned = loop.time(), 0
        while self._streams:
            while turned < (loop.time() - begun) * 1000:
                self._send(turned % len(self._slots))
                turned += 1
            await asyncio.sleep(0.001)
        self._turning = None

    def _send(self, number: int) -> None:
        slot = self._slots[number]
        if any(transport.is_closing() for transport in slot):
            self._streams -= len(slot)
            slot[:] = [transport for transport in slot if not transport.is_closing()]
            self._streams += len(slot)
        for transport in slot:
            transport.write(_timed())


def _timed() -> bytes:
    return _event(_delta(f"sent {time.monotonic():.6f} ."))


class Upstream(asyncio.Protocol):
    """One connection; requests come one at a time, with a content-length."""

    def __init__(self, wheels: dict[bytes, Wheel]) -> None:
        self._wheels = wheels
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
            return
        # The model mostly stands at the beginning; to look for it in 100 KB would take longer than all the rest.
        found = _MODEL.search(body, 0, _BEGINNING) or _MODEL.search(body)
        model = found[1] if found else b"small"
        if model == b"events":
            self._stream = asyncio.create_task(self._events())
        elif model == b"later":
            asyncio.get_running_loop().call_later(LATER_SECONDS, self._transport.write, _SMALL)
        elif model in self._wheels:
            self._wheels[model].add(self._transport)
        else:
            self._transport.write(_BIG if model == b"large" else _SMALL)

    async def _events(self) -> None:
        self._transport.write(_HEAD)
        for _ in range(EVENTS // _GROUP):
            self._transport.write(_PIECE * _GROUP)
            await asyncio.sleep(0)
        self._transport.write(_LAST)


async def main(port: int) -> None:
    wheels = {name.encode(): Wheel(seconds) for name, seconds in SLOW.items()}
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(wheels), "127.0.0.1", port, backlog=4096)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
