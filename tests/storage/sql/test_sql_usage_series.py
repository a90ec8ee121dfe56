"""Usage over time: each step holds what its calls used, from whichever sums it is read."""

import random
from dataclasses import astuple, replace

import pytest
import sqlalchemy as sa
from msgspec import structs

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus, Principal
from gateway.domain.ledger import Entry
from gateway.domain.visible import EVERYTHING, Visible
from gateway.storage.sql.engine import AsyncEngine, writing
from gateway.storage.sql.entries import store
from gateway.storage.sql.refusals import MINUTE_MS, SqlRefusals
from gateway.storage.sql.tables import ledger, usage_days, usage_hours
from gateway.storage.sql.usage import GROUPS, GroupBy, total, usage
from gateway.storage.sql.usage_hours import DAY_MS, HOUR_MS
from gateway.storage.sql.usage_series import STEPS, UsagePoint, series
from tests.storage.sql.rows import entry

START = 20_000 * DAY_MS
SPAN = 2 * DAY_MS
_CALLER = Principal("", KeyKind.STANDARD, KeyStatus.ACTIVE, "", "", is_default=True, epoch=1, catalogue_version=1)
_SOME = Visible(accounts=frozenset({"acc-2"}), workspaces=frozenset({"llm-1"}))


def _calls() -> list[Entry]:
    """Calls all over two days, also at the very edges of steps; and one before, and one behind."""
    chance = random.Random(1)
    edges = [edge + beside for edge in range(0, SPAN, 6 * HOUR_MS) for beside in (0, 5 * MINUTE_MS - 1, 5 * MINUTE_MS, HOUR_MS)]
    return [
        entry(
            call_id=f"{number:04}",
            at=START + at,
            account_id=f"acc-{1 + number % 2}",
            workspace_id=f"llm-{1 + number % 4}",
            key_id=f"ak-{1 + number % 8}",
            model="ab"[number % 3 == 0],
            outcome="ok" if chance.random() < 0.8 else "client_gone",
            input_tokens=chance.randrange(2**33),
            ttft_ms=None if chance.random() < 0.3 else chance.randrange(1000),
            duration_ms=chance.randrange(5000),
            estimated=chance.random() < 0.2,
        )
        for number, at in enumerate([-1, SPAN, *edges, *(chance.randrange(SPAN) for _ in range(200))])
    ]


EVERY = _calls()
CALLS = [one for one in EVERY if START <= one.at < START + SPAN]


@pytest.fixture
async def engine(engine: AsyncEngine) -> AsyncEngine:
    """Every call, and at each one's time one that was refused."""
    counted = SqlRefusals(engine)
    for one in EVERY:
        caller = replace(_CALLER, key_id=one.key_id, workspace_id=one.workspace_id, account_id=one.account_id)
        counted.count(one.at, caller, one.model, "limit_requests")
    await store(engine, EVERY)
    await counted.flush()
    return engine


