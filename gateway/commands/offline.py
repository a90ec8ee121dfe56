"""The gateway in a command's own process: no server, no streams, no asking of upstreams."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

from gateway.app import Gateway
from gateway.commands import database, output, secret_files
from gateway.config import Settings, upstreams_of


@contextmanager
def opened(runner: asyncio.Runner, settings: Settings) -> Iterator[tuple[Gateway, str]]:
    """The application, open on the event loop of `runner`, and its admin token. Whoever calls holds the data folder's lock.

    Raises Failure where the database or a secret keeps it from opening.
    """
    database.bring_up_to_date(settings)
    secrets, warnings = secret_files.obtain(settings)
    for warning in warnings:
        output.warn(warning)
    gateway = Gateway(settings, secrets, upstreams_of(settings), offline=True)
    parts = AsyncExitStack()
    try:
        with database.explained():
            runner.run(parts.enter_async_context(gateway.open()))
        yield gateway, secrets.admin_token
    finally:
        runner.run(parts.aclose())
