"""Refused calls, summed in the database."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.domain.credentials import KeyKind
from gateway.domain.faults import StorageUnavailable
from gateway.domain.grants import KeyStatus, Principal
from gateway.storage.sql.engine import AsyncEngine, create_engine, reading, writing
from gateway.storage.sql.refusals import MINUTE_MS, SqlRefusals, within
from gateway.storage.sql.retention import Retention, delete_minutes_before
from gateway.storage.sql.tables import refusals
from gateway.storage.sql.usage_hours import HOUR_MS
from tests.storage.sql.rows import rows

CALLER = Principal("ak-1", KeyKind.STANDARD, KeyStatus.ACTIVE, "llm-1", "acc-1", is_default=True, epoch=1, catalogue_version=1)
OTHER = replace(CALLER, key_id="ak-2", workspace_id="llm-2")
HOUR = 1000 * HOUR_MS


async def _sums(engine: AsyncEngine, *columns: str) -> list[tuple[Any, ...]]:
    return await rows(engine, refusals, *(columns or ("span", "at", "key_id", "model", "code", "calls")))


async def _away(engine: AsyncEngine, *, away: bool) -> None:
    names = ("refusals", "elsewhere") if away else ("elsewhere", "refusals")
    async with writing(engine) as conn:
        await conn.execute(sa.text("ALTER TABLE {} RENAME TO {}".format(*names)))


async def test_calls_are_summed_by_minute_and_by_hour(engine: AsyncEngine) -> None:
    """Each refused call is in the sum of its minute and of its hour, by who made it, for which model and why."""
    counted = SqlRefusals(engine)
    for at in (0, MINUTE_MS - 1, MINUTE_MS, HOUR_MS):
        counted.count(HOUR + at, CALLER, "m", "limit_requests")
    counted.count(HOUR, OTHER, "", "model_not_found")
    await counted.flush()
    assert await _sums(engine) == [
        (MINUTE_MS, HOUR, "ak-1", "m", "limit_requests", 2),
        (MINUTE_MS, HOUR, "ak-2", "", "model_not_found", 1),
        (MINUTE_MS, HOUR + MINUTE_MS, "ak-1", "m", "limit_requests", 1),
        (MINUTE_MS, HOUR + HOUR_MS, "ak-1", "m", "limit_requests", 1),
        (HOUR_MS, HOUR, "ak-1", "m", "limit_requests", 3),
        (HOUR_MS, HOUR, "ak-2", "", "model_not_found", 1),
        (HOUR_MS, HOUR + HOUR_MS, "ak-1", "m", "limit_requests", 1),
    ]
    assert set(await _sums(engine, "account_id", "workspace_id", "key_id")) == {
        ("acc-1", "llm-1", "ak-1"),
        ("acc-1", "llm-2", "ak-2"),
    }
    assert (counted.written, counted.lost, counted.waiting) == (5, 0, 0)


async def test_processes_add_to_the_same_sums(engine: AsyncEngine) -> None:
    """Many processes that write at once lose nothing of each other's, and do not block each other."""
    processes = [SqlRefusals(engine) for _ in range(4)]
    for number, process in enumerate(processes):
        for key in range(700):
            process.count(HOUR, replace(CALLER, key_id=f"ak-{(key * 11 + number) % 700}"), "m", "limit_requests")
    await asyncio.gather(*(process.flush() for process in processes))
    assert [row[0] for row in await _sums(engine, "calls")] == [4] * 1400


async def test_they_are_written_soon_and_to_the_end(engine: AsyncEngine) -> None:
    """Nobody has to ask for it: what is counted is written after a moment, and what is left when the process stops."""
    counted = SqlRefusals(engine, every_seconds=0.02)
    counted.start()
    counted.count(HOUR, CALLER, "m", "limit_requests")
    async with asyncio.timeout(10):
        while not counted.written:
            await asyncio.sleep(0.01)
    counted.count(HOUR, CALLER, "m", "limit_requests")
    await counted.close()
    assert [row[0] for row in await _sums(engine, "calls")] == [2, 2]


async def test_a_stop_does_not_wait_for_the_next_turn(engine: AsyncEngine) -> None:
    """A process that is told to stop writes what it has and is gone."""
    counted = SqlRefusals(engine, every_seconds=3600)
    counted.start()
    await asyncio.sleep(0)
    counted.count(HOUR, CALLER, "m", "limit_requests")
    async with asyncio.timeout(5):
        await counted.close()
    assert counted.written == 1


async def test_they_wait_while_the_database_is_away(engine: AsyncEngine) -> None:
    """A database that comes back gets each of them once, those of before and those of meanwhile."""
    await _away(engine, away=True)
    counted = SqlRefusals(engine, every_seconds=0.02)
    counted.start()
    counted.count(HOUR, CALLER, "m", "limit_requests")
    async with asyncio.timeout(10):
        while counted.failures < 2:
            await asyncio.sleep(0.01)
    counted.count(HOUR, CALLER, "m", "limit_requests")
    counted.count(HOUR, OTHER, "m", "limit_requests")
    assert counted.waiting == 2
    await _away(engine, away=False)
    async with asyncio.timeout(10):
        while counted.waiting:
            await asyncio.sleep(0.01)
    await counted.close()
    assert await _sums(engine, "span", "key_id", "calls") == [
        (MINUTE_MS, "ak-1", 2),
        (MINUTE_MS, "ak-2", 1),
        (HOUR_MS, "ak-1", 2),
        (HOUR_MS, "ak-2", 1),
    ]
    assert (counted.written, counted.lost) == (3, 0)


