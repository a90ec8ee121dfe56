"""What is sent: by wrk where calls are counted, by a client of our own where streams are watched. It runs on the other core."""

import asyncio
import json
import re
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loadtests.peers import MEASURED_CORE, OTHER_CORE, Peer, program

PROMPT = "Say hello to the whole wide world, please, and do it politely."
_LUA = """
local keys = {{ {keys} }}
local more = {{ {headers} }}
local requests = {{}}
init = function()
  for index, key in ipairs(keys) do
    local headers = {{ ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key }}
    for name, value in pairs(more) do headers[name] = value end
    requests[index] = wrk.format("POST", "{path}", headers, {body})
  end
end
local at = 0
request = function()
  at = at % #requests + 1
  return requests[at]
end
done = function(summary, latency)
  io.write(string.format("RESULT %d %d %d %d %d %d %d\\n", summary.requests, summary.duration, summary.bytes,
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Sample:
    """One run: calls and bytes a second, the median and the 99th percentile in milliseconds, the core's use, what went wrong."""

    calls: float
    bytes: float
    p50: float
    p99: float
    cpu: float
    refused: int
    broken: int


@dataclass(frozen=True)
class Shot:
    """What wrk sends: a call of `model` with a prompt of so many bytes; `bad_key` sends a key that nobody has."""

    model: str = "small"
    prompt: int = len(PROMPT)
    stream: bool = False
    connections: int = 32
    bad_key: bool = False

    def body(self) -> str:
        text = (PROMPT * (self.prompt // len(PROMPT) + 1))[: self.prompt]
        fields = {"model": self.model, "messages": [{"role": "user", "content": text}]}
        return json.dumps(fields | ({"stream": True} if self.stream else {}), separators=(",", ":"))


def fire(peer: Peer, shot: Shot, seconds: float) -> Sample:
    """Run wrk against a peer, as fast as it goes. Raises RuntimeError where wrk says nothing that can be read."""
    keys = [peer.bad_key] if shot.bad_key else peer.keys
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        named = {
            "keys": ", ".join(json.dumps(key) for key in keys),
            "headers": ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in peer.headers.items()),
        }
        script.write(_LUA.format(**named, path=peer.path, body=json.dumps(shot.body())))
        script.flush()
        before = peer.cpu_seconds()
        begun = time.monotonic()
        command = [
            "taskset",
            "-c",
            OTHER_CORE,
            program("wrk", "wrk"),
            "-t1",
            f"-c{min(shot.connections, peer.connections or shot.connections)}",
            f"-d{seconds:g}s",
            "--timeout",
            "30s",
        ]
        out = subprocess.run(
            [*command, "-s", script.name, f"http://127.0.0.1:{peer.port}"], capture_output=True, text=True, check=True
        ).stdout
        spent = time.monotonic() - begun
        cpu = (peer.cpu_seconds() - before) / spent
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", out)
    if found is None:
        raise RuntimeError(f"wrk said: {out[-500:]}")
    calls, micro, size, refused, broken, p50, p99 = map(int, found.groups())
    took = micro / 1e6
    return Sample(calls / took, size / took, p50 / 1000, p99 / 1000, cpu, refused, broken)


@dataclass(frozen=True)
class Streams:
    """Many open slow streams: how many there were, the memory that each costs, and how late events came, in milliseconds."""

    opened: int
    bytes_a_stream: float
    total_bytes: int
    p50: float
    p99: float


class NotHeld(Exception):  # noqa: N818 — says what became of them
    """A peer did not hold so many streams; the text says what became of them."""


_PATIENCE = 120.0  # seconds until all streams must have brought an event


async def hold_streams(peer: Peer, count: int, seconds: float) -> Streams:
    """Open `count` streams that bring an event a second, and watch them for a while. Raises NotHeld."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    before = peer.memory()
    watched = _Watched()
    try:
        try:
            async with asyncio.timeout(_PATIENCE):
                await _open(peer, count, watched)
        except (OSError, TimeoutError) as error:
            how = f"within {_PATIENCE:.0f} s" if isinstance(error, TimeoutError) else f"({error})"
            raise NotHeld(f"{watched.begun:,} of {count:,} began {how}") from None
        watched.late.clear()
        await asyncio.sleep(seconds)
        watched.complain()
        used, total, late = peer.memory() - before, peer.memory(), sorted(watched.late)
        if not late:
            raise NotHeld(f"no event of {count:,} streams came in {seconds:g} s")
        return Streams(watched.begun, used / count, total, late[len(late) // 2] * 1000, late[int(len(late) * 0.99)] * 1000)
    finally:
        watched.over = True
        for stream in watched.streams:
            stream.transport.abort()


async def _open(peer: Peer, count: int, watched: "_Watched") -> None:
    """Returns once every stream has brought an event."""
    body = Shot("slow", stream=True).body()
    headers = {"host": "bench", "authorization": f"Bearer {peer.keys[0]}", "content-type": "application/json", **peer.headers}
    lines = [f"POST {peer.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    request = "\r\n".join([*lines, f"content-length: {len(body)}", "", body]).encode()
    loop = asyncio.get_running_loop()
    for start in range(0, count, 100):
        some = range(min(100, count - start))
        await asyncio.gather(*(loop.create_connection(lambda: _Stream(watched, request), "127.0.0.1", peer.port) for _ in some))
        await asyncio.sleep(0.02)
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

    transport: asyncio.Transport

    def __init__(self, watched: _Watched, request: bytes) -> None:
        self._watched = watched
        self._request = request
        self._answered = self._begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._watched.streams.append(self)
        transport.write(self._request)

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


def pinned() -> Path:
    """Where this process runs: on the core that is not measured."""
    import os  # noqa: PLC0415 — only here

    os.sched_setaffinity(0, {int(OTHER_CORE)} if (os.cpu_count() or 1) > 1 else {int(MEASURED_CORE)})
    return Path.cwd()
