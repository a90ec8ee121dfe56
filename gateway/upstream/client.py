"""One HTTP/1.1 call to an upstream over pooled connections of our own (`http1`)."""

import ssl
import time
from collections.abc import Awaitable

from gateway.domain.faults import UnsendableRequest, UpstreamFault
from gateway.domain.upstreams import Fields, Headers, Upstream
from gateway.ops.redact import CREDENTIALS, REDACTOR
from gateway.upstream.http1.connection import Connection
from gateway.upstream.http1.pool import Bounds, Pool
from gateway.upstream.http1.request import Origin, Target, head_of, target

_METHODS = {"POST": b"POST", "GET": b"GET", "HEAD": b"HEAD"}
_MOST_TARGETS = 10_000
_HEAD_BYTES = 64 << 10
_AGE_SECONDS = 600.0
_LONGEST_TICK = 0.25


class HttpReply:
    """An upstream's reply, its head read; see `dataplane.ports.Reply`."""

    __slots__ = ("_connection", "_origin", "_pool", "_waited", "connecting", "fields", "headers", "status")

    def __init__(self, connection: Connection, origin: Origin, pool: Pool) -> None:
        self.status = connection.status
        self.headers: Headers = connection.headers
        self.fields: Fields = connection.fields
        self._connection: Connection | None = connection
        self._origin = origin
        self._pool = pool
        self.connecting = 0.0
        self._waited = 0.0

    @property
    def waited(self) -> float:
        """Seconds spent waiting for the connection, the head, and the parts of the body."""
        return self.connecting + (self._waited if self._connection is None else self._connection.waited)

    def chunk(self) -> Awaitable[bytes]:
        """The next bytes of the body as they come, decoded from their framing only; empty at its end.

        Raises UpstreamFault when it breaks off before its end, UpstreamTimedOut when nothing comes for the idle deadline.
        """
        if self._connection is None:
            raise UpstreamFault("the reply was closed", reached=True)
        return self._connection.chunk()

    async def close(self) -> None:
        """Give the connection back, or break it if the body was not read to its end. Never waits."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._waited = connection.waited
            self._pool.give_back(self._origin, connection)


class HttpClient:
    """Calls to upstreams, on connections that are kept alive and shared.

    Times are in seconds: `connect` covers waiting for a free connection, DNS, TCP and TLS; `first_byte` sending the request and
    waiting for the reply's head; `idle` each silence within the body; `keep_alive` how long an unused connection is kept, and
    is shorter than the 5 s after which the common model servers close theirs. A deadline is noticed up to a quarter of a second
    late, sooner where it is short. TLS certificates are verified, by `ssl_context` or else against the system's authorities.
    """

    def __init__(
        self,
        *,
        connect: float = 5.0,
        first_byte: float = 300.0,
        idle: float = 120.0,
        max_connections: int = 2000,
        max_keep_alive: int = 500,
        keep_alive: float = 4.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._first_byte = first_byte
        self._idle = idle
        self._closed = False
        self._targets: dict[tuple[str, str | None], Target] = {}
        context = ssl_context or ssl.create_default_context()
        bounds = Bounds(
            connect=connect,
            keep_alive=keep_alive,
            age=_AGE_SECONDS,
            connections=max_connections,
            idle=max_keep_alive,
            head_bytes=_HEAD_BYTES,
            tick=min(_LONGEST_TICK, first_byte / 8, idle / 8, keep_alive / 4),
        )
        self._pool = Pool(bounds, context)

    async def send(self, upstream: Upstream, path: str, headers: Headers, body: bytes, *, method: str = "POST") -> HttpReply:
        """The reply to one request, its head read. Redirects are replies like any other.

        The request carries `headers` (names in lower case) and, in place of any given, `host`, `content-length` (where there is
        a body or the method is POST) and the upstream's `authorization`; nothing else. Raises UpstreamFault, or
        UpstreamTimedOut past a deadline.

        A kept connection that the upstream closes just as it is used again gives no reply; then the request is sent once more, on
        a new connection. (RFC 9112, section 9.3.1, allows it for calls known to be harmless to repeat; a model call changes no
        state.)
        """
        if self._closed:
            raise UpstreamFault("the client is closed", reached=False)
        to = self._target(upstream)
        length = len(body) if body or method == "POST" else None
        head = head_of(_METHODS[method], to, path.encode("ascii", "strict"), headers, length)
        connecting, connection = 0.0, self._pool.kept(to.origin)
        if connection is None:
            begun = time.monotonic()
            connection = await self._pool.take(to.origin)
            connecting = time.monotonic() - begun
        reply = await self._exchange(connection, to.origin, head, body, method)
        if reply is None:
            begun = time.monotonic()
            connection = await self._pool.take(to.origin, fresh=True)
            connecting += time.monotonic() - begun
            reply = await self._exchange(connection, to.origin, head, body, method)
        if reply is None:
            raise UpstreamFault("the connection was closed without a reply", reached=True)
        reply.connecting = connecting
        return reply

    async def _exchange(self, connection: Connection, origin: Origin, head: bytes, body: bytes, method: str) -> HttpReply | None:
        """The reply, or None if a kept connection was closed before a byte of one came."""
        kept = connection.used > 0
        connection.begin(head, body, first_byte=self._first_byte, idle=self._idle, is_head=method == "HEAD")
        try:
            await connection.reply()
        except UpstreamFault as fault:
            was_lost = connection.lost_unanswered
            self._pool.give_back(origin, connection)
            if kept and was_lost:
                return None
            raise fault from None
        except BaseException:
            self._pool.give_back(origin, connection)
            raise
        return HttpReply(connection, origin, self._pool)

    def connections(self) -> dict[tuple[str, ...], float]:
        """Connections by what they do: `busy` or `idle`."""
        return {("busy",): self._pool.size - self._pool.idle, ("idle",): self._pool.idle}

    def _target(self, upstream: Upstream) -> Target:
        key = (upstream.base_url, upstream.api_key)
        known = self._targets.get(key)
        if known is None:
            for those in (REDACTOR, CREDENTIALS):  # its server may say it back in an error
                those.know(upstream.api_key)
            known = target(*key)
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            self._targets[key] = known
        return known

    async def close(self) -> None:
        """Close all connections; calls under way break off. Closing twice is harmless."""
        self._closed = True
        await self._pool.close()


__all__ = ["HttpClient", "HttpReply", "UnsendableRequest"]
