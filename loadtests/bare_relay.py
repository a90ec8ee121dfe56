"""A relay that does nothing but pass bytes on: `python loadtests/bare_relay.py PORT UPSTREAM_PORT`.

What a call takes longer through it than without it is what two more connections, one more process and its event loop cost, before
anybody looks at a byte.
"""

import asyncio
import sys
from typing import cast

import uvloop


class _Side(asyncio.Protocol):
    """One of two connections; what comes on one goes out on the other."""

    def __init__(self) -> None:
        self.other: asyncio.Transport | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.own = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


class _Client(_Side):
    def __init__(self, upstream_port: int) -> None:
        super().__init__()
        self._port = upstream_port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        transport, far = await loop.create_connection(_Side, "127.0.0.1", self._port)
        far.other, self.other = self.own, transport
        for data in self.early:
            transport.write(data)


async def main(port: int, upstream_port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Client(upstream_port), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
