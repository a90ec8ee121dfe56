"""One HTTP/1.1 call to an upstream over pooled connections: the only module here that knows an HTTP library.

It uses httpx2's transport rather than its client: the same connections and pool, without the client's default headers, cookie
jar, redirects and credentials taken from URLs, none of which a gateway may add to somebody else's request.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

import httpx2

from gateway.domain.faults import UnsendableRequest, UpstreamFault, UpstreamTimedOut
from gateway.domain.upstreams import Headers, Upstream

# Set by this module alone: the target, the framing, and the credential, which must never be the caller's.
_OWN = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization"))
_LONGEST_WORDS = 200
_NO_REPLY = "Server disconnected without sending a response."
# What the transport raises: its own errors, OSError from TLS, UnicodeError for a host that is no host name.
_FAULTS = (httpx2.TransportError, httpx2.InvalidURL, httpx2.StreamError, OSError, UnicodeError)


class _Stream(Protocol):
    async def aclose(self) -> None: ...


class _Attempt:
    """What the transport tells of one request on its way: whether the connection is new, whether the request may have left."""

    __slots__ = ("_deadline", "_first_byte", "_opening", "fresh", "sent")

    def __init__(self, deadline: asyncio.Timeout, first_byte: float) -> None:
        self.fresh = False
        self.sent = False
        self._deadline = deadline
        self._first_byte = first_byte
        self._opening: _Stream | None = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "http11.send_request_headers.started":
            self.sent = True
            self._opening = None
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._first_byte)
        elif event == "connection.connect_tcp.started":
            self.fresh = True
        elif event == "connection.connect_tcp.complete":
            self._opening = info["return_value"]

    async def abandon(self) -> None:
        """Close a connection whose TLS handshake was cut short, which the transport forgets when it is cancelled."""
        if self._opening is not None:
            await self._opening.aclose()


class HttpReply:
    """An upstream's reply, its head read; see `dataplane.ports.Reply`."""

    def __init__(self, response: httpx2.Response, idle: float, closing: set[asyncio.Task[None]]) -> None:
        self.status = response.status_code
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers.raw]
        self._response = response
        self._idle = idle
        self._closing = closing
        self._close: asyncio.Task[None] | None = None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body's bytes as they come, decoded from their framing only; can be read once.

        Raises UpstreamFault when it breaks off before its end, UpstreamTimedOut when nothing comes for the idle deadline.
        """
        raw = self._response.aiter_raw()
        try:
            while chunk := await self._next(raw):
                yield chunk
        finally:
            with suppress(*_FAULTS):
                await raw.aclose()

    async def _next(self, raw: AsyncIterator[bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._idle):
                return await anext(raw, b"")
        except TimeoutError:
            raise UpstreamTimedOut(f"nothing more came for {self._idle:g} s", reached=True) from None
        except _FAULTS as error:
            raise UpstreamFault(f"the reply broke off: {_words(error)}", reached=True) from None

    async def close(self) -> None:
        """Give the connection back, or break it if the body was not read to its end. A cancelled caller does not stop it."""
        if self._response.is_closed and self._close is None:
            return
        if self._close is None:
            self._close = asyncio.create_task(self._finish())
            self._closing.add(self._close)
            self._close.add_done_callback(self._closing.discard)
        await asyncio.shield(self._close)

    async def _finish(self) -> None:
        with suppress(*_FAULTS):
            await self._response.aclose()


class HttpClient:
    """Calls to upstreams, on connections that are kept alive and shared.

    Times are in seconds: `connect` covers waiting for a free connection, TCP and TLS; `first_byte` sending the request and
    waiting for the reply's head; `idle` each silence within the body; `keep_alive` how long an unused connection is kept, and
    is shorter than the 5 s after which the common model servers close theirs. TLS certificates are verified, by `ssl_context`
    or else against the system's authorities.
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
        self._connect = connect
        self._first_byte = first_byte
        self._idle = idle
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()
        verify = ssl_context or httpx2.create_ssl_context(trust_env=False)
        pooled = httpx2.Limits(
            max_connections=max_connections, max_keepalive_connections=max_keep_alive, keepalive_expiry=keep_alive
        )
        unpooled = httpx2.Limits(max_connections=max_connections, max_keepalive_connections=0)
        self._pooled = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False, limits=pooled)
        self._unpooled = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False, limits=unpooled)

    async def send(self, upstream: Upstream, path: str, headers: Headers, body: bytes, *, method: str = "POST") -> HttpReply:
        """The reply to one request, its head read. Redirects are replies like any other.

        The request carries `headers` (names in lower case) and, in place of any given, `host`, `content-length` (where there is
        a body or the method is POST) and the upstream's `authorization`; nothing else. Raises UpstreamFault, or
        UpstreamTimedOut past a deadline.

        A kept connection that the upstream closes just as it is used again gives no reply; then the request is sent once more, on
        a new connection. (RFC 9112, section 9.3.1, allows it for calls known to be harmless to repeat; a model call changes no
        state.) httpx2 does not tell that race from a head cut off midway on a kept connection, which is sent again as well.
        """
        if self._closed:
            raise UpstreamFault("the client is closed", reached=False)
        try:
            url = httpx2.URL(upstream.base_url.rstrip("/") + path)
            fields = _fields(url, upstream, headers, body, method)
        except (httpx2.InvalidURL, UnicodeError):
            # Neither text nor cause: they may quote the credential.
            raise UnsendableRequest("the upstream's base URL or credential cannot be sent") from None
        reply = await self._exchange(self._pooled, method, url, fields, body)
        return reply or await self._again(method, url, fields, body)

    async def _again(self, method: str, url: httpx2.URL, fields: Headers, body: bytes) -> HttpReply:
        reply = await self._exchange(self._unpooled, method, url, fields, body)
        if reply is None:
            raise UpstreamFault(_NO_REPLY, reached=True)
        return reply

    async def _exchange(
        self, transport: httpx2.AsyncHTTPTransport, method: str, url: httpx2.URL, fields: Headers, body: bytes
    ) -> HttpReply | None:
        """The reply, or None if a kept connection was closed before it gave one."""
        deadline = asyncio.timeout(self._connect)
        attempt = _Attempt(deadline, self._first_byte)
        request = httpx2.Request(method, url, headers=fields, stream=httpx2.ByteStream(body), extensions={"trace": attempt.trace})
        try:
            async with deadline:
                return HttpReply(await transport.handle_async_request(request), self._idle, self._closing)
        except TimeoutError:
            stage = f"no reply within {self._first_byte:g} s" if attempt.sent else f"no connection within {self._connect:g} s"
            raise UpstreamTimedOut(stage, reached=attempt.sent) from None
        except httpx2.LocalProtocolError:
            # Its text quotes the header that cannot be sent, which may be the credential.
            raise UnsendableRequest("a header cannot be sent: it holds characters that HTTP forbids") from None
        except _FAULTS as error:
            if attempt.sent and not attempt.fresh and _unanswered(error):
                return None
            raise UpstreamFault(_words(error), reached=attempt.sent) from None
        finally:
            await attempt.abandon()

    async def close(self) -> None:
        """Close all connections; calls under way break off. Closing twice is harmless."""
        self._closed = True
        if self._closing:
            await asyncio.wait(self._closing)
        await self._pooled.aclose()
        await self._unpooled.aclose()


