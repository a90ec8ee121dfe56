"""A gateway under a steady load that meets three troubles in turn, for whoever watches it to see: one workspace is refused, Redis
is stopped, and an upstream is slow.

It runs on PostgreSQL and Redis of its own, with two model servers. A workspace `steady` calls both models, JSON and streams; a
workspace `refused` calls little, and in its time far more than its limit lets it.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.gateway_process import GatewayProcess
from tests.support.load import Connection, request
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.shared_profile import SharedProfile

FAST, SLOW = "m", "slow"
_STEADY = {"rpm": 100_000, "tpm": 50_000_000}
_TIGHT = {"rpm": 120, "tpm": 100_000}
_USUAL_DELAY, _LONG_DELAY = 0.05, 2.0
_AT_ONCE = 40
_CHANGE_SECONDS = 3.0


@dataclass(frozen=True)
class Phases:
    """How long each part takes, in seconds; after each trouble it is `calm` again."""

    calm: float = 25.0
    refused: float = 25.0
    redis_away: float = 10.0
    slow: float = 25.0


@dataclass
class Trouble:
    """What ran: the gateway, and when each trouble began and ended (Unix seconds)."""

    gateway: GatewayProcess
    shared: SharedProfile
    upstream: ScriptedUpstream
    marks: dict[str, tuple[float, float]] = field(default_factory=dict)
    begun: float = field(default_factory=time.time)
    _keys: dict[str, str] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _floods: bool = False
    _steady: str = ""

    async def run(self, phases: Phases) -> None:
        """All troubles in turn, with calm before and after each."""
        await self._calm(phases)
        self._floods = True
        await self._trouble("one workspace is refused", phases.refused)
        self._floods = False
        await self._calm(phases)
        self.shared.redis.hang()
        await self._trouble("Redis is stopped", phases.redis_away)
        self.shared.redis.resume()
        await self._calm(phases)
        self.upstream.delay = _LONG_DELAY
        await self._trouble("one upstream is slow", phases.slow)
        self.upstream.delay = _USUAL_DELAY
        await self._calm(phases)

    async def _calm(self, phases: Phases) -> None:
        await asyncio.sleep(phases.calm)

    async def _trouble(self, name: str, seconds: float) -> None:
        begun = time.time()
        await asyncio.sleep(seconds)
        self.marks[name] = (begun, time.time())

    def start(self) -> None:
        """Begin to call."""
        steady, refused = self._keys["steady"], self._keys["refused"]
        port = self.gateway.port
        self._tasks = [
            asyncio.create_task(_steadily(port, request(steady), 30)),
            asyncio.create_task(_steadily(port, request(steady, model=SLOW), 10)),
            asyncio.create_task(_steadily(port, request(steady, stream=True, max_tokens=20, seed=20), 5)),
            asyncio.create_task(_steadily(port, request(refused), 1)),
            asyncio.create_task(self._flood(request(refused))),
            asyncio.create_task(self._change()),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a transport closes at the next turn

    async def _flood(self, data: bytes) -> None:
        connection = Connection(self.gateway.port)
        try:
            while True:
                if self._floods:
                    await connection.call(data)
                await asyncio.sleep(0.02)
        finally:
            connection.close()

    async def _change(self) -> None:
        """Change a limit each few seconds, as administrators do."""
        for number in itertools.count():
            limits = _STEADY | {"rpm": _STEADY["rpm"] + number % 2}
            with suppress(AssertionError):  # while Redis is away a change is stored, and answered 202
                await asyncio.to_thread(self.gateway.admin, "PUT", f"/workspaces/{self._steady}/grants/{FAST}", limits)
            await asyncio.sleep(_CHANGE_SECONDS)

    def set_up(self) -> None:
        """The two workspaces, each with a key, and the slow model."""
        admin = self.gateway.admin
        admin("POST", "/upstreams", {"name": "slow servers", "base_url": self.upstream.base_url, "models": {SLOW: SLOW}})
        account = admin("POST", "/accounts", {"name": "account"})["id"]
        for name, limits in (("steady", _STEADY), ("refused", _TIGHT)):
            workspace = admin("POST", "/workspaces", {"name": name, "account_id": account})["id"]
            for model in (FAST, SLOW):
                admin("PUT", f"/workspaces/{workspace}/grants/{model}", limits)
            self._steady = self._steady or workspace
            self._keys[name] = admin("POST", f"/workspaces/{workspace}/api-keys", {})["key"]


async def _steadily(port: int, data: bytes, rate: float) -> None:
    """Send a call each so often, however late the answers are, up to some at once."""
    every = [Connection(port) for _ in range(_AT_ONCE)]
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in every:
        free.put_nowait(connection)

    async def one(connection: Connection) -> None:
        await connection.call(data)
        free.put_nowait(connection)

    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as calls:
            due = loop.time()
            while True:
                due += 1 / rate
                await asyncio.sleep(max(0.0, due - loop.time()))
                calls.create_task(one(await free.get()))
    finally:
        for connection in every:
            connection.close()


@asynccontextmanager
async def trouble(**env: str) -> AsyncIterator[Trouble]:
    """A gateway with its servers, already called; `env` are settings besides."""
    upstream = ScriptedUpstream(SLOW)
    upstream.delay = _USUAL_DELAY
    async with upstream.running():
        shared = SharedProfile(1, GATEWAY_LIMITS_REDIS_TIMEOUT_MS="200", **env)
        await asyncio.to_thread(shared.__enter__)
        try:
            ran = Trouble(shared.gateways[0], shared, upstream)
            await asyncio.to_thread(ran.set_up)
            ran.start()
            try:
                yield ran
            finally:
                await ran.stop()
        finally:
            await asyncio.to_thread(shared.__exit__, None, None, None)


def scenes(ran: Trouble) -> Iterator[tuple[str, float, float]]:
    """The troubles, in seconds since the beginning."""
    for name, (begun, ended) in ran.marks.items():
        yield name, begun - ran.begun, ended - ran.begun
