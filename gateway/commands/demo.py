"""`gateway demo`, and the demo upstream as a process beside the gateway."""

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from gateway.commands.help import examples
from gateway.commands.output import Failure
from gateway.demo import server
from gateway.domain.upstreams import Upstream

_START_SECONDS = 30.0
_STOP_SECONDS = 5.0


@click.command(epilog=examples("gateway demo --port 9000"))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="The port; 0 takes a free one.")
@click.option("--json", "announce", is_flag=True, help="Print the base URL as a line of JSON once it listens.")
@click.option("--exit-with-parent", is_flag=True, hidden=True)
def demo(host: str, port: int, announce: bool, exit_with_parent: bool) -> None:
    """Run the demo upstream by itself: a model server without a model, for trying things out."""
    try:
        server.run(host, port, announce=announce, exit_with_parent=exit_with_parent)
    except OSError as error:
        raise Failure(
            f"the demo upstream cannot listen on {host} port {port}: {error.strerror}", "Give another --port."
        ) from None


def demo_at(base_url: str) -> Upstream:
    """The demo upstream that listens there, as an upstream among others."""
    return Upstream(id="demo", name="demo", base_url=base_url, lists_models=True, source="demo")


@contextmanager
def beside() -> Iterator[Upstream]:
    """The demo upstream in a process of its own, stopped at the end of the block.

    It holds the other end of a pipe, whose closing ends it, so that it does not outlive this process either way, not even one
    that was killed. A Ctrl+C in the terminal is not for it: calls under way end first.
    """
    command = [sys.executable, "-m", "gateway", "demo", "--port", "0", "--json", "--exit-with-parent"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603 — the command is ours
    try:
        yield demo_at(_announced(process))
    finally:
        _stop(process)


def _announced(process: subprocess.Popen[bytes]) -> str:
    if process.stdout is None:
        raise AssertionError("standard output was asked for")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(_START_SECONDS) else b""
    try:
        return str(json.loads(line)["base_url"])
    except (ValueError, KeyError):
        raise Failure("the demo upstream did not start", "Set GATEWAY_UPSTREAM_BASE_URL to a model server instead.") from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe, wait for the end, and take no for no answer."""
    try:
        process.communicate(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
