"""How long calls take at a steady rate: an open-loop client, which sends when it is time, however late the answers are.

A call's time counts from when it was to be sent. So a server that stops for a moment is charged with all the calls that had to
wait, not with those alone that were under way (wrk, which sends the next call after an answer, would miss them).
"""

import gc
import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.load import Shot, request_of, watch
from loadtests.peers import Peer

CONNECTIONS = 16
_LATEST_SECONDS = 5.0  # how far it may fall behind before it is given up
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Latency:
    """One run: calls a second, times in milliseconds, the server's use of its core and how busy the load's was."""

    calls: float
    p50: float
    p90: float
    p99: float
    most: float
    cpu: float
    other_cpu: float


class NotKept(Exception):  # noqa: N818 — says how far it came
    """A server did not keep up with the rate, or answered something else than 200; the text says what happened."""


def measure(peer: Peer, rate: float, seconds: float, warm_seconds: float = 0.5) -> Latency:
    """Send `rate` calls a second for so long over kept connections, after a moment that does not count. Raises NotKept."""
    with _sending(peer, Shot()) as client:
        client.run(rate, int(rate * warm_seconds))
        busy = watch(peer)
        begun = time.perf_counter()
        took = sorted(client.run(rate, int(rate * seconds)))
        spent = time.perf_counter() - begun
        cpu, other_cpu = busy()
    p50, p90, p99, most = (took[min(len(took) - 1, int(len(took) * share))] * 1000 for share in (0.5, 0.9, 0.99, 1.0))
    return Latency(len(took) / spent, p50, p90, p99, most, cpu, other_cpu)


def times(peer: Peer, shot: Shot, rate: float, seconds: float) -> list[float]:
    """The seconds that each of so many calls took, the first ones too. Raises NotKept."""
    with _sending(peer, shot) as client:
        return client.run(rate, int(rate * seconds))


@contextmanager
def _sending(peer: Peer, shot: Shot) -> "Iterator[_Client]":
    with suppress(OSError):  # a sleep ends when it should, not up to 50 µs later; without it all servers are as much later
        Path("/proc/self/timerslack_ns").write_text("1")
    client = _Client(peer, request_of(peer, shot))
    gc.collect()
    gc.disable()
    try:
        yield client
    except OSError as error:
        raise NotKept(f"a connection broke: {error}") from error
    finally:
        gc.enable()
        client.close()


@dataclass
class _Client:
    """Waits with `select`, whose times are exact to microseconds; those of an event loop are to milliseconds."""

    peer: Peer
    request: bytes
    idle: list[socket.socket] = field(default_factory=list)
    under_way: dict[socket.socket, float] = field(default_factory=dict)  # each with when its call was to be sent
    pieces: dict[socket.socket, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", self.peer.port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self.idle.append(connection)

    def run(self, rate: float, count: int) -> list[float]:
        """The seconds that each of `count` calls took. Raises NotKept, OSError."""
        clock, interval, took, sent = time.perf_counter, 1 / rate, list[float](), 0
        begun = clock()
        while len(took) < count:
            now = clock()
            due = begun + sent * interval
            while sent < count and due <= now and self.idle:
                connection = self.idle.pop()
                connection.send(self.request)  # it is small: what is idle has room for it
                self.under_way[connection] = due
                sent += 1
                due = begun + sent * interval
            if now - due > _LATEST_SECONDS and sent < count:
                raise NotKept(f"after {now - begun:.0f} s it is {now - due:.0f} s behind {rate:,.0f} calls/s")
            wait = max(0.0, due - clock()) if sent < count and self.idle else _LATEST_SECONDS
            ready = select.select(self.under_way, (), (), wait)[0]
            if not ready and wait == _LATEST_SECONDS:
                raise NotKept(f"it answers nothing for {_LATEST_SECONDS:.0f} s at {rate:,.0f} calls/s")
            for connection in ready:
                if self._is_answered(connection):
                    took.append(clock() - self.under_way.pop(connection))
                    self.idle.append(connection)
        return took

    def _is_answered(self, connection: socket.socket) -> bool:
        """Take what has come; whether the answer is complete."""
        data = connection.recv(65536)
        if not data:
            raise NotKept("it closed a connection")
        data = self.pieces.pop(connection, b"") + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            if not data.startswith(b"HTTP/1.1 200"):
                raise NotKept(f"it answers {data[:200]!r}")
            length = _LENGTH.search(data, 0, end + 2)
            if length is None:
                raise NotKept(f"its answer has no length: {data[:200]!r}")
            if len(data) >= end + 4 + int(length[1]):
                return True
        self.pieces[connection] = data
        return False

    def close(self) -> None:
        for connection in (*self.idle, *self.under_way):
            connection.close()