def _fields(url: httpx2.URL, upstream: Upstream, headers: Headers, body: bytes, method: str) -> Headers:
    fields = [(b"host", url.netloc)]
    fields += [field for field in headers if field[0].lower() not in _OWN]
    if body or method == "POST":
        fields.append((b"content-length", b"%d" % len(body)))
    if upstream.api_key:
        fields.append((b"authorization", b"Bearer " + upstream.api_key.encode()))
    return fields


def _unanswered(error: Exception) -> bool:
    """Whether the connection ended where a reply's head was due."""
    return isinstance(error, httpx2.NetworkError) or (isinstance(error, httpx2.RemoteProtocolError) and str(error) == _NO_REPLY)


def _words(error: BaseException) -> str:
    """What went wrong, for the log and the admin API: the operating system's own words where there are any.

    Of a malformed reply only the complaint is told, without the bytes that h11 quotes behind a colon: they may be a completion.
    """
    if isinstance(error, httpx2.RemoteProtocolError):
        return str(error).partition(":")[0][:_LONGEST_WORDS]
    words = error
    below = error.__cause__ or error.__context__
    while below is not None:
        words = below if isinstance(below, OSError) else words
        below = below.__cause__ or below.__context__
    return (str(words) or type(words).__name__)[:_LONGEST_WORDS]
