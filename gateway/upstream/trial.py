"""Trials of upstreams, and what the admin API sees of the way to them."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator

from gateway.domain.faults import UnsendableRequest, UpstreamFault, UpstreamTimedOut
from gateway.domain.trials import Cause, Outcome, Trial
from gateway.domain.upstreams import Headers, Upstream
from gateway.upstream.client import HttpClient, HttpReply
from gateway.upstream.directory import Directory, UpstreamState

_HEADERS: Headers = [
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
    (b"content-type", b"application/json"),
    (b"user-agent", b"workspace-gateway"),
]
_LONGEST_LOCATION = 500


class Trials:
    """Makes small calls on connections of its own, so that neither a slow server nor many trials take any from the data plane's.

    A trial ends after `seconds`, half of which a connection may take, and reads `most_bytes` of the answer; at most `most` run at
    once. It counts for nothing: neither for an upstream's health, nor for anybody's usage.
    """

    def __init__(self, *, seconds: float = 10.0, most_bytes: int = 64 << 10, most: int = 8) -> None:
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._client = HttpClient(connect=seconds / 2, first_byte=seconds, idle=seconds, max_connections=most, max_keep_alive=0)

    async def run(self, upstream: Upstream, trial: Trial) -> Outcome:
        """What came of one call there with the upstream's own credential. Raises nothing that the upstream is to blame for."""
        began = time.monotonic()
        got = _Got()
        cause, words = None, ""
        try:
            async with asyncio.timeout(self._seconds):
                await self._ask(upstream, trial, got)
        except TimeoutError:
            cause, words = Cause.TIME, f"no whole answer within {self._seconds:g} s"
        except UpstreamFault as fault:
            cause, words = _cause(fault), str(fault)
        return Outcome(
            milliseconds=round((time.monotonic() - began) * 1000),
            status=got.status,
            body=bytes(got.body[: self._most_bytes]),
            whole=cause is None and len(got.body) <= self._most_bytes,
            location=got.location,
            cause=cause,
            words=words,
        )

    async def _ask(self, upstream: Upstream, trial: Trial, got: "_Got") -> None:
        method = "GET" if trial.body is None else "POST"
        reply = await self._client.send(upstream, trial.path, _HEADERS, trial.body or b"", method=method)
        try:
            got.head(reply)
            while chunk := await reply.chunk():
                got.body += chunk
                if len(got.body) > self._most_bytes:
                    return
        finally:
            await reply.close()

    async def close(self) -> None:
        await self._client.close()


class _Got:
    """The part of an answer that has come so far."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.location: str | None = None
        self.body = bytearray()

    def head(self, reply: HttpReply) -> None:
        self.status = reply.status
        found = next((value for name, value in reply.headers if name == b"location"), None)
        self.location = None if found is None else found.decode("latin-1")[:_LONGEST_LOCATION]


def _cause(fault: UpstreamFault) -> Cause:
    if isinstance(fault, UnsendableRequest):
        return Cause.UNSENDABLE
    if isinstance(fault, UpstreamTimedOut):
        return Cause.TIME
    for error in _below(fault):
        for kind, cause in _KINDS.items():
            if isinstance(error, kind):
                return cause
    return Cause.OTHER


# A host that is no host name is refused as text by the codec, before anybody is asked for it.
_KINDS: dict[type[Exception], Cause] = {
    ConnectionRefusedError: Cause.REFUSED,
    socket.gaierror: Cause.NAME,
    UnicodeError: Cause.NAME,
    ssl.SSLError: Cause.TLS,
}


def _below(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it came of, where several addresses of one host were tried the error of each."""
    if error is None:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _below(each)
    # `from None` hides where an error came from; it is known all the same.
    yield from _below(error.__cause__ or error.__context__)


class Managed:
    """The admin API's port `Upstreams`: the directory, and trials."""

    def __init__(self, directory: Directory, trials: Trials) -> None:
        self._directory = directory
        self._trials = trials

    async def reload(self) -> None:
        await self._directory.reload()

    def states(self) -> list[UpstreamState]:
        return self._directory.states()

    async def try_out(self, upstream: Upstream, trial: Trial) -> Outcome:
        return await self._trials.run(upstream, trial)