async def test_only_so_many_wait(engine: AsyncEngine) -> None:
    """An outage fills no memory: sums that are there go on, new ones beyond the bound are lost, and that is counted."""
    counted = SqlRefusals(engine, capacity=2)
    for key in ("ak-1", "ak-2", "ak-3", "ak-1", "ak-3"):
        counted.count(HOUR, replace(CALLER, key_id=key), "m", "limit_requests")
    assert (counted.waiting, counted.lost) == (2, 2)
    await _away(engine, away=True)
    with pytest.raises((StorageUnavailable, sa.exc.DBAPIError)):
        await counted.flush()
    assert (counted.waiting, counted.lost) == (2, 2)
    await _away(engine, away=False)
    await counted.flush()
    assert await _sums(engine, "span", "key_id", "calls") == [
        (MINUTE_MS, "ak-1", 2),
        (MINUTE_MS, "ak-2", 1),
        (HOUR_MS, "ak-1", 2),
        (HOUR_MS, "ak-2", 1),
    ]


async def test_a_database_that_never_comes_back() -> None:
    """A process ends all the same, and says what it lost."""
    away = create_engine("postgresql+asyncpg://postgres@/gateway?host=/nonexistent")
    counted = SqlRefusals(away, close_seconds=0.3)
    counted.start()
    counted.count(HOUR, CALLER, "m", "limit_requests")
    began = time.monotonic()
    await counted.close()
    assert time.monotonic() - began < 5
    assert (counted.waiting, counted.lost) == (0, 1)
    await away.dispose()


@pytest.mark.parametrize("url", [pytest.param("postgresql", marks=pytest.mark.xdist_group("postgres"))], indirect=True)
async def test_a_value_that_is_refused_keeps_no_other_from_the_table(engine: AsyncEngine) -> None:
    """A name that cannot be stored loses its own calls alone. (SQLite refuses none.)"""
    counted = SqlRefusals(engine)
    for model in ("a", "b" * 256, "c\0", "d"):
        counted.count(HOUR, CALLER, model, "limit_requests")
    await counted.flush()
    assert await _sums(engine, "span", "model") == [(MINUTE_MS, "a"), (MINUTE_MS, "d"), (HOUR_MS, "a"), (HOUR_MS, "d")]
    assert (counted.written, counted.lost, counted.waiting) == (2, 2, 0)


@pytest.mark.parametrize(
    ("start", "end", "calls"),
    [
        (0, 3 * HOUR_MS, 6),
        (0, HOUR_MS, 3),
        (MINUTE_MS, HOUR_MS, 2),
        (MINUTE_MS, 2 * HOUR_MS + 1, 5),
        (1, HOUR_MS - 1, 2),
        (HOUR_MS - MINUTE_MS, HOUR_MS + MINUTE_MS, 2),
        (HOUR_MS + MINUTE_MS, HOUR_MS + 2 * MINUTE_MS, 1),
        (3 * HOUR_MS, 9 * HOUR_MS, 0),
    ],
)
async def test_a_span_counts_each_call_once(engine: AsyncEngine, start: int, end: int, calls: int) -> None:
    """However a span lies to the hours, no call is counted in the sum of its minute and in that of its hour."""
    counted = SqlRefusals(engine)
    for minute in (0, 1, 59, 60, 61, 120):
        counted.count(HOUR + minute * MINUTE_MS, CALLER, "m", "limit_requests")
    await counted.flush()
    query = sa.union_all(*(sa.select(refusals.c.calls).where(part) for part in within(HOUR + start, HOUR + end)))
    async with reading(engine) as conn:
        assert sum((await conn.scalars(query)).all()) == calls


async def test_old_minutes_go_and_hours_stay(engine: AsyncEngine) -> None:
    """The table does not grow by a row a minute for ever, whether or not the ledger's rows are kept."""
    now = HOUR + 30 * HOUR_MS
    counted = SqlRefusals(engine)
    for minutes_ago in (0, 25 * 60 - 1, 25 * 60, 25 * 60 + 1, 30 * 60):
        for key in ("ak-1", "ak-2"):
            counted.count(now - minutes_ago * MINUTE_MS, replace(CALLER, key_id=key), "m", "limit_requests")
    await counted.flush()
    await Retention(engine, days=0, now_ms=lambda: now).turn()
    left = await _sums(engine, "span", "at")
    assert [(now - at) // MINUTE_MS for span, at in left if span == MINUTE_MS] == [1500, 1500, 1499, 1499, 0, 0]
    assert sum(span == HOUR_MS for span, _ in left) == 8
    assert await delete_minutes_before(engine, now + 1, batch=4, pause_seconds=0) == 6
    assert sum(span == HOUR_MS for span, _ in await _sums(engine, "span", "at")) == 8
