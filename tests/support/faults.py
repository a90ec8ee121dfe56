"""An account whose calls are counted on both sides while something fails: by its callers, and in the ledger."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import redis

from gateway.domain.credentials import KeyKind, generate
from gateway.storage.redis.streams import decode
from tests.support.gateway_process import ADMIN_TOKEN, KEY_PEPPER, GatewayProcess
from tests.support.load import Call, Connection, Load, request
from tests.support.redis_server import RedisServer
from tests.support.shared_profile import SharedProfile

REDIS_SECONDS = float(os.environ.get("GATEWAY_TEST_REDIS_AWAY_SECONDS", "1.5"))
"""How long Redis is away; 10 for the long form."""
POSTGRES_SECONDS = float(os.environ.get("GATEWAY_TEST_POSTGRES_AWAY_SECONDS", "1.5"))
"""How long PostgreSQL is away; 30 for the long form."""
HOLD_SECONDS = float(os.environ.get("GATEWAY_TEST_HOLD_SECONDS", "2"))
"""How long changes are held back after a fail-over, and how long a cut-off master goes on; the default of both is 10."""
LEAVE_SECONDS = 2.0
"""How long an entry may take on a busy machine from the process to Redis and on to PostgreSQL; it is read there each 100 ms."""
CALLERS = 5
"""Callers at each process."""

_FIGURES = os.environ.get("GATEWAY_TEST_FIGURES")
_LIMITS = {"rpm": 100_000_000, "tpm": 100_000_000}
_PATIENCE = 40.0
_POLL = 0.05


@dataclass
class Figures:
    """What a fault did.

    `in_flight` counts the calls that were open when it began, `failed` those that were answered otherwise than the design says,
    broken ones included; `doubled` and `lost` entries of the ledger, `in_streams` those that were still in Redis at the test's
    end. In seconds: `back` from the fault's end until every process had acknowledged a change, `exact` until each had its limits
    from Redis again; `slowest` is the slowest call.
    """

    fault: str
    calls: int = 0
    in_flight: int = 0
    failed: int = 0
    doubled: int = 0
    lost: int = 0
    in_streams: int = 0
    back: float = 0.0
    exact: float = 0.0
    slowest: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = _PATIENCE) -> None:
    """Return once `condition` holds. Raises AssertionError naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {what}"
        await asyncio.sleep(_POLL)


def _write(path: Path, figures: Figures) -> None:
    with path.open("a") as file:
        file.write(json.dumps(asdict(figures)) + "\n")


