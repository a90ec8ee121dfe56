"""`gateway serve`: the parent process, from the settings to the last call's end.

In order: settings, data folder and its lock, sockets (a port that is taken should be told at once), schema, secrets, the demo
upstream where no other is known, the application, the server. What was opened is closed in the opposite order, however it ends.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from types import FrameType

import click
import uvicorn
import uvloop

from gateway.app import Gateway
from gateway.commands import database, demo, first_run, folder, listen, output, secret_files
from gateway.commands.help import examples
from gateway.commands.output import Failure
from gateway.config import Secrets, Settings, current_unknown_names, upstreams_of
from gateway.dataplane.uvicorn_protocol import DeadlineProtocol
from gateway.domain.upstreams import Upstream

_LOCK_SECONDS = 15.0
_LAST_SECONDS = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command(epilog=examples("gateway serve", "GATEWAY_UPSTREAM_BASE_URL=http://127.0.0.1:8000/v1 gateway serve --port 9000"))
@click.option("--host", help="The address to listen on, instead of GATEWAY_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on, instead of GATEWAY_PORT; 0 takes a free one.")
@click.option("--workers", type=int, help="Worker processes, instead of GATEWAY_WORKERS.")
@click.option("--json", "json", is_flag=True, help="Print the endpoint as a line of JSON once it listens, and make no first key.")
def serve(host: str | None, port: int | None, workers: int | None, json: bool) -> None:
    """Run the gateway until it is told to stop (Ctrl+C or SIGTERM); calls under way may end first."""
    for each in _SIGNALS:
        signal.signal(each, _leave)
    given = {"server.host": host, "server.port": port, "server.workers": workers}
    settings = output.settings({key: value for key, value in given.items() if value is not None})
    for problem in current_unknown_names():
        output.warn(f"{problem.source}: {problem.problem}. {problem.remedy}")
    _log_to_stderr(settings.log.level)
    with ExitStack() as stack:
        _run(settings, stack, as_json=json)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Told to stop before the server runs, or once more when it is done: either is no fault."""
    sys.exit(0)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx2", "httpcore2", "aiosqlite", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _run(settings: Settings, stack: ExitStack, *, as_json: bool) -> None:
    data = settings.storage.data_dir
    for warning in folder.prepare(data):
        output.warn(warning)
    lock = folder.take_or_find(data, _LOCK_SECONDS)
    if isinstance(lock, str):
        raise Failure(
            f"a gateway already runs on the data folder {data}, at {lock}",
            "Stop it, or give this one a folder of its own with GATEWAY_DATA_DIR.",
        )
    stack.enter_context(folder.held(lock))
    sockets = listen.bind(settings.server.host, settings.server.port)
    for each in sockets:
        stack.enter_context(each)
    settings = _with_port(settings, sockets[0].getsockname()[1])
    database.bring_up_to_date(settings)
    secrets, warnings = secret_files.obtain(settings)
    for warning in warnings:
        output.warn(warning)
    upstreams = upstreams_of(settings)
    if not upstreams and not asyncio.run(database.serves_models(settings)):
        upstreams = [stack.enter_context(demo.beside())]
    url = listen.url_of(settings.server.host, settings.server.port)

    async def listening(gateway: Gateway) -> None:
        lock.announce(url)
        await first_run.greet(gateway, settings, secrets, url, as_json=as_json)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, secrets, upstreams, sockets, listening))


def _with_port(settings: Settings, port: int) -> Settings:
    """The settings with the port that was really taken."""
    return settings.model_copy(update={"server": settings.server.model_copy(update={"port": port})})


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        await self._listening()


async def _serve(
    settings: Settings,
    secrets: Secrets,
    upstreams: list[Upstream],
    sockets: list[socket.socket],
    listening: Callable[[Gateway], Awaitable[None]],
) -> None:
    gateway = Gateway(settings, secrets, upstreams)
    server = _Server(_uvicorn_config(settings, gateway), lambda: listening(gateway))

    def stop(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    for each in _SIGNALS:
        signal.signal(each, stop)
    with database.explained():
        async with gateway.open():
            try:
                await server.serve(sockets=sockets)
            except OSError as error:
                raise listen.cannot_listen(settings.server.host, settings.server.port, error) from None
            # Calls that were cut at the end of their time still settle; the parts they need are closed after that.
            if server.server_state.tasks:
                await asyncio.wait(server.server_state.tasks, timeout=_LAST_SECONDS)


def _uvicorn_config(settings: Settings, gateway: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        gateway,
        http=DeadlineProtocol.configured(
            header_seconds=settings.server.header_timeout_seconds, header_bytes=settings.server.max_header_bytes
        ),
        ws="none",
        lifespan="off",  # opened here, so that what keeps it from opening is told in words
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.server.keep_alive_seconds,
        timeout_graceful_shutdown=settings.server.graceful_timeout_seconds,
    )
