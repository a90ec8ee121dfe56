"""A process that takes calls: the application, opened, behind uvicorn on sockets that are bound already.

It ends in steps, so that no call is lost: `/readyz` turns to 503, calls are taken for `server.drain_seconds` more, then it stops
listening, calls under way end (at most `server.graceful_timeout_seconds`), settle, and every part is closed.
"""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator

import uvicorn

from gateway.app import Gateway
from gateway.commands import database, listen
from gateway.config import Secrets, Settings
from gateway.dataplane.uvicorn_protocol import Drain, EdgeProtocol
from gateway.domain.upstreams import Upstream

_LAST_SECONDS = 5.0
_COLLECTOR = (20_000, 20, 50)  # allocations without a release, and collections of each generation, until one of the next
_CLOSED_BY_THEN = 0.02  # uvloop closes a listener with the next turn of its loop
BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server, which says when it listens, and takes leave of its clients."""

    def __init__(self, gateway: Gateway, settings: Settings, listening: Callable[[], Awaitable[None]]) -> None:
        self._gateway = gateway
        self._drain = Drain()
        self._drain_seconds = settings.server.drain_seconds
        self._listening = listening
        self._retires = False
        self._hurried = asyncio.Event()
        super().__init__(_uvicorn_config(settings, gateway, self._drain))

    def stop(self, *, now: bool = False) -> None:
        """End, and let load balancers notice first; or `now`, without waiting for anybody."""
        self.should_exit = True
        if now:
            self.force_exit = True
            self._hurried.set()

    def retire(self) -> None:
        """End in favour of other workers on the same sockets: the gateway as a whole stays ready."""
        self._retires = self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        await self._listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are the business of whoever runs this: a worker leaves some to its parent."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain.begun = True
        self._gateway.services.streams.end()
        if not self._retires:
            self._gateway.draining = True
            await self._wait(self._drain_seconds)
            # The kernel has accepted connections that this process has not, and would reset them with the listener's closing.
            duplicates = [each.dup() for each in sockets or ()]
            asyncio.get_running_loop().call_later(_CLOSED_BY_THEN, self._take_queued, duplicates)
        await super().shutdown(sockets=sockets)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), seconds)

    def _take_queued(self, listeners: list[socket.socket]) -> None:
        """Serve the connections that still wait in the listeners' queues, and close these for good."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            with contextlib.suppress(OSError):
                for _ in range(BACKLOG):
                    connection, _ = listener.accept()
                    task = loop.create_task(self._serve_connection(connection))
                    self.server_state.tasks.add(task)
                    task.add_done_callback(self.server_state.tasks.discard)
            listener.close()

    async def _serve_connection(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(
            lambda: self.config.http_protocol_class(config=self.config, server_state=self.server_state, app_state={}),  # type: ignore[call-arg]
            connection,
        )


@contextlib.asynccontextmanager
async def opened(
    settings: Settings, secrets: Secrets, upstreams: list[Upstream], listening: Callable[[Gateway], Awaitable[None]]
) -> AsyncIterator[tuple[Gateway, Server]]:
    """An open application and its server, which does not run yet. Raises Failure."""
    gateway = Gateway(settings, secrets, upstreams)
    gateway.metrics.gauge("gateway_workers", "Processes that take calls.", lambda: 1)
    gateway.metrics.counter("gateway_workers_died", "Worker processes that ended without being told to.", lambda: 0)
    server = Server(gateway, settings, lambda: listening(gateway))
    with database.explained():
        async with gateway.open():
            yield gateway, server


def spare_the_collector() -> None:
    """Have garbage collection look at little, seldom: calls leave next to no cycles behind.

    What the start left (modules, settings, statements) is never looked at again. With Python's own thresholds, a tenth of a
    call's time went into looking at objects that reference counting frees anyway, and at times all of them at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR)


async def run(server: Server, settings: Settings, sockets: list[socket.socket]) -> None:
    """Serve until told to stop, and until the last call has settled. Raises Failure where it cannot listen."""
    spare_the_collector()
    try:
        await server.serve(sockets=sockets)
    except OSError as error:
        raise listen.cannot_listen(settings.server.host, settings.server.port, error) from None
    # Calls that were cut at the end of their time still settle; the parts they need are closed after that.
    if server.server_state.tasks:
        await asyncio.wait(server.server_state.tasks, timeout=_LAST_SECONDS)


def _uvicorn_config(settings: Settings, gateway: Gateway, drain: Drain) -> uvicorn.Config:
    return uvicorn.Config(
        gateway,
        http=EdgeProtocol.configured(
            serve=gateway.answer,
            header_seconds=settings.server.header_timeout_seconds,
            header_bytes=settings.server.max_header_bytes,
            body_seconds=settings.server.body_timeout_seconds,
            write_seconds=settings.server.write_timeout_seconds,
            drain=drain,
        ),
        ws="none",
        lifespan="off",  # opened here, so that what keeps it from opening is told in words
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=settings.server.keep_alive_seconds,
        timeout_graceful_shutdown=settings.server.graceful_timeout_seconds,
    )
