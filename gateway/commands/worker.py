"""A worker process: `python -m gateway.commands.worker DESCRIPTOR`, started by `gateway serve` with more than one worker.

It is told what to do over the inherited socket DESCRIPTOR (see `channel`), whose closing tells it that its parent is gone: then
it ends as if told to stop. Ctrl+C and a hang-up of the terminal reach the whole process group, and are left to the parent.
"""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvloop

from gateway.app import Gateway
from gateway.commands import first_run, output, server
from gateway.commands.channel import Channel, Order
from gateway.commands.configuration import Configuration
from gateway.commands.output import Failure
from gateway.ops import logs
from gateway.ops.scoreboard import Column, Scoreboard
from gateway.ops.snapshots import Snapshot

_log = logging.getLogger("gateway.worker")
_PUBLISH_SECONDS = 0.25
_PUBLISH_SHARE = 20  # of a worker's time, one part in so many at most goes into publishing


def main(descriptor: int) -> None:
    """Run to the end; exits with 1 where the gateway cannot start, having told the parent why."""
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(_run(socket.socket(fileno=descriptor))))


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Told to stop before the server runs: no fault."""
    sys.exit(0)


async def _run(end: socket.socket) -> int:
    parent = await Channel.over(end)
    try:
        order, configuration = await parent.receive()
    except (EOFError, asyncio.IncompleteReadError):
        return 0
    sys.argv[0] = order.program
    settings = configuration.settings
    output.hide(settings, configuration.secrets)
    logs.configure(settings.log.level, settings.log.format, f"worker {order.number}")
    try:
        await _serve(parent, order, configuration)
    except Failure as failure:
        parent.say(**{"is": "failed", "problem": failure.problem, "remedy": failure.remedy})
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is near, and must not be broken off
        parent.close()
    return 0


async def _serve(parent: Channel, order: Order, configuration: Configuration) -> None:
    """Take calls until told to stop. Raises Failure."""
    settings, secrets = configuration.settings, configuration.secrets
    upstreams = list(order.complete(configuration).upstreams)
    sockets = [socket.socket(fileno=each) for each in order.listeners]
    board = Scoreboard(Path(order.scoreboard))
    column = board.column(order.number)

    async def ready(_gateway: Gateway) -> None:
        parent.say(**{"is": "ready"})

    async with server.opened(settings, secrets, upstreams, ready) as (gateway, serving):
        metrics = gateway.metrics

        def of_all() -> Snapshot:
            column.write(metrics.snapshot())  # first, so that the next scrape, by another worker, shows no less
            return board.together()

        async def obey() -> None:
            async for words in parent.told():
                match words["do"]:
                    case "greet":
                        await first_run.greet(gateway, settings, secrets, order.url, as_json=order.as_json)
                    case "retire":
                        serving.retire()
                    case "stop":
                        serving.stop()
                    case "stop now":
                        serving.stop(now=True)
            serving.stop()

        metrics.of_all(of_all)
        signal.signal(signal.SIGTERM, lambda *_: serving.stop())
        tasks = [asyncio.create_task(obey()), asyncio.create_task(_publish(column, metrics.snapshot))]
        try:
            await server.run(serving, settings, sockets)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    column.write(metrics.snapshot())  # with what was counted while the parts were closed


async def _publish(column: Column, snapshot: Callable[[], Snapshot]) -> None:
    while True:
        begun = time.monotonic()
        try:
            column.write(snapshot())
        except Exception:  # noqa: BLE001 — a reading that fails once must not end the publishing
            _log.exception("the metrics could not be published once")
        await asyncio.sleep(max(_PUBLISH_SECONDS, _PUBLISH_SHARE * (time.monotonic() - begun)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
