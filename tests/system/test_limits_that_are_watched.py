"""Increases of limits, refused calls and levels through the whole gateway, on either storage profile."""

import asyncio
import time
from datetime import UTC, datetime

import sqlalchemy as sa

from gateway.domain.admission import claims_of
from gateway.domain.buckets import Level
from gateway.domain.grants import Limits
from gateway.storage.sql.activity import drivers
from gateway.storage.sql.engine import reading, writing
from gateway.storage.sql.tables import audit, limit_increases
from gateway.storage.sql.usage import usage
from tests.system.conftest import Running, Start


async def _increase(running: Running, rpm: int, ends_at: float) -> None:
    body = {
        "model": running.upstream.model,
        "rpm": rpm,
        "ends_at": datetime.fromtimestamp(ends_at, UTC).isoformat(),
        "reason": "a launch",
    }
    reply = await running.admin.post(f"/admin/v1/accounts/{await running.account()}/increases", json=body)
    assert reply.status_code == 201, reply.text


async def _limit(running: Running, key: str) -> int:
    """The limit that a call is told, admitted or not."""
    return int((await running.chat(key)).headers["x-ratelimit-limit-requests"])


async def test_an_increase_holds_until_its_end(start_on_each_profile: Start) -> None:
    """From the answer on each call has the higher limit, and soon after its end none has, without anybody doing anything."""
    async with start_on_each_profile(GATEWAY_DEFAULT_RPM="50") as running:
        _, key = await running.key(await running.default_workspace())
        assert await _limit(running, key) == 50
        ends_at = time.time() + 1.5
        await _increase(running, 5000, ends_at)
        assert await _limit(running, key) == 5000
        async with asyncio.timeout(15):
            while await _limit(running, key) == 5000:
                await asyncio.sleep(0.02)
        assert time.time() >= ends_at
        assert await _limit(running, key) == 50
        async with reading(running.gateway.services.engine) as conn:
            ended = await conn.execute(sa.select(audit.c.actor).where(audit.c.action == "limits.increase_ended"))
            assert ended.scalars().all() == ["gateway"]


async def test_an_increase_that_was_over_while_nobody_ran(start: Start) -> None:
    """A gateway that starts takes no call under an increase whose time has passed."""
    async with start(GATEWAY_DEFAULT_RPM="50") as running:
        _, key = await running.key(await running.default_workspace())
        await _increase(running, 5000, time.time() + 3600)
        assert await _limit(running, key) == 5000

        async def nothing() -> None:
            pass

        running.gateway._sweep_once = nothing  # type: ignore[method-assign]
        async with writing(running.gateway.services.engine) as conn:
            await conn.execute(sa.update(limit_increases).values(ends_at=1))
    async with start(GATEWAY_DEFAULT_RPM="50") as running:
        assert await _limit(running, key) == 50


async def test_refused_calls_and_levels_can_be_looked_at(start_on_each_profile: Start) -> None:
    """Who calls too much is seen within seconds, with what is left of the limit; nothing is lost when the gateway stops."""
    async with start_on_each_profile(GATEWAY_DEFAULT_RPM="3") as running:
        account = await running.account()
        key_id, key = await running.key(await running.default_workspace())
        model = running.upstream.model
        assert sorted([(await running.chat(key)).status_code for _ in range(5)]) == [200, 200, 200, 429, 429]
        claims = claims_of(Level.ACCOUNT, account, model, Limits(rpm=3))
        levels = await running.admissions.levels(account, claims)
        assert [fill.remaining for fill in levels.fills] == [0]
        assert 0 < levels.fills[0].reset_us <= 60_000_000
        assert levels.open_calls == 0
        engine = running.gateway.services.engine
        async with asyncio.timeout(15):
            while True:
                found = await drivers(engine, since_ms=int(time.time() * 1000) - 60_000, limit=5)
                if found and (found[0].calls, found[0].refused) == (3, 2):
                    break
                await asyncio.sleep(0.05)
        assert (found[0].key_id, found[0].model, len(found)) == (key_id, model, 1)
        assert (await running.chat(key)).status_code == 429
    now = int(time.time() * 1000)
    await running.gateway._refusals.flush()
    assert running.gateway._refusals.written == 3
    rows = await usage(engine, start_ms=now - 3_600_000, end_ms=now + 1, group_by="key")
    assert [(row.group, row.calls, row.refused) for row in rows] == [(key_id, 3, 3)]
    await engine.dispose()
