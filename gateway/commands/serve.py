"""`gateway serve`: the parent process, from the settings to the last call's end.

In order: settings, data folder and its lock, sockets (a port that is taken should be told at once), schema, secrets, the demo
upstream where no other is known, then the server in this process, or, with several workers, their supervisor. What was opened is
closed in the opposite order, however it ends.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from types import FrameType

import click
import uvloop

from gateway.app import Gateway
from gateway.commands import configuration, database, demo, first_run, folder, listen, output, secret_files, server
from gateway.commands.configuration import Bundle, Configuration
from gateway.commands.help import examples
from gateway.commands.output import Failure
from gateway.commands.supervisor import Supervisor, has_terminal
from gateway.commands.worker_process import Launch
from gateway.config import Settings, current_unknown_names, upstreams_of
from gateway.ops import logs
from gateway.ops.scoreboard import Scoreboard

_log = logging.getLogger(__name__)
_LOCK_SECONDS = 15.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BOARD = "workers"
"""The folder in the data folder in which workers share their metrics."""


@click.command(epilog=examples("gateway serve", "GATEWAY_UPSTREAM_BASE_URL=http://127.0.0.1:8000/v1 gateway serve --port 9000"))
@click.option("--host", help="The address to listen on, instead of GATEWAY_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on, instead of GATEWAY_PORT; 0 takes a free one.")
@click.option("--workers", type=int, help="Worker processes, instead of GATEWAY_WORKERS.")
@click.option("--json", "json", is_flag=True, help="Print the endpoint as a line of JSON once it listens, and make no first key.")
def serve(host: str | None, port: int | None, workers: int | None, json: bool) -> None:
    """Run the gateway until it is told to stop (Ctrl+C or SIGTERM); calls under way may end first.

    With several workers, SIGHUP replaces them one by one, with the settings as they are then, and no call fails.
    """
    for each in _SIGNALS:
        signal.signal(each, _leave)
    given = {"server.host": host, "server.port": port, "server.workers": workers}
    options = {key: value for key, value in given.items() if value is not None}
    settings = output.settings(options)
    for problem in current_unknown_names():
        output.warn(f"{problem.source}: {problem.problem}. {problem.remedy}")
    logs.configure(settings.log.level, settings.log.format, "parent" if settings.server.workers > 1 else "gateway")
    with ExitStack() as stack:
        _run(settings, options, stack, as_json=json)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Told to stop before the server runs, or once more when it is done: either is no fault."""
    sys.exit(0)


def _run(wanted: Settings, options: Mapping[str, object], stack: ExitStack, *, as_json: bool) -> None:
    """`wanted` are the settings as they were asked for, in which the port may be 0."""
    data = wanted.storage.data_dir
    for warning in folder.prepare(data):
        output.warn(warning)
    lock = folder.take_or_find(data, _LOCK_SECONDS)
    if isinstance(lock, str):
        raise Failure(
            f"a gateway already runs on the data folder {data}, at {lock}",
            "Stop it, or give this one a folder of its own with GATEWAY_DATA_DIR.",
        )
    stack.enter_context(folder.held(lock))
    sockets = listen.bind(wanted.server.host, wanted.server.port)
    for each in sockets:
        stack.enter_context(each)
    port: int = sockets[0].getsockname()[1]
    settings = configuration.with_value(wanted, "server.port", port)
    database.bring_up_to_date(settings)
    secrets, warnings = secret_files.obtain(settings)
    output.hide(settings, secrets)
    for warning in warnings:
        output.warn(warning)
    upstreams = upstreams_of(settings)
    beside = None
    if not upstreams and not asyncio.run(database.serves_models(settings)):
        beside = stack.enter_context(demo.beside())
    url = listen.url_of(settings.server.host, port)
    whole = Configuration(settings, secrets, tuple(upstreams))
    if settings.server.workers > 1:
        launch = Launch(
            listeners=sockets,
            board=Scoreboard(data / _BOARD),
            url=url,
            program=sys.argv[0],
            as_json=as_json,
            demo=beside.base_url if beside else None,
        )
        _supervise(
            launch,
            whole,
            read_anew=lambda: configuration.read_anew(options, configuration.fixed(wanted), port),
            first_ready=lambda: lock.announce(url),
        )
        return

    async def listening(gateway: Gateway) -> None:
        lock.announce(url)
        await first_run.greet(gateway, settings, secrets, url, as_json=as_json)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(whole if beside is None else whole.beside(beside), sockets, listening))


def _supervise(launch: Launch, whole: Configuration, *, read_anew: Callable[[], Bundle], first_ready: Callable[[], None]) -> None:
    """Run workers until told to stop. Raises Failure."""
    server_settings = whole.settings.server
    try:
        launch.board.clear()
        for each in launch.listeners:
            each.listen(server.BACKLOG)
    except OSError as error:
        raise listen.cannot_listen(server_settings.host, server_settings.port, error) from None
    supervisor = Supervisor(launch, Bundle.of(whole), read_anew=read_anew, first_ready=first_ready)
    asyncio.run(supervisor.run())


async def _serve(whole: Configuration, sockets: list[socket.socket], listening: Callable[[Gateway], Awaitable[None]]) -> None:
    """Serve in this process until told to stop. Raises Failure."""
    terminal = has_terminal()
    async with server.opened(whole.settings, whole.secrets, list(whole.upstreams), listening) as (_, serving):

        def stop(number: int, _frame: FrameType | None) -> None:
            serving.stop(now=number == signal.SIGINT and serving.should_exit)

        def hang_up(_number: int, _frame: FrameType | None) -> None:
            if terminal and not has_terminal():
                serving.stop()
            else:
                _log.warning("SIGHUP does nothing with one worker: a rolling restart needs two or more (GATEWAY_WORKERS)")

        for each in _SIGNALS:
            signal.signal(each, stop)
        signal.signal(signal.SIGHUP, hang_up)
        await server.run(serving, whole.settings, sockets)