class Scene:
    """An account with limits and with keys: `known` is never deleted; `before`, `during` and `after` are deleted right before the
    fault, within it and after it; `unseen` are never used before a test does.

    `gateways` are the processes that are called, all of the profile's unless told otherwise.
    """

    def __init__(self, shared: SharedProfile, fault: str, gateways: Sequence[GatewayProcess] | None = None) -> None:
        self.shared = shared
        self.gateways = list(gateways or shared.gateways)
        self.figures = Figures(fault)
        self.began = self.ended = 0.0
        self.deleted: dict[str, float] = {}
        """Keys whose deletion was acknowledged, and when."""
        self.asked: dict[str, float] = {}
        """Keys whose deletion was asked for, and when."""
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        self._admin = [
            httpx2.AsyncClient(base_url=f"{each.address}/admin/v1", headers=headers, timeout=60) for each in self.gateways
        ]
        self._ids: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        account = (await self.change(0, "POST", "/accounts", {"name": self.figures.fault})).json()
        self.account: str = account["id"]
        workspace = account["default_workspace_id"]
        assert (await self.put_limits(0)) == 200
        keys = []
        for _ in range(6):
            made = (await self.change(0, "POST", f"/workspaces/{workspace}/api-keys", {"description": "load"})).json()
            self._ids[made["key"]] = made["id"]
            keys.append(made["key"])
        self.known, self.before, self.during, self.after, *self.unseen = keys
        self.wrong = generate(KeyKind.STANDARD, KEY_PEPPER.encode()).text
        ports = [gateway.port for gateway in self.gateways]
        self.load = Load(ports, [self.known, self.before, self.known, self.during, self.known, self.after], callers=CALLERS)
        await self._until_exact()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for client in self._admin:
            await client.aclose()
        if _FIGURES and error is None:
            await asyncio.to_thread(_write, Path(_FIGURES), self.figures)

    # Changes

    async def change(self, process: int, method: str, path: str, body: Any = None) -> httpx2.Response:
        """What one of the processes answers to a change."""
        return await self._admin[process].request(method, path, json=body)

    async def put_limits(self, process: int) -> int:
        """The status of a change that changes nothing."""
        return (await self.change(process, "PUT", f"/accounts/{self.account}/limits/m", _LIMITS)).status_code

    async def delete(self, key: str, process: int = 0) -> httpx2.Response:
        """Delete a key; an answer that says that it is gone is an acknowledgement."""
        self.asked.setdefault(key, time.monotonic())
        reply = await self.change(process, "DELETE", f"/api-keys/{self._ids[key]}")
        if reply.status_code in (204, 404):
            self.deleted[key] = time.monotonic()
        return reply

    # The fault

    async def begin(self, *work: Callable[[], object]) -> None:
        """Let it happen, all at once."""
        self.began = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(each) for each in work))

    async def end(self, *work: Callable[[], object]) -> None:
        """Let it be over."""
        await asyncio.gather(*(asyncio.to_thread(each) for each in work))
        self.ended = time.monotonic()

    async def recovered(self) -> None:
        """Return once every process acknowledges changes, and answers a call with 200."""

        async def back(process: int) -> bool:
            acknowledged = await self.put_limits(process) == 200
            return acknowledged and await self.call(self.known, process) == 200

        async def ready() -> bool:
            # Else a change by one process has keys read again by another that has not found its database again.
            answers = [await asyncio.to_thread(gateway.is_ready) for gateway in self.gateways]
            return all(answers)

        await until(ready, "all processes have found their database again")
        for process in range(len(self.gateways)):
            await until(lambda process=process: back(process), f"process {process} is back")  # type: ignore[misc]
        self.figures.back = round(time.monotonic() - self.ended, 1)

    async def exact_again(self) -> None:
        """Return once every process has its limits from Redis."""
        await self._until_exact()
        self.figures.exact = round(time.monotonic() - self.ended, 1)

    async def _until_exact(self) -> None:
        async def exact() -> bool:
            for process, gateway in enumerate(self.gateways):
                await self.call(self.known, process)  # a process looks at Redis again when it is called
                if "gateway_limits_nodes_away 0.0" not in await self._metrics(gateway):
                    return False
            return True

        await until(exact, "limits are exact again")

    # Calls

    async def call(self, key: str, process: int) -> int:
        """The status of one more call, which is counted with the others."""
        connection = Connection(self.gateways[process].port)
        started = time.monotonic()
        status, _ = await connection.call(request(key))
        connection.close()
        self.load.calls.append(Call(key, started, time.monotonic(), status))
        return status

    async def stream(self, process: int, *, events: int, pause_ms: int) -> bytes:
        """One more call, of a stream, counted with the others; answers what came."""
        connection = Connection(self.gateways[process].port)
        started = time.monotonic()
        data = request(self.known, stream=True, max_tokens=events, seed=pause_ms)
        status, body = await connection.call(data)
        connection.close()
        self.load.calls.append(Call(self.known, started, time.monotonic(), status))
        return body

    async def used(self) -> None:
        """Use each key at each process: after a change, that is what makes it known there again."""
        for process in range(len(self.gateways)):
            for key in (self.known, self.during, self.after):
                assert await self.call(key, process) == 200

    def may_be_lost(self, calls: Sequence[Call] | None = None) -> int:
        """How many finished calls may be missing from the ledger after what held their entries was lost at `began`: those whose
        entries had no time to leave it.
        """
        calls = self.load.calls if calls is None else calls
        return sum(call.status == 200 and self.began - LEAVE_SECONDS < call.ended < self.began + 0.1 for call in calls)

    def statuses(self, where: Callable[[Call], bool] = lambda _: True) -> Counter[int]:
        return self.load.statuses(where)

    def away(self, call: Call) -> bool:
        """Whether a call began and ended within the fault."""
        return self.began < call.started and call.ended < self.ended

    # What is left

    async def settled(self, *, broken: int = 0, lost: int = 0) -> None:
        """The ledger has every call that was answered 200 once, but for at most `lost`, and at most `broken` others; no token is
        unaccounted for, and nothing that was acknowledged as deleted was let in.
        """
        figures, load = self.figures, self.load
        finished = load.statuses()[200]

        rows = await self._ledger_at_rest(finished, patience=_PATIENCE if lost == 0 else 3.0)
        figures.calls = len(load.calls)
        figures.in_flight = sum(call.started < self.began < call.ended for call in load.calls)
        figures.slowest = round(max(call.ended - call.started for call in load.calls), 2)
        figures.statuses = dict(sorted(load.statuses().items()))
        figures.lost, figures.doubled = max(0, finished - rows), max(0, rows - finished - broken)
        assert figures.lost <= lost, f"{finished} calls finished, {rows} are in the ledger"
        assert figures.doubled == 0, f"{finished} calls finished, {broken} broke off, {rows} are in the ledger"
        await self.balanced()
        for key, done in self.deleted.items():
            later = load.statuses(lambda call, key=key, done=done: call.key == key and call.started > done)  # type: ignore[misc]
            assert not later[200], f"calls of a key that was deleted passed: {later}"
        for gateway in self.gateways:
            assert "Traceback" not in gateway.output(), gateway.output()

    async def _ledger_at_rest(self, finished: int, patience: float) -> int:
        """How many calls of this account the ledger holds, once it holds `finished` or `patience` seconds have passed."""
        end = time.monotonic() + patience
        while (found := len(await self._ledger())) < finished and time.monotonic() < end:
            await asyncio.sleep(0.2)
        if found >= finished:
            await asyncio.sleep(0.5)  # were there an entry too many, it would be here by then
        return len(await self._ledger())

    async def _ledger(self) -> set[str]:
        """The calls of this account in the database, and those in Redis that another process has yet to move there: what a
        process had read when it was killed is taken over after half a minute.
        """
        on_the_way = await asyncio.to_thread(self._in_streams)
        rows = await self.shared.rows(f"SELECT call_id FROM ledger WHERE account_id = '{self.account}'")
        assert len(rows) == len(set(rows))
        stored = {str(call_id) for (call_id,) in rows}
        self.figures.in_streams = len(on_the_way - stored)
        return stored | on_the_way

    def _in_streams(self) -> set[str]:
        if not isinstance(self.shared.redis, RedisServer):
            return set()
        with redis.Redis("127.0.0.1", self.shared.redis.port) as client:
            streams: Any = client.scan_iter("gw:ledger:{*")
            messages: Any = [message for stream in streams for message in client.xrange(stream)]
        entries = [entry for _, fields in messages for entry in decode(fields)]
        return {entry.call_id for entry in entries if entry.account_id == self.account}

    async def balanced(self) -> None:
        """No process has a token that is not accounted for."""
        for gateway in self.gateways:
            metrics = await self._metrics(gateway)
            assert "gateway_limit_tokens_imbalance 0.0" in metrics
            assert "gateway_redis_tokens_imbalance 0.0" in metrics

    @staticmethod
    async def _metrics(gateway: GatewayProcess) -> list[str]:
        return (await asyncio.to_thread(gateway.get, "/metrics")).text.splitlines()

    def expect(self, allowed: set[int], where: Callable[[Call], bool]) -> None:
        """Calls that `where` holds for were answered as the design says: by `allowed`. Others count as failed."""
        statuses = self.load.statuses(where)
        self.figures.failed += sum(count for status, count in statuses.items() if status not in allowed)
        assert set(statuses) <= allowed, f"{self.figures.fault}: {dict(statuses)}"
