"""A model server of a few lines, in this process: it answers as it is told to, and counts who is there."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class ScriptedUpstream:
    """Serves `model`, each reply with `usage`; a stream has `events` events, `pause` seconds apart; `open` counts calls there."""

    def __init__(self, model: str = "m") -> None:
        self.model = model
        self.usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self.events = 3
        self.pause = 0.0
        self.delay = 0.0
        self.calls = 0
        self.open = 0
        self.base_url = ""
        self.bodies: list[bytes] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedUpstream"]:
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with suppress(asyncio.CancelledError):
                await self._serve(reader, writer)
            tasks.discard(task)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # a transport closes at the next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
                body = await reader.readexactly(size)
                if head.startswith("GET"):
                    self._send(writer, {"object": "list", "data": [{"id": self.model, "object": "model"}]})
                    continue
                self.calls += 1
                self.open += 1
                self.bodies.append(body)
                try:
                    await asyncio.sleep(self.delay)
                    await self._answer(json.loads(body), reader, writer)
                finally:
                    self.open -= 1

    async def _answer(self, request: dict[str, object], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not request.get("stream"):
            self._send(writer, {"object": "chat.completion", "choices": [], "model": self.model, "usage": self.usage})
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(self.events):
            delta = {"choices": [{"index": 0, "delta": {"content": f"word{number} "}, "finish_reason": None}]}
            _event(writer, json.dumps(delta))
            await writer.drain()
            await asyncio.sleep(self.pause)
            if reader.at_eof():
                raise ConnectionError
        _event(writer, json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        _event(writer, json.dumps({"choices": [], "usage": self.usage}))
        _event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _send(self, writer: asyncio.StreamWriter, value: object) -> None:
        body = json.dumps(value).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def _event(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(b"%x\r\n" % len(event) + event + b"\r\n")
