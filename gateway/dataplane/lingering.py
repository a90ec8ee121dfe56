"""Closing a connection whose client is still sending.

A socket that is closed with unread data resets the connection, and the reply that was just sent is lost to most asynchronous
clients: they would see a connection error in place of a 413, and try again. So such a connection is closed in two steps (RFC
9112, section 9.6): the writing half at once, the rest when the client has closed its own, or after a while; what comes meanwhile
is thrown away.
"""

import asyncio
from collections.abc import Callable
from typing import Any

_SECONDS = 5.0


class LingeringTransport:
    """An asyncio transport, but that `close` lingers where `unread` says that the client is still sending; `resume` has reading
    go on if it was paused.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        unread: Callable[[], bool],
        resume: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._unread = unread
        self._resume = resume
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self.write = transport.write
        self.writelines = transport.writelines

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    @property
    def lingering(self) -> bool:
        """Whether what comes is to be thrown away."""
        return self._timer is not None

    def close(self) -> None:
        if self.lingering:
            return
        self._closing = True
        if self._transport.is_closing() or not self._unread():
            self._transport.close()
            return
        self._timer = self._loop.call_later(_SECONDS, self._transport.close)
        self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def lost(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
