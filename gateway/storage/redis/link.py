"""One connection to one server: script calls go out together, their answers come back in the same order.

A server runs one script at a time, so a second connection would gain nothing; one connection keeps a node's calls in order, wakes
the process once for the answers of several, and has one run ID. Whoever gives up on an answer drops the link: no answer that
comes late can meet another call.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hiredis

from gateway.storage.redis.address import Address
from gateway.storage.redis.batches import Call
from gateway.storage.redis.refusals import Refusal
from gateway.storage.redis.wire import PlainConnection, TlsConnection, UnixConnection

_MORE = object()
_PROBE = object()


class Unfit(Exception):  # noqa: N818 — names what is wrong with the server
    """The server answers, and cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says of itself at the start. `replicated`: it has replicas, or has had some since it started."""

    run_id: str
    master: bool
    replicated: bool
    cluster: bool


class Script:
    """The script that every call runs: its text and its name on the wire."""

    def __init__(self, text: bytes, sha: str) -> None:
        self.load = hiredis.pack_command(("SCRIPT", "LOAD", text))  # type: ignore[arg-type]  # its stub knows no tuple of several
        self.sha = sha.encode()


_ASKING: bytes = hiredis.pack_command(("ASKING",))


class Link(asyncio.Protocol):
    """A connection in use. `answered(call, reply)` hears of each answer, `lost(link, why)` once of its end, unless dropped."""

    def __init__(self, connection: PlainConnection | TlsConnection | UnixConnection, greeting: Greeting, script: Script) -> None:
        self.greeting = greeting
        self._connection = connection
        self._script = script
        self._run_id = greeting.run_id.encode()
        self._expected: deque[Any] = deque()
        self._denied: Refusal | None = None
        self._reader = hiredis.Reader(replyError=Refusal, notEnoughData=_MORE)
        self._answered: Callable[[Call, Any], None] | None = None
        self._lost: Callable[[Link, str], None] | None = None
        self._write = connection.hand_over(self).write

    def listen(self, answered: Callable[[Call, Any], None], lost: Callable[["Link", str], None]) -> None:
        """Who hears of answers and of the end; before the first `send`."""
        self._answered, self._lost = answered, lost

    def send(self, calls: list[Call]) -> None:
        """Put calls on the wire, in this order.

        Before Redis 7, `min-replicas-to-write` does not hold for what a script writes: a master that was cut off would go on
        deciding. So a plain write stands before each call, and speaks for it if it is refused.
        """
        expected, sha, run_id = self._expected, self._script.sha, self._run_id
        parts: list[bytes] = []
        for call in calls:
            if call.asking:
                parts.append(_ASKING)
                expected.append(None)
            else:
                key = b"gw:nothing" if call.key is None else call.key + b":nothing"
                parts.append(hiredis.pack_command((b"DEL", key)))  # type: ignore[arg-type]
                expected.append(_PROBE)
            if call.key is None:
                words: tuple[bytes, ...] = (b"EVALSHA", sha, b"0", run_id, call.payload)
            else:
                words = (b"EVALSHA", sha, b"1", call.key, run_id, call.payload)
            parts.append(hiredis.pack_command(words))  # type: ignore[arg-type]
            expected.append(call)
        self._write(parts[0] if len(parts) == 1 else b"".join(parts))

    def load_and_send(self, call: Call) -> None:
        """Send a call again, behind the script that it needs."""
        self._write(self._script.load)
        self._expected.append(None)
        self.send([call])

    def waiting(self) -> list[Call]:
        """The calls without an answer, in order."""
        return [call for call in self._expected if isinstance(call, Call)]

    def drop(self) -> None:
        """Close at once and hear no more of it."""
        self._answered = self._lost = None
        self._connection.forget()

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
            while self._answered is not None and (reply := reader.gets()) is not _MORE:
                call = self._expected.popleft()
                if call is _PROBE:
                    self._denied = reply if isinstance(reply, Refusal) else None
                elif call is not None:
                    denied, self._denied = self._denied, None
                    self._answered(call, reply if denied is None else denied)
        except (hiredis.HiredisError, IndexError) as error:
            self._end(f"the server does not speak Redis's protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was lost: {exc}" if exc else "the server closed the connection")

    def _end(self, why: str) -> None:
        if self._lost is not None:
            # The listener takes what was under way, and drops the link.
            self._lost(self, why)


async def connect(address: Address, host: str, port: int, script: Script) -> Link:
    """A link to the server at `host` and `port`: greeted, found to be a master, with the script loaded.

    Raises redis-py's errors and OSError when the server is away or refuses, Unfit when it is not one to ask. The caller limits
    the time.
    """
    connection = address.connection(host, port)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        greeting = await _greet(connection)
        _check(greeting, address)
        # Also the proof that it serves commands: one that is still loading its data refuses this.
        await connection.send_packed_command(script.load, check_health=False)
        await connection.read_response()
        return Link(connection, greeting, script)
    except BaseException:
        connection.forget()
        raise


def _check(greeting: Greeting, address: Address) -> None:
    if greeting.cluster and address.kind != "cluster":
        raise Unfit("the server is part of a Redis Cluster: its URL starts with redis+cluster://")
    if not greeting.master:
        raise Unfit("the server is a replica; only a master can admit calls")


async def _greet(connection: PlainConnection | TlsConnection | UnixConnection) -> Greeting:
    for section in ("server", "replication"):
        await connection.send_command("INFO", section, check_health=False)
    said: dict[str, str] = {}
    for _ in range(2):
        text = await connection.read_response()
        for line in bytes(text).decode("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            said[name] = value
    if not said.get("run_id"):
        raise Unfit("INFO does not show the server's run ID")
    return Greeting(
        run_id=said["run_id"],
        master=said.get("role", "master") == "master",
        replicated=said.get("connected_slaves", "0") != "0" or said.get("repl_backlog_active", "0") != "0",
        cluster=said.get("redis_mode") == "cluster",
    )
