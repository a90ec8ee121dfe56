"""Connections to upstreams, kept and used again, within bounds.

The connection that was used last is used next, so that the others can grow idle and be closed. One that is idle for too long, or
old, is not used again: the common model servers close theirs after a few seconds, and a name may lead elsewhere by now. At most
so many are open in all: an idle one elsewhere is closed to make room, and who comes when all are taken waits in line.
"""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass

from gateway.domain.faults import UpstreamFault, UpstreamTimedOut
from gateway.upstream.http1.connect import connect
from gateway.upstream.http1.connection import NEVER, Connection
from gateway.upstream.http1.request import Origin

_LONGEST_WORDS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`connect` seconds bound waiting for a place and opening a connection; `keep_alive` is how long an idle one is kept, `age`
    how old any may grow, `tick` how often that is looked at; `connections` are open at once, `idle` of them without a call.
    """

    connect: float
    keep_alive: float
    age: float
    connections: int
    idle: int
    head_bytes: int
    tick: float


class Pool:
    """The connections of one client. Belongs to one event loop."""

    def __init__(self, bounds: Bounds, context: ssl.SSLContext) -> None:
        self._bounds = bounds
        self._context = context
        self._kept: dict[str, list[Connection]] = {}
        self._idle = 0
        self._open: set[Connection] = set()
        self._opening = 0
        self._line: deque[asyncio.Future[None]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def size(self) -> int:
        """Connections that are open or being opened."""
        return len(self._open) + self._opening

    @property
    def idle(self) -> int:
        """Those of them that are kept for the next call."""
        return self._idle

    async def take(self, origin: Origin, *, fresh: bool = False) -> Connection:
        """A connection that is ready for a request: a kept one, unless it has to be `fresh`, else a new one.

        Raises UpstreamFault, UpstreamTimedOut; neither was reached then.
        """
        if not fresh and (kept := self.kept(origin)) is not None:
            return kept
        if self._closed:
            raise UpstreamFault("the client is closed", reached=False)
        try:
            async with asyncio.timeout(self._bounds.connect):
                while self.size >= self._bounds.connections and not self._make_room():
                    await self._wait_in_line()
                    if not fresh and (kept := self.kept(origin)) is not None:
                        return kept
                return await self._connect(origin)
        except TimeoutError:
            raise UpstreamTimedOut(f"no connection within {self._bounds.connect:g} s", reached=False) from None

    def kept(self, origin: Origin) -> Connection | None:
        """The kept connection that was used last, if it can be used again."""
        kept = self._kept.get(origin.key)
        if kept:
            now = asyncio.get_running_loop().time()
            while kept:
                connection = kept.pop()
                self._idle -= 1
                if not connection.closed and not self._is_stale(connection, now):
                    return connection
                connection.abort()
        return None

    def _is_stale(self, connection: Connection, now: float) -> bool:
        return now - connection.since >= self._bounds.keep_alive or now - connection.born >= self._bounds.age

    async def _wait_in_line(self) -> None:
        """Return once a connection was given back, or there is room for one."""
        waiter = asyncio.get_running_loop().create_future()
        self._line.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._next_in_line()  # the turn goes to the next, since nobody takes it here
            raise
        finally:
            if waiter in self._line:
                self._line.remove(waiter)

    def _make_room(self) -> bool:
        """Close an idle connection, the longest unused of some upstream; answers whether there was any."""
        for kept in self._kept.values():
            if kept:
                self._idle -= 1
                self._forget(kept.pop(0))
                return True
        return False

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.abort()

    def _next_in_line(self) -> None:
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _connect(self, origin: Origin) -> Connection:
        self._opening += 1
        try:
            made = await connect(origin, self._new, self._context if origin.tls else None)
        except (OSError, UnicodeError) as error:
            raise UpstreamFault(_words(error), reached=False) from None
        finally:
            self._opening -= 1
            if self.size < self._bounds.connections:
                self._next_in_line()
        if self._closed:
            made.abort()
            raise UpstreamFault("the client is closed", reached=False)
        self._open.add(made)
        self._look_later()
        return made

    def _new(self) -> Connection:
        return Connection(self._lost, most_head=self._bounds.head_bytes)

    def _lost(self, connection: Connection) -> None:
        if connection in self._open:
            self._open.discard(connection)
            self._next_in_line()

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """End a connection's exchange; keep it for the next one, if it can take another."""
        if not connection.release():
            self._open.discard(connection)
            self._next_in_line()
            return
        if self._closed or self._idle >= self._bounds.idle:
            self._forget(connection)
            self._next_in_line()
            return
        self._kept.setdefault(origin.key, []).append(connection)
        self._idle += 1
        if self._line:
            self._next_in_line()

    # One timer for all: deadlines, and connections that have been idle for too long.

    def _look_later(self) -> None:
        if self._watch is None and not self._closed:
            self._watch = asyncio.get_running_loop().call_later(self._bounds.tick, self._look)

    def _look(self) -> None:
        self._watch = None
        now = asyncio.get_running_loop().time()
        for connection in [each for each in self._open if each.deadline <= now]:
            connection.expire(now)
        for key in list(self._kept):
            kept = self._kept[key]
            fresh = [each for each in kept if not each.closed and not self._is_stale(each, now)]
            if len(fresh) < len(kept):
                for each in kept:
                    if each not in fresh:
                        self._idle -= 1
                        self._forget(each)
                self._kept[key] = fresh
                self._next_in_line()
            if not fresh:
                del self._kept[key]
        if self._open:
            self._look_later()

    async def close(self) -> None:
        """Break all connections, with the calls on them."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for connection in list(self._open):
            connection.abort()
        self._open.clear()
        self._kept.clear()
        self._idle = 0
        for waiter in self._line:
            if not waiter.done():
                waiter.set_exception(UpstreamFault("the client is closed", reached=False))
        await asyncio.sleep(0)  # transports close with the loop's next turn


def _words(error: BaseException) -> str:
    """What went wrong, in the operating system's own words where there are any."""
    return (str(error) or type(error).__name__)[:_LONGEST_WORDS]


__all__ = ["NEVER", "Bounds", "Pool"]
