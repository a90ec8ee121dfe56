"""TLS in front of a server that has none: a relay on a thread of its own, for `rediss://`."""

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

CERTIFICATE = Path(__file__).with_name("test-only.pem")
"""Certificate and private key of 127.0.0.1 and localhost, signed by itself: a client that trusts this file takes it."""
_CHUNK = 1 << 16


class TlsRelay:
    """Takes TLS connections on a free port of 127.0.0.1, and passes their bytes on to `port` and back. Used as a `with` block."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._behind = port
        self._loop = asyncio.new_event_loop()
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="tls-relay", daemon=True)
        self.connections = 0
        """How many TLS connections were taken so far."""

    @property
    def url(self) -> str:
        """For a Redis behind it."""
        return f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={CERTIFICATE}"

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)
        relays: set[asyncio.Task[None]] = set()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.ensure_future(self._relay(reader, writer))
            relays.add(task)
            task.add_done_callback(relays.discard)
            await asyncio.wait({task})

        server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in relays:
            task.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        await asyncio.sleep(0)  # what waited for the relays ends

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            writer.transport.abort()
            return
        ways = {
            asyncio.ensure_future(self._pass_on(reader, inner_writer)),
            asyncio.ensure_future(self._pass_on(inner_reader, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in (writer, inner_writer):
                each.transport.abort()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the relay does not listen"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the relay does not end"
