"""Roll-ups by hour and by day say at every moment what sums over the rows would say."""

import asyncio
import random
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.faults import StorageUnavailable
from gateway.domain.ledger import Entry
from gateway.storage.sql import migrate
from gateway.storage.sql.engine import AsyncEngine, create_engine, reading, writing
from gateway.storage.sql.entries import Stored, store
from gateway.storage.sql.tables import ledger, usage_days, usage_hours
from gateway.storage.sql.usage import GroupBy, UsageRow, usage
from gateway.storage.sql.usage_hours import DAY_MS, HOUR_MS
from tests.storage.sql.rows import entry, rows

HOURS = tuple(column.name for column in usage_hours.columns)
DAYS = tuple(column.name for column in usage_days.columns)

# Times where one is as likely as not to be wrong by one: about the turn of an hour, or of a day; and in an hour's middle.
_times = st.builds(
    lambda hour, beside: max(0, hour * HOUR_MS + beside),
    st.sampled_from([0, 1, 2, 23, 24, 25, 48, 72]),
    st.sampled_from([-1, 0, 1, HOUR_MS // 2]),
)
_entries = st.builds(
    entry,
    call_id=st.integers(0, 60).map(str),
    at=_times,
    account_id=st.sampled_from(["acc-1", "acc-2"]),
    workspace_id=st.sampled_from(["llm-1", "llm-2"]),
    key_id=st.sampled_from(["ak-1", "ak-2"]),
    model=st.sampled_from(["a", "b"]),
    outcome=st.sampled_from(["ok", "client_gone"]),
    input_tokens=st.one_of(st.integers(0, 10**9), st.just(2**70)),
    output_tokens=st.integers(0, 10**9),
    cached_tokens=st.integers(0, 100),
    estimated=st.booleans(),
    ttft_ms=st.none() | st.integers(0, 10_000),
    duration_ms=st.integers(0, 10_000),
)


def _summed(calls: list[Entry], span: int = HOUR_MS) -> list[tuple[Any, ...]]:
    groups: dict[tuple[Any, ...], list[int]] = {}
    for one in calls:
        group = (one.at // span * span, one.account_id, one.workspace_id, one.key_id, one.model)
        ttft = one.ttft_ms
        values: tuple[int, ...] = (1, one.outcome != "ok", one.input_tokens, one.output_tokens, one.cached_tokens, one.estimated)
        values = (*values, ttft is not None, ttft or 0, one.duration_ms)
        groups[group] = [int(a + b) for a, b in zip(groups.get(group, [0] * 9), values, strict=True)]
    return sorted((*group, *sums) for group, sums in groups.items())


async def _rows(engine: AsyncEngine) -> list[Entry]:
    async with reading(engine) as conn:
        return [Entry(**row) for row in (await conn.execute(sa.select(ledger))).mappings()]


async def _clear(engine: AsyncEngine) -> None:
    async with writing(engine) as conn:
        await conn.execute(sa.delete(ledger))
        await conn.execute(sa.delete(usage_hours))
        await conn.execute(sa.delete(usage_days))


def _expected(calls: list[Entry], start: int, end: int, group_by: GroupBy, filters: dict[str, str]) -> list[UsageRow]:
    column = {"model": "model", "workspace": "workspace_id", "key": "key_id"}[group_by]
    wanted = [one for one in calls if start <= one.at < end and all(getattr(one, k) == v for k, v in filters.items())]
    found = []
    for group in {getattr(one, column) for one in wanted}:
        of = [one for one in wanted if getattr(one, column) == group]
        timed = [one.ttft_ms for one in of if one.ttft_ms is not None]
        found.append(
            UsageRow(
                group,
                len(of),
                sum(one.outcome != "ok" for one in of),
                sum(one.input_tokens for one in of),
                sum(one.output_tokens for one in of),
                sum(one.cached_tokens for one in of),
                sum(one.estimated for one in of),
                len(timed),
                sum(timed) / len(timed) if timed else None,
                sum(one.duration_ms for one in of) / len(of),
            )
        )
    return sorted(found, key=lambda row: (-row.input_tokens - row.output_tokens, row.group))


def test_roll_ups_equal_the_sums_over_the_rows(url: str) -> None:
    """After any history of batches, with calls that repeat and values that are refused, the roll-ups and every answer to a
    question about usage are what the rows say."""
    spans = st.tuples(_times, _times).map(sorted)
    groups = st.sampled_from(["model", "workspace", "key"])
    filters = st.fixed_dictionaries({}, optional={"account_id": st.just("acc-1"), "model": st.just("a")})
    questions = st.lists(st.tuples(spans, groups, filters), min_size=3, max_size=6)
    with asyncio.Runner() as runner:
        engine = create_engine(url)

        async def check(history: list[list[Entry]], asked: list[tuple[list[int], GroupBy, dict[str, str]]]) -> None:
            await _clear(engine)
            for batch in history:
                await store(engine, batch)
            calls = await _rows(engine)
            assert {one.call_id for one in calls} == {
                one.call_id for batch in history for one in batch if one.input_tokens < 2**63
            }
            assert await rows(engine, usage_hours, *HOURS) == _summed(calls)
            assert await rows(engine, usage_days, *DAYS) == _summed(calls, DAY_MS)
            for (start, end), group_by, fits in asked:
                found = await usage(engine, start_ms=start, end_ms=end, group_by=group_by, **fits)  # type: ignore[arg-type]
                assert found == _expected(calls, start, end, group_by, fits)

        # To make an example smaller, each of hundreds of tries would have to go through a database.
        @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
        @given(history=st.lists(st.lists(_entries, min_size=4, max_size=16), min_size=1, max_size=3), asked=questions)
        def run(history: list[list[Entry]], asked: Any) -> None:
            runner.run(check(history, asked))

        run()
        runner.run(engine.dispose())


async def test_what_is_stored_is_told(engine: AsyncEngine) -> None:
    """The answer tells rows that are new from those that were there, and names what can never be stored."""
    bad = entry(call_id="bad", input_tokens=2**70)
    assert await store(engine, []) == Stored(0)
    assert await store(engine, [entry(call_id="a"), bad, entry(call_id="b"), entry(call_id="a")]) == Stored(2, (bad,))
    assert await store(engine, [entry(call_id="c"), entry(call_id="b")]) == Stored(1)


async def test_the_same_entries_at_once(engine: AsyncEngine) -> None:
    """Writers that store the same entries at once, in any order, neither block each other nor count one twice."""
    entries = [entry(call_id=f"{number:04}", key_id=f"ak-{number % 7}", model=f"m{number % 5}") for number in range(600)]

    async def write() -> int:
        shuffled = random.sample(entries, len(entries))
        return sum([(await store(engine, shuffled[at : at + 100])).inserted for at in range(0, 600, 100)])

    assert sum(await asyncio.gather(*(write() for _ in range(4)))) == 600
    assert await rows(engine, usage_hours, *HOURS) == _summed(entries)
    assert await rows(engine, usage_days, *DAYS) == _summed(entries, DAY_MS)


async def test_a_batch_that_is_rolled_back_counts_nothing(engine: AsyncEngine) -> None:
    """Rows and roll-ups come and go together: what fails after the rows were inserted leaves neither."""
    async with writing(engine) as conn:
        await conn.execute(sa.text("ALTER TABLE api_keys RENAME TO elsewhere"))
    with pytest.raises((StorageUnavailable, sa.exc.DBAPIError)):
        await store(engine, [entry()])
    assert await rows(engine, ledger, "call_id") == []
    assert await rows(engine, usage_hours, *HOURS) == []
    assert await rows(engine, usage_days, *DAYS) == []


async def test_the_migration_rolls_up_what_is_there(empty_url: str) -> None:
    """A database that has calls already answers, once it is migrated, as it did before."""
    engine = create_engine(empty_url)
    calls = [
        entry(call_id=f"{number:03}", at=number * 3_234_567, model="ab"[number % 2], estimated=number % 3 == 0)
        for number in range(60)
    ]
    calls = [replace(one, ttft_ms=None, outcome="client_gone") if one.at % 5 == 0 else one for one in calls]

    def first_release(connection: sa.Connection) -> None:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")

    async with writing(engine) as conn:
        await conn.run_sync(first_release)
        await conn.execute(sa.insert(ledger), [{c.name: getattr(one, c.name) for c in ledger.columns} for one in calls])
    await asyncio.to_thread(migrate.upgrade, empty_url)
    assert await rows(engine, usage_hours, *HOURS) == _summed(calls)
    assert await rows(engine, usage_days, *DAYS) == _summed(calls, DAY_MS)
    await engine.dispose()
