"""Callers that call without a pause over connections of their own, with as little work a call as can be."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

GONE = 0
"""The status of a call that got no whole answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: which key made it, when it started and ended (`time.monotonic`), what it was answered."""

    key: str
    started: float
    ended: float
    status: int


def request(key: str, **fields: Any) -> bytes:
    """A chat call in bytes."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields).encode()
    head = (
        "POST /compatible-mode/v1/chat/completions HTTP/1.1\r\nhost: test\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """A keep-alive connection, opened anew when the other side has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(self, data: bytes, *, seconds: float = 60) -> tuple[int, bytes]:
        """Status and body; GONE if the connection broke or nothing came in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._call(data)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return GONE, b""

    async def _call(self, data: bytes) -> tuple[int, bytes]:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writer.write(data)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        at = head.find(b"content-length:")
        if at >= 0:
            body = await self._reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
        else:
            body = b""
            while size := int((await self._reader.readuntil(b"\r\n")).strip(), 16):
                body += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readexactly(2)
        if b"connection: close" in head:
            self.close()
        return status, body

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


@dataclass
class Load:
    """`callers` at once on each port; each caller takes the next of `keys` for each call, by turns."""

    ports: Sequence[int]
    keys: Sequence[str]
    callers: int = 8
    fields: dict[str, Any] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    stopped: bool = False

    async def __aenter__(self) -> Self:
        self._requests = {key: request(key, **self.fields) for key in self.keys}
        turns = itertools.cycle(self.keys)
        self._tasks = [asyncio.create_task(self._caller(port, turns)) for port in self.ports for _ in range(self.callers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopped = True
        await asyncio.gather(*self._tasks)

    async def _caller(self, port: int, turns: Iterator[str]) -> None:
        connection = Connection(port)
        try:
            while not self.stopped:
                key = next(turns)
                started = time.monotonic()
                status, _ = await connection.call(self._requests[key])
                self.calls.append(Call(key, started, time.monotonic(), status))
                if status == GONE:
                    await asyncio.sleep(0.02)
        finally:
            connection.close()

    async def until(self, calls: int, *, seconds: float = 120) -> None:
        """Wait for that many more calls."""
        goal = len(self.calls) + calls
        async with asyncio.timeout(seconds):
            while len(self.calls) < goal:
                await asyncio.sleep(0.01)

    def statuses(self, where: Callable[[Call], bool] = lambda _: True) -> Counter[int]:
        """How many of the calls that `where` holds for were answered what."""
        return Counter(call.status for call in self.calls if where(call))
