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

from loadtests.peers import MEASURED_CORE, OTHER_CORE, PATH, Peer, program

PROMPT = "Say hello to the whole wide world, please, and do it politely."
_LUA = """
local keys = {{ {keys} }}
local requests = {{}}
init = function()
  for index, key in ipairs(keys) do
    local headers = {{ ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key }}
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
        script.write(_LUA.format(keys=", ".join(json.dumps(key) for key in keys), path=PATH, body=json.dumps(shot.body())))
        script.flush()
        before = peer.cpu_seconds()
        begun = time.monotonic()
        command = [
            "taskset",
            "-c",
            OTHER_CORE,
            program("wrk", "wrk"),
            "-t1",
            f"-c{shot.connections}",
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


async def hold_streams(peer: Peer, count: int, seconds: float) -> Streams:
    """Open `count` streams that bring an event a second, and watch them for a while."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    before = peer.memory()
    late: list[float] = []
    watched = _Watched(late)
    body = Shot("slow", stream=True).body().encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {peer.keys[0]}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    transports = []
    for start in range(0, count, 100):
        some = range(min(100, count - start))
        opened = (loop.create_connection(lambda: _Stream(watched, head + body), "127.0.0.1", peer.port) for _ in some)
        made = await asyncio.gather(*opened)
        transports += [transport for transport, _ in made]
        await asyncio.sleep(0.02)
    async with asyncio.timeout(60):
        while watched.begun < count:  # noqa: ASYNC110 — counted in many places, watched here alone
            await asyncio.sleep(0.1)
    late.clear()
    await asyncio.sleep(seconds)
    used = peer.memory() - before
    for transport in transports:
        transport.abort()
    late.sort()
    return Streams(watched.begun, used / count, peer.memory(), late[len(late) // 2] * 1000, late[int(len(late) * 0.99)] * 1000)


class _Watched:
    def __init__(self, late: list[float]) -> None:
        self.late = late
        self.begun = 0


class _Stream(asyncio.Protocol):
    """One stream; each event says when it left the upstream, by the clock that all processes of a machine share."""

    def __init__(self, watched: _Watched, request: bytes) -> None:
        self._watched = watched
        self._request = request
        self._begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]  # a transport that writes

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        at = data.rfind(b'"sent": ')
        if at < 0:
            return
        if not self._begun:
            self._begun = True
            self._watched.begun += 1
        end = data.find(b"}", at)
        self._watched.late.append(now - float(data[at + 8 : end]))


def pinned() -> Path:
    """Where this process runs: on the core that is not measured."""
    import os  # noqa: PLC0415 — only here

    os.sched_setaffinity(0, {int(OTHER_CORE)} if (os.cpu_count() or 1) > 1 else {int(MEASURED_CORE)})
    return Path.cwd()
