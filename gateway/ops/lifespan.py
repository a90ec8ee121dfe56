"""The ASGI lifespan protocol (version 2.0) around one async context manager."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.types import Receive, Send

_log = logging.getLogger(__name__)


async def lifespan(opened: Callable[[], AbstractAsyncContextManager[None]], receive: Receive, send: Send) -> None:
    """Open at start-up, close at shutdown, and tell the server when either fails."""
    await receive()
    done = "startup"
    try:
        async with opened():
            await send({"type": "lifespan.startup.complete"})
            await receive()
            done = "shutdown"
    except BaseException as error:
        _log.debug("%s failed", done, exc_info=True)
        await send({"type": f"lifespan.{done}.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.shutdown.complete"})
