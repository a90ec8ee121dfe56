"""How PostgreSQL is connected to: by itself, or through PgBouncer in transaction mode; and when, while it is away.

Through PgBouncer two transactions of one connection may run on two servers, so nothing may be left in a session: no prepared
statement, no setting, no lock. Every statement is sent as an unnamed one within a transaction, and the bound on a statement's
time rides with the transaction's BEGIN.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import asyncpg

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_APPLICATION = "gateway"


class NotTriedYet(ConnectionError):  # noqa: N818 — says what is the case
    """The last connection failed a moment ago, so that none is tried now; the text says why it failed."""


class Connector:
    """Opens a pool's connections, one at a time. After one that failed, the next is tried when a pause has passed.

    The pause grows to a second and has jitter; whoever asks meanwhile is refused at once. So a server that is away or starting is
    asked about once a second by each process, however many calls wait for it, and its return is noticed within a second.
    """

    def __init__(
        self,
        *,
        connect: Callable[..., Any] = asyncpg.connect,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._spread = spread
        self._turn = asyncio.Lock()
        self._pause = 0.0
        self._not_before = 0.0
        self._fault = ""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A new connection, with asyncpg's own arguments. Raises NotTriedYet, OSError, and asyncpg's errors."""
        async with self._turn:
            if self._clock() < self._not_before:
                raise NotTriedYet(self._fault)
            try:
                connection = await self._connect(*args, **kwargs)
            except Exception as error:  # whatever it is, the next one is not tried at once
                self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                self._not_before = self._clock() + self._pause * self._spread(0.5, 1.0)
                self._fault = f"{type(error).__name__}: {error}"
                raise
            self._pause = self._not_before = 0.0
            return connection


def arguments(*, connect_seconds: float, statement_seconds: float | None, pgbouncer: bool) -> dict[str, Any]:
    """What a connection is opened with, of the driver's arguments and of SQLAlchemy's."""
    server: dict[str, str] = {"application_name": _APPLICATION}
    given: dict[str, Any] = {"timeout": connect_seconds, "async_creator_fn": Connector(), "server_settings": server}
    if statement_seconds is not None:
        # The server's bound answers first; this one is for a server that does not answer at all.
        given["command_timeout"] = statement_seconds + 2
    if pgbouncer:
        given |= {
            "connection_class": _pooled(statement_seconds),
            # Asyncpg's own cache and SQLAlchemy's. Without the first, statements have no names, and none stays on a server.
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
        }
    elif statement_seconds is not None:
        server["statement_timeout"] = _milliseconds(statement_seconds)
    return given


def _pooled(statement_seconds: float | None) -> type[asyncpg.Connection]:
    """Connections whose every transaction begins with the bound on its statements' time, in the same round trip.

    PgBouncer refuses it among the start-up parameters, and what SET leaves behind would reach other clients.
    """
    bound = "" if statement_seconds is None else f" SET LOCAL statement_timeout = {_milliseconds(statement_seconds)};"

    class Pooled(asyncpg.Connection):  # type: ignore[misc]
        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 — the driver's own
            if query.startswith("BEGIN"):
                query += bound
            done: str = await super().execute(query, *args, timeout=timeout)
            return done

    return Pooled


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
