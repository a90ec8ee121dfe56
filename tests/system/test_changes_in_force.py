"""A change that was acknowledged holds for every call that starts later, under load, on either storage profile."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Self

import pytest

from tests.system.conftest import Running, Start

CALLERS = 16


@pytest.fixture
def start(start_on_each_profile: Start) -> Start:
    return start_on_each_profile


@dataclass
class Load:
    """Callers that call without a pause, and keep when each call started and what it was answered."""

    running: Running
    key: str
    calls: list[tuple[float, int]] = field(default_factory=list)
    stopped: bool = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._call()) for _ in range(CALLERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopped = True
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        while not self.stopped:
            started = time.monotonic()
            reply = await self.running.chat(self.key)
            self.calls.append((started, reply.status_code))

    async def until(self, calls: int) -> None:
        """Wait for that many more calls."""
        goal = len(self.calls) + calls
        while len(self.calls) < goal:
            await asyncio.sleep(0.005)

    def after(self, moment: float) -> set[int]:
        statuses = [status for started, status in self.calls if started > moment]
        assert len(statuses) > 50
        return set(statuses)

    def before(self, moment: float) -> set[int]:
        return {status for started, status in self.calls if started < moment}


async def test_a_deleted_key(start: Start) -> None:
    """No call that starts after the 204 passes."""
    async with start() as running:
        key_id, key = await running.key(await running.default_workspace())
        async with Load(running, key) as load:
            await load.until(100)
            asked = time.monotonic()
            reply = await running.admin.delete(f"/admin/v1/api-keys/{key_id}")
            done = time.monotonic()
            assert reply.status_code == 204
            await load.until(100)
        assert load.after(done) == {401}
        assert 401 not in {status for started, status in load.calls if started < asked - 1}


async def test_a_grant(start: Start) -> None:
    """Every call that starts after a grant was acknowledged passes, and none after it was withdrawn."""
    async with start() as running:
        workspace = await running.workspace()
        _, key = await running.key(workspace)
        grant = f"/admin/v1/workspaces/{workspace}/grants/m"
        async with Load(running, key) as load:
            await load.until(100)
            reply = await running.admin.put(grant, json={"rpm": None, "tpm": None})
            granted = time.monotonic()
            assert reply.status_code in (200, 201), reply.text
            await load.until(100)
        assert load.after(granted) == {200}
        assert 403 in load.before(granted)
        async with Load(running, key) as load:
            await load.until(100)
            assert (await running.admin.delete(grant)).status_code == 204
            withdrawn = time.monotonic()
            await load.until(100)
        assert load.after(withdrawn) == {403}


async def test_disable_and_enable(start: Start) -> None:
    """A disabled key is refused at once, and works at once when it is enabled."""
    async with start() as running:
        key_id, key = await running.key(await running.default_workspace())
        for action, status in (("disable", 401), ("enable", 200), ("disable", 401), ("enable", 200)):
            async with Load(running, key) as load:
                await load.until(60)
                assert (await running.admin.post(f"/admin/v1/api-keys/{key_id}/{action}")).status_code == 200
                done = time.monotonic()
                await load.until(100)
            assert load.after(done) == {status}


async def test_a_lowered_limit(start: Start) -> None:
    """A limit of the account that was lowered holds for the next call."""
    async with start() as running:
        running.admissions._clock = lambda: 1_000_000
        _, key = await running.key(await running.default_workspace())
        account = await running.account()
        async with Load(running, key) as load:
            await load.until(100)
            reply = await running.admin.put(f"/admin/v1/accounts/{account}/limits/m", json={"rpm": 5, "tpm": None})
            done = time.monotonic()
            assert reply.status_code in (200, 201), reply.text
            await load.until(100)
        statuses = [status for started, status in load.calls if started > done]
        assert statuses.count(200) <= 5
        assert set(statuses) <= {200, 429}


async def test_a_model_of_the_catalogue(start: Start) -> None:
    """A catalogue change that lowers a model's limits holds for every account's next call."""
    async with start() as running:
        running.admissions._clock = lambda: 1_000_000
        _, key = await running.key(await running.default_workspace())
        assert (await running.chat(key)).status_code == 200
        assert (await running.admin.put("/admin/v1/models/m", json={"rpm": 2})).status_code in (200, 201)
        statuses = [(await running.chat(key)).status_code for _ in range(4)]
        assert statuses == [200, 200, 429, 429]


async def test_a_stream_of_a_deleted_key(start: Start) -> None:
    """A stream under way ends within a second of the deletion, with an error event and no [DONE]."""
    async with start() as running:
        running.upstream.events, running.upstream.pause = 1000, 0.05
        key_id, key = await running.key(await running.default_workspace())
        body = {"model": "m", "messages": [], "stream": True}
        headers = {"authorization": f"Bearer {key}"}
        async with running.client.stream("POST", "/compatible-mode/v1/chat/completions", json=body, headers=headers) as reply:
            lines = reply.aiter_lines()
            assert "word0" in await anext(lines)
            assert (await running.admin.delete(f"/admin/v1/api-keys/{key_id}")).status_code == 204
            deleted = time.monotonic()
            rest = [line async for line in lines if line]
        assert time.monotonic() - deleted < 3
        assert "invalid_api_key" in rest[-1]
        assert "[DONE]" not in "".join(rest)
        for _ in range(100):
            if running.upstream.open == 0:
                break
            await asyncio.sleep(0.02)
        assert running.upstream.open == 0
