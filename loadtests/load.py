"""As many calls as a server takes: sent by wrk, which runs on the core that is not measured."""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtests.peers import Caller, Peer, program

PROMPT = "Say hello to the whole wide world, please, and do it politely."
# Keys come from a file, since a Lua function has no room for so many constants.
_LUA = """
local more = {{ {headers} }}
local requests = {{}}
init = function()
  for key in io.lines({keys}) do
    local headers = {{ ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key }}
    for name, value in pairs(more) do headers[name] = value end
    requests[#requests + 1] = wrk.format("POST", "{path}", headers, {body})
  end
end
local at = {first}
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
    """One run: calls and bytes a second, the median and the 99th percentile in milliseconds, the server's use of its core and how
    busy the load's was (1 is a whole core), how many calls there were, were refused, and went wrong.
    """

    calls: float
    bytes: float
    p50: float
    p99: float
    cpu: float
    other_cpu: float
    answered: int
    refused: int
    broken: int


@dataclass(frozen=True)
class Shot:
    """What is sent: a call of `model` with a prompt of so many bytes, by a caller who is let in or one who is not."""

    model: str = "small"
    prompt: int = len(PROMPT)
    stream: bool = False
    connections: int = 32
    caller: Caller = "known"

    def body(self) -> str:
        text = (PROMPT * (self.prompt // len(PROMPT) + 1))[: self.prompt]
        fields = {"model": self.model, "messages": [{"role": "user", "content": text}]}
        return json.dumps(fields | ({"stream": True} if self.stream else {}), separators=(",", ":"))


def request_of(peer: Peer, shot: Shot) -> bytes:
    """The bytes of such a call, with the first key."""
    keys, path = peer.address(shot.caller)
    body = shot.body()
    headers = {"host": "bench", "authorization": f"Bearer {keys[0]}", "content-type": "application/json", **peer.headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", body]).encode()


def fire(peer: Peer, shot: Shot, seconds: int, keys: int | None = None, first: int = 0) -> Sample:
    """Run wrk against a peer, as fast as it goes, with the first `keys` of its keys in turn, from the one numbered `first` on.

    Raises RuntimeError where wrk says nothing that can be read.
    """
    known, path = peer.address(shot.caller)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        names, script = Path(folder) / "keys", Path(folder) / "script.lua"
        names.write_text("\n".join(known[:keys]) + "\n")
        headers = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in peer.headers.items())
        body, listed = json.dumps(shot.body()), json.dumps(str(names))
        script.write_text(_LUA.format(keys=listed, headers=headers, path=path, body=body, first=first % len(known[:keys])))
        connections = min(shot.connections, peer.connections or shot.connections)
        limits = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
        command = ["taskset", "-c", peer.load_cores, program("wrk", "wrk"), *limits]
        busy = watch(peer)
        ran = subprocess.run(
            [*command, "-s", str(script), f"http://127.0.0.1:{peer.port}"], capture_output=True, text=True, check=False
        )
        cpu, other_cpu = busy()
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", ran.stdout)
    if found is None:
        raise RuntimeError(f"wrk said of {peer.name}: {ran.stdout[-500:]}{ran.stderr[-500:]}")
    calls, micro, size, refused, broken, p50, p99 = map(int, found.groups())
    took = micro / 1e6
    return Sample(calls / took, size / took, p50 / 1000, p99 / 1000, cpu, other_cpu, calls, refused, broken)


def watch(peer: Peer) -> Callable[[], tuple[float, float]]:
    """To be called after a run: the peer's processes' use of a core since then, and that of the load's cores by everybody."""
    before, begun, others = peer.cpu_seconds(), time.monotonic(), _busy(peer.load_cores)

    def since() -> tuple[float, float]:
        busy, whole = (after - earlier for after, earlier in zip(_busy(peer.load_cores), others, strict=True))
        return (peer.cpu_seconds() - before) / (time.monotonic() - begun), busy / max(whole, 1) * len(peer.load_cores.split(","))

    return since


def _busy(cores: str) -> tuple[int, int]:
    """How many ticks these cores have been at work so far, and how many ticks there were."""
    wanted = {f"cpu{core}" for core in cores.split(",")}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines() if line.split(" ", 1)[0] in wanted]
    ticks = [[int(each) for each in row[1:9]] for row in rows]  # user, nice, system, idle, iowait, irq, softirq, steal
    whole = sum(map(sum, ticks))
    return whole - sum(row[3] + row[4] for row in ticks), whole
