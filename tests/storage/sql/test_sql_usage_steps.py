"""What a page of usage shows: its table and its plots say the same, of one moment."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus, Principal
from gateway.domain.ledger import Entry
from gateway.domain.visible import Visible
from gateway.storage.sql import usage_steps
from gateway.storage.sql.engine import AsyncConnection, AsyncEngine
from gateway.storage.sql.entries import store
from gateway.storage.sql.refusals import SqlRefusals
from gateway.storage.sql.usage import GROUPS, Filters, GroupBy, UsageRow, by_group, total, usage
from gateway.storage.sql.usage_hours import DAY_MS
from gateway.storage.sql.usage_series import STEPS, UsagePoint, series
from gateway.storage.sql.usage_steps import Steps, overview
from tests.storage.sql.rows import entry

START = 20_000 * DAY_MS
END = START + 2 * DAY_MS
_CALLER = Principal("", KeyKind.STANDARD, KeyStatus.ACTIVE, "", "", is_default=True, epoch=1, catalogue_version=1)


def _call(number: int, at: int, chance: random.Random) -> Entry:
    return entry(
        call_id=f"{number:04}",
        at=at,
        account_id=f"acc-{1 + number % 2}",
        workspace_id=f"llm-{1 + number % 4}",
        key_id=f"ak-{1 + int(8 * chance.random() ** 2)}",
        model="ab"[number % 3 == 0],
        outcome="ok" if chance.random() < 0.8 else "client_gone",
        input_tokens=chance.randrange(2**33),
        ttft_ms=None if chance.random() < 0.3 else chance.randrange(1000),
    )


@pytest.fixture
async def engine(engine: AsyncEngine) -> AsyncEngine:
    """Calls all over two days, and at each one's time one that was refused; one just before, and one just behind."""
    chance = random.Random(1)
    calls = [
        _call(n, at, chance) for n, at in enumerate([START - 1, END, START, END - 1, *(START + n * 997_000 for n in range(170))])
    ]
    refused = SqlRefusals(engine)
    for one in calls:
        caller = replace(_CALLER, key_id=one.key_id, workspace_id=one.workspace_id, account_id=one.account_id)
        refused.count(one.at, caller, one.model, "limit_requests")
    await store(engine, calls)
    await refused.flush()
    return engine


def _summed(points: list[UsagePoint]) -> UsageRow:
    """The points of one step as one row."""
    names = ("calls", "failures", "input_tokens", "output_tokens", "cached_tokens", "estimated_calls", "timed_calls", "refused")
    sums = {name: sum(getattr(point, name) for point in points) for name in names}
    waited, lasted = sum(point.ttft_ms for point in points), sum(point.duration_ms for point in points)
    ttft = waited / sums["timed_calls"] if sums["timed_calls"] else None
    return UsageRow("", **sums, ttft_ms=ttft, duration_ms=lasted / sums["calls"] if sums["calls"] else 0.0)


WANTED: list[Mapping[str, Any]] = [
    {},
    {"account_id": "acc-1"},
    {"workspace_id": "llm-2", "model": "a"},
    {"key_id": "ak-1"},
    {"visible": Visible(accounts=frozenset({"acc-2"}), workspaces=frozenset({"llm-1"}))},
    {"visible": Visible()},
]


@pytest.mark.parametrize("wanted", WANTED, ids=["all", "account", "workspace", "key", "some", "nobody"])
@pytest.mark.parametrize("step", STEPS)
async def test_steps_are_what_the_series_and_the_table_say(engine: AsyncEngine, step: int, wanted: Mapping[str, Any]) -> None:
    """Rows are those of the table, steps the sums over all points of the series; the largest groups have the calls of theirs."""
    for group_by in GROUPS:
        asked = Steps(start_ms=START, end_ms=END, step_ms=step, group_by=group_by, filters=Filters(**wanted))
        found = await overview(engine, asked, largest=2)
        assert found.rows == await usage(engine, start_ms=START, end_ms=END, group_by=group_by, **wanted)
        points = await series(engine, start_ms=START, end_ms=END, step_ms=step, group_by=group_by, **wanted)
        assert found.largest == [row.group for row in sorted(found.rows, key=lambda row: (-row.calls, row.group))][:2]
        for told in found.steps:
            own = [point for point in points if point.at == told.at]
            assert told.total == _summed(own)
            assert told.calls == [sum(point.calls for point in own if point.group == group) for group in found.largest]
        assert [told.at for told in found.steps] == sorted({point.at for point in points})
        assert sum(told.total.calls for told in found.steps) == total(found.rows).calls


async def test_all_numbers_are_of_one_moment(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is metered while a page is made is in all of its numbers or in none."""

    async def slow(
        connection: AsyncConnection, start_ms: int, end_ms: int, group_by: GroupBy, filters: Filters
    ) -> list[UsageRow]:
        rows = await by_group(connection, start_ms, end_ms, group_by, filters)
        await store(engine, [entry(call_id="late", at=START + 1)])
        return rows

    monkeypatch.setattr(usage_steps, "by_group", slow)
    asked = Steps(start_ms=START, end_ms=END, step_ms=DAY_MS, group_by="model", filters=Filters())
    for calls in (172, 173):
        found = await overview(engine, asked, largest=7)
        assert total(found.rows).calls == sum(told.total.calls for told in found.steps) == calls
        assert sum(sum(told.calls) for told in found.steps) == calls


@pytest.mark.parametrize(("start", "end", "step"), [(START, END, 60_000), (START + 1, END, DAY_MS), (START, END - 1, DAY_MS)])
def test_steps_that_do_not_fit(start: int, end: int, step: int) -> None:
    """A step without sums of its own, or a span that ends between two, would show parts of steps as whole ones."""
    with pytest.raises(ValueError, match="no steps"):
        Steps(start_ms=start, end_ms=end, step_ms=step, group_by="model", filters=Filters())