def _expected(step: int, group_by: GroupBy, calls: list[Entry]) -> list[UsagePoint]:
    found: dict[tuple[int, str], list[int]] = {}
    for one in calls:
        ttft = one.ttft_ms
        key = (one.at // step * step, getattr(one, GROUPS[group_by]))
        values = (1, one.outcome != "ok", one.input_tokens, one.output_tokens, one.cached_tokens, one.estimated)
        values = (*values, ttft is not None, ttft or 0, one.duration_ms, 1)  # type: ignore[assignment]
        found[key] = [int(a + b) for a, b in zip(found.get(key, [0] * 10), values, strict=True)]
    return [UsagePoint(group, at, *sums) for (at, group), sums in sorted(found.items())]


@pytest.mark.parametrize("visible", [EVERYTHING, _SOME], ids=["everything", "some"])
@pytest.mark.parametrize("step", STEPS)
async def test_each_step_holds_its_own_calls(engine: AsyncEngine, step: int, visible: Visible) -> None:
    """A point of a plot is exactly the sum over the calls, admitted and refused, that its step and its viewer hold."""
    seen = [one for one in CALLS if visible.everything or one.account_id == "acc-2" or one.workspace_id == "llm-1"]
    for group_by in GROUPS:
        found = await series(engine, start_ms=START, end_ms=START + SPAN, step_ms=step, group_by=group_by, visible=visible)
        assert found == _expected(step, group_by, seen)
        assert {type(value) for point in found for value in astuple(point)} == {int, str}


@pytest.mark.parametrize("step", STEPS)
async def test_filters_and_bounds(engine: AsyncEngine, step: int) -> None:
    """A plot of one key, model and time shows those calls alone; the points together say what the table beside it says."""
    start, end = START + DAY_MS, START + SPAN
    asked = {"account_id": "acc-1", "workspace_id": "llm-1", "key_id": "ak-1", "model": "b"}
    wanted = [one for one in CALLS if one.at >= start and all(getattr(one, name) == value for name, value in asked.items())]
    assert wanted
    found = await series(engine, start_ms=start, end_ms=end, step_ms=step, group_by="key", **asked)  # type: ignore[arg-type]
    assert found == _expected(step, "key", wanted)
    table = total(await usage(engine, start_ms=start, end_ms=end, group_by="key", **asked))  # type: ignore[arg-type]
    assert (table.calls, table.refused) == (sum(point.calls for point in found), sum(point.refused for point in found))
    nobody = await series(engine, start_ms=start, end_ms=end, step_ms=step, group_by="key", visible=Visible())
    assert nobody == []


@pytest.mark.parametrize("apart", [["ak-2", "ak-7", "ak-unknown"], []], ids=["some", "none"])
@pytest.mark.parametrize("step", STEPS)
async def test_of_many_groups_some_are_told_apart(engine: AsyncEngine, step: int, apart: list[str]) -> None:
    """A plot of thousands of keys shows those that matter, and all others together, so that its sum is still everybody's."""
    every = [structs.replace(one, key_id=one.key_id if one.key_id in apart else "the rest") for one in CALLS]
    expected = [
        replace(point, group=None if point.group == "the rest" else point.group) for point in _expected(step, "key", every)
    ]
    found = await series(engine, start_ms=START, end_ms=START + SPAN, step_ms=step, group_by="key", apart=apart)
    assert found == expected


async def test_a_step_reads_the_coarsest_sums_that_hold_it(engine: AsyncEngine) -> None:
    """A plot of a month goes through no single call: with only the sums by day left, it is what it was."""
    async with writing(engine) as conn:
        await conn.execute(sa.delete(ledger))
    by_hour = [await series(engine, start_ms=START, end_ms=START + SPAN, step_ms=step, group_by="model") for step in STEPS]
    assert [sum(point.calls for point in found) for found in by_hour] == [0, len(CALLS), len(CALLS), len(CALLS)]
    async with writing(engine) as conn:
        await conn.execute(sa.delete(usage_hours))
    assert await series(engine, start_ms=START, end_ms=START + SPAN, step_ms=DAY_MS, group_by="model") == by_hour[3]
    async with writing(engine) as conn:
        await conn.execute(sa.delete(usage_days))
    assert sum(point.calls for point in await series(engine, start_ms=0, end_ms=2 * START, step_ms=DAY_MS, group_by="key")) == 0


@pytest.mark.parametrize(("start", "step"), [(START, HOUR_MS + 1), (START + 1, HOUR_MS), (START + HOUR_MS, DAY_MS), (START, 0)])
async def test_a_step_that_does_not_fit(engine: AsyncEngine, start: int, step: int) -> None:
    """A step without sums of its own, or a start between two, would show parts of steps as whole ones."""
    with pytest.raises(ValueError, match="no step"):
        await series(engine, start_ms=start, end_ms=START + SPAN, step_ms=step, group_by="model")
