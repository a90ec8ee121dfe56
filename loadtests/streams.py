"""Thousands of open streams that bring an event now and then: what each costs in memory, and how late its events come."""

import asyncio
import gc
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from loadtests.load import Shot, request_of, watch
from loadtests.peers import Peer
from loadtests.upstream import SLOW

SECONDS = 10.0  # for which they are watched
_PATIENCE = 120.0  # seconds until all streams must have brought an event
_SPARE = 200  # open files and ports for all else
_AT_ONCE, _PAUSE = 50, 0.02


@dataclass(frozen=True)
class Streams:
    """Many open slow streams: how many there were, the memory that each costs, all that the server has, how many events came a
    second, how late they came in milliseconds, the server's use of its core and how busy the load's was.
    """

    opened: int
    bytes_a_stream: float
    total_bytes: int
    events: float
    p50: float
    p99: float
    most: float
    cpu: float
    other_cpu: float


class NotHeld(Exception):  # noqa: N818 — says what became of them
    """A peer did not hold so many streams; the text says what became of them."""


def most() -> tuple[int, str]:
    """How many streams this machine lets one server hold, and what hinders more: each is two sockets of the server, and a port of
    this address towards the server and one towards the upstream.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    least, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    limits = {
        (files - _SPARE) // 2: f"a process may open {files:,} files (ulimit -Hn), and each stream is two of the server's",
        last - least - _SPARE: f"an address has {last - least:,} ports to call from (net.ipv4.ip_local_port_range)",
    }
    return min(limits), limits[min(limits)]


def model_for(count: int) -> tuple[str, int]:
    """The model that so many streams are asked of, and its seconds from event to event: some thousand events a second in all."""
    return next(((name, every) for name, every in SLOW.items() if count / every <= 5000), list(SLOW.items())[-1])


def hold(peer: Peer, count: int, before: int, seconds: float = SECONDS) -> Streams:
    """Open `count` streams, and watch them for a while. `before` is the server's memory without any. Raises NotHeld."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        return uvloop.run(_hold(peer, count, before, seconds))
    finally:
        gc.enable()
        gc.unfreeze()


async def _hold(peer: Peer, count: int, before: int, seconds: float) -> Streams:
    watched = _Watched()
    model, every = model_for(count)
    try:
        try:
            async with asyncio.timeout(_PATIENCE):
                await _open(peer, request_of(peer, Shot(model, stream=True)), count, watched)
        except (OSError, TimeoutError) as error:
            how = f"within {_PATIENCE:.0f} s" if isinstance(error, TimeoutError) else f"({error})"
            raise NotHeld(f"{watched.begun:,} of {count:,} began {how}") from None
        await asyncio.sleep(every)  # what piled up while they were opened is over
        watched.complain()
        watched.late.clear()
        busy = watch(peer)
        await asyncio.sleep(seconds)
        cpu, other_cpu = busy()
        watched.complain()
        late, total = sorted(watched.late), peer.memory()
        if not late:
            raise NotHeld(f"no event of {count:,} streams came in {seconds:g} s")
        p50, p99 = (late[int(len(late) * share)] * 1000 for share in (0.5, 0.99))
        each, events = (total - before) / count, len(late) / seconds
        return Streams(watched.begun, each, total, events, p50, p99, late[-1] * 1000, cpu, other_cpu)
    finally:
        watched.over = True
        for stream in watched.streams:
            stream.transport.abort()


async def _open(peer: Peer, request: bytes, count: int, watched: "_Watched") -> None:
    """Returns once every stream has brought an event."""
    loop = asyncio.get_running_loop()
    for start in range(0, count, _AT_ONCE):
        some = range(min(_AT_ONCE, count - start))
        await asyncio.gather(*(loop.create_connection(lambda: _Stream(watched, request), "127.0.0.1", peer.port) for _ in some))
        watched.complain()
        await asyncio.sleep(_PAUSE)
    while watched.begun < count:
        watched.complain()
        await asyncio.sleep(0.1)


class _Watched:
    """What became of the streams so far."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self.streams: list[_Stream] = []
        self.begun = 0
        self.lost = 0
        self.answer = b""  # one that is no stream
        self.over = False

    def complain(self) -> None:
        """Raises NotHeld where a stream has ended, or has not been one."""
        if self.answer:
            raise NotHeld(f"it answers {self.answer[:200]!r}")
        if self.lost:
            raise NotHeld(f"{self.lost:,} broke off, of {self.begun:,} that had begun")


class _Stream(asyncio.Protocol):
    """One stream; each event says when it left the upstream, by the clock that all processes of a machine share."""

    __slots__ = ("_answered", "_begun", "_request", "_watched", "transport")
    transport: asyncio.Transport

    def __init__(self, watched: _Watched, request: bytes) -> None:
        self._watched = watched
        self._request = request
        self._answered = self._begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport, of uvloop's own class
        self._watched.streams.append(self)
        self.transport.write(self._request)

    def connection_lost(self, _error: Exception | None) -> None:
        self._watched.lost += not self._watched.over

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self._answered:
            self._answered = True
            if not data.startswith(b"HTTP/1.1 200"):
                self._watched.answer = data
        at = data.rfind(b'"sent ')
        end = data.find(b" ", at + 6)
        if at < 0 or end < 0:
            return
        if not self._begun:
            self._begun = True
            self._watched.begun += 1
        self._watched.late.append(now - float(data[at + 6 : end]))
