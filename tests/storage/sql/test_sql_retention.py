"""Old rows of the ledger go, and nothing else."""

import asyncio

import pytest
import sqlalchemy as sa

from gateway.storage.sql.engine import AsyncEngine, reading, writing
from gateway.storage.sql.entries import store
from gateway.storage.sql.retention import Retention, delete_before
from gateway.storage.sql.tables import ledger, usage_hours
from gateway.storage.sql.usage import usage
from gateway.storage.sql.usage_hours import HOUR_MS
from tests.storage.sql.rows import entry, rows

DAY_MS = 24 * HOUR_MS
NOW = 1_700_000_000_000


async def _fill(engine: AsyncEngine, *ages_ms: int) -> None:
    await store(engine, [entry(call_id=f"{number:04}", at=NOW - age) for number, age in enumerate(ages_ms)])


async def _ages(engine: AsyncEngine) -> list[int]:
    return sorted(NOW - row[0] for row in await rows(engine, ledger, "at"))


async def test_old_rows_go_in_batches(engine: AsyncEngine) -> None:
    """However many rows are too old, all of them go, a few at a time, and none that is younger."""
    await _fill(engine, *range(25))
    assert await delete_before(engine, NOW - 11, batch=4, pause_seconds=0) == 13
    assert await _ages(engine) == list(range(12))
    assert await delete_before(engine, NOW - 11, batch=4, pause_seconds=0) == 0


async def test_roll_ups_stay(engine: AsyncEngine) -> None:
    """What usage says of whole hours is the same before and after their rows were deleted."""
    await _fill(engine, *range(0, 100 * DAY_MS, 7 * HOUR_MS))
    every = tuple(column.name for column in usage_hours.columns)
    end = NOW // HOUR_MS * HOUR_MS
    start = end - 100 * DAY_MS
    before = await rows(engine, usage_hours, *every), await usage(engine, start_ms=start, end_ms=end, group_by="key")
    assert before[1][0].calls > 300
    await Retention(engine, days=2, now_ms=lambda: NOW).turn()
    after = await rows(engine, usage_hours, *every), await usage(engine, start_ms=start, end_ms=end, group_by="key")
    assert after == before
    assert max(await _ages(engine)) < 2 * DAY_MS + HOUR_MS


async def test_an_hour_goes_as_a_whole(engine: AsyncEngine) -> None:
    """A row goes together with its hour, so that no part of an hour is half there."""
    into_the_hour = NOW % HOUR_MS
    await _fill(engine, 2 * DAY_MS, 2 * DAY_MS + into_the_hour, 2 * DAY_MS + into_the_hour + 1)
    retention = Retention(engine, days=2, now_ms=lambda: NOW)
    await retention.turn()
    assert retention.deleted == 1
    assert await _ages(engine) == [2 * DAY_MS, 2 * DAY_MS + into_the_hour]


async def test_several_processes_share_the_work(engine: AsyncEngine) -> None:
    """Each row is deleted by one of those that try, and none of them waits for another or fails."""
    await _fill(engine, *range(400))
    found = await asyncio.gather(*(delete_before(engine, NOW + 1, batch=20, pause_seconds=0) for _ in range(4)))
    assert sum(found) == 400
    assert await _ages(engine) == []


@pytest.mark.parametrize("url", [pytest.param("postgresql", marks=pytest.mark.xdist_group("postgres"))], indirect=True)
async def test_locked_rows_are_passed_over(engine: AsyncEngine) -> None:
    """A row that somebody holds keeps nobody from the others: it goes at the next turn. (SQLite locks no rows.)"""
    await _fill(engine, *range(10))
    async with writing(engine) as holder:
        await holder.execute(sa.select(ledger).where(ledger.c.call_id == "0009").with_for_update())
        async with asyncio.timeout(5):
            assert await delete_before(engine, NOW + 1, pause_seconds=0) == 9
    assert await delete_before(engine, NOW + 1, pause_seconds=0) == 1


async def test_the_background_task(engine: AsyncEngine) -> None:
    """It comes back hour by hour, also after one in which the database was away."""
    async with writing(engine) as conn:
        await conn.execute(sa.text("ALTER TABLE ledger RENAME TO elsewhere"))
    retention = Retention(engine, days=1, now_ms=lambda: NOW, every_seconds=0.05)
    retention.start()
    await asyncio.sleep(0.2)
    async with writing(engine) as conn:
        await conn.execute(sa.text("ALTER TABLE elsewhere RENAME TO ledger"))
    for age in (2, 3):
        await _fill(engine, age * DAY_MS)
        async with asyncio.timeout(10):
            while await _ages(engine):
                await asyncio.sleep(0.02)
    await retention.close()
    assert retention.deleted == 2


async def test_nothing_goes_unless_it_is_wanted(engine: AsyncEngine) -> None:
    """With no days set, rows are kept for ever."""
    await _fill(engine, 4000 * DAY_MS)
    retention = Retention(engine, days=0, now_ms=lambda: NOW, every_seconds=0.01)
    retention.start()
    await asyncio.sleep(0.05)
    await retention.close()
    assert len(await _ages(engine)) == 1


async def test_the_oldest_rows_are_found_by_index(engine: AsyncEngine) -> None:
    """A turn costs what it deletes, not what there is."""
    await _fill(engine, *range(50))
    statement = "SELECT call_id FROM ledger WHERE at < 5 ORDER BY at LIMIT 10"
    async with reading(engine) as conn:
        if engine.dialect.name == "postgresql":
            await conn.execute(sa.text("SET enable_seqscan = off"))  # a few rows are read faster without an index
            plan = await conn.execute(sa.text(f"EXPLAIN {statement}"))
        else:
            plan = await conn.execute(sa.text(f"EXPLAIN QUERY PLAN {statement}"))
        assert "ix_ledger_at" in str(plan.all())
