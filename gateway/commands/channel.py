"""What the parent and a worker say to each other, over a pair of connected sockets.

First the parent sends the order, a line of JSON, and the pickled configuration of the length that it names; then each sends lines
of JSON. The parent: `{"do": …}` with `greet`, `retire`, `stop` or `stop now`. The worker: `{"is": "ready"}`, or `{"is": "failed",
"problem": …, "remedy": …}`. The end of either process closes its end, which the other one sees.
"""

import asyncio
import contextlib
import json
import pickle
import socket
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from gateway.commands.configuration import Bundle, Configuration
from gateway.commands.demo import demo_at

_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """What one worker is to do: `listeners` are inherited file descriptors, `scoreboard` a folder, `demo` the demo upstream's
    address where it is to be used, `program` how the gateway was called.
    """

    number: int
    listeners: list[int]
    scoreboard: str
    url: str
    program: str
    as_json: bool
    demo: str | None

    def complete(self, configuration: Configuration) -> Configuration:
        """The configuration, with the demo upstream where no other is named and it runs."""
        if self.demo is None:
            return configuration
        return configuration.beside(demo_at(self.demo))


class Channel:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> "Channel":
        return cls(*await asyncio.open_connection(sock=end, limit=_LINE))

    def say(self, **words: object) -> None:
        """Say something; whether the other one is still there shows elsewhere."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(words).encode() + b"\n")

    async def told(self) -> AsyncIterator[dict[str, Any]]:
        """What the other one says, until it ends."""
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                yield json.loads(line)

    def send(self, order: Order, bundle: Bundle) -> None:
        self._writer.write(json.dumps([asdict(order), len(bundle.pickled)]).encode() + b"\n" + bundle.pickled)

    async def receive(self) -> tuple[Order, Configuration]:
        """The order and the configuration. Raises EOFError where the parent has ended."""
        line = await self._reader.readline()
        if not line:
            raise EOFError
        order, size = json.loads(line)
        configuration = pickle.loads(await self._reader.readexactly(size))  # noqa: S301 — from our parent, over a private socket
        if not isinstance(configuration, Configuration):
            raise TypeError(f"no configuration: {configuration!r}")
        return Order(**order), configuration

    def close(self) -> None:
        self._writer.close()
