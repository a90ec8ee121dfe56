"""A model server with next to no work of its own, run as a program: `fast_upstream.py PORT`.

A reply names 10 tokens in and 5 out. A stream has `max_tokens` events (3 unless named), `seed` milliseconds apart.
"""

import asyncio
import json
import sys
from typing import Any

_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def _head(kind: str, rest: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{rest}\r\n\r\n".encode()


def _json(value: Any) -> bytes:
    body = json.dumps(value).encode()
    return _head("application/json", f"content-length: {len(body)}") + body


_COMPLETION = _json({"id": "c", "object": "chat.completion", "choices": [], "usage": _USAGE})
_MODELS = _json({"object": "list", "data": [{"id": "m", "object": "model"}]})


def _event(value: Any) -> bytes:
    data = b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Server(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""
        self._stream: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            whole = end + 4 + size
            if len(self._received) < whole:
                return
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get"):
            self._transport.write(_MODELS)
        elif b'"stream"' in body:
            asked = json.loads(body)
            self._stream = asyncio.create_task(self._events(asked.get("max_tokens", 3), asked.get("seed", 0) / 1000))
        else:
            self._transport.write(_COMPLETION)

    async def _events(self, count: int, pause: float) -> None:
        self._transport.write(_head("text/event-stream", "transfer-encoding: chunked"))
        for number in range(count):
            self._transport.write(_event({"choices": [{"index": 0, "delta": {"content": f"{number} "}}]}))
            await asyncio.sleep(pause)
        self._transport.write(_event({"choices": [], "usage": _USAGE}) + _event(b"[DONE]") + b"0\r\n\r\n")

    def connection_lost(self, _error: Exception | None) -> None:
        if self._stream is not None:
            self._stream.cancel()


async def _main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", port, backlog=1024)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
