"""Sums over the ledger."""

import pytest
import sqlalchemy as sa

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus, Principal
from gateway.domain.visible import Visible
from gateway.storage.sql.engine import AsyncEngine, writing
from gateway.storage.sql.ledger import SqlLedger
from gateway.storage.sql.refusals import MINUTE_MS, SqlRefusals
from gateway.storage.sql.tables import ledger as ledger_table
from gateway.storage.sql.tables import usage_hours
from gateway.storage.sql.usage import UsageRow, total, usage
from gateway.storage.sql.usage_hours import DAY_MS, HOUR_MS
from tests.storage.sql.rows import entry


@pytest.fixture
async def engine(engine: AsyncEngine) -> AsyncEngine:
    ledger = SqlLedger(engine)
    for each in (
        entry(at=1000, model="a", key_id="ak-1"),
        entry(at=1500, model="a", key_id="ak-2", estimated=True, ttft_ms=None, outcome="upstream_error", duration_ms=301),
        entry(at=1999, model="b", workspace_id="llm-2", key_id="ak-3", input_tokens=2**40),
        entry(at=2000, model="a"),
        entry(at=1200, model="a", account_id="acc-2", workspace_id="llm-3", ttft_ms=None),
    ):
        ledger.append(each)
    await ledger.flush()
    return engine


async def test_usage_by_model(engine: AsyncEngine) -> None:
    """The sums a bill and a console show are exact: each call counted once, within the time asked for, most tokens first."""
    found = await usage(engine, start_ms=1000, end_ms=2000, group_by="model", account_id="acc-1")
    assert found == [
        UsageRow("b", 1, 0, 2**40, 5, 2, 0, 1, 20.0, 100.0),
        UsageRow("a", 2, 1, 20, 10, 4, 1, 1, 20.0, 200.5),
    ]
    assert [type(row.input_tokens) for row in found] == [int, int]


@pytest.mark.parametrize(
    ("group_by", "asked", "groups"),
    [
        ("workspace", {}, {"llm-1": 3, "llm-2": 1, "llm-3": 1}),
        ("workspace", {"account_id": "acc-1"}, {"llm-1": 3, "llm-2": 1}),
        ("key", {"workspace_id": "llm-1"}, {"ak-1": 2, "ak-2": 1}),
        ("key", {"key_id": "ak-2"}, {"ak-2": 1}),
        ("model", {"model": "a", "workspace_id": "llm-1"}, {"a": 3}),
        ("model", {"account_id": "acc-9"}, {}),
    ],
)
async def test_usage_of_a_part(engine: AsyncEngine, group_by: str, asked: dict[str, str], groups: dict[str, int]) -> None:
    """A filter shows that tenant's, workspace's, key's or model's calls and no others."""
    found = await usage(engine, start_ms=0, end_ms=10_000, group_by=group_by, **asked)  # type: ignore[arg-type]
    assert {row.group: row.calls for row in found} == groups


async def test_the_total(engine: AsyncEngine) -> None:
    """The total says the same however its rows are grouped; means weigh each call alike."""
    totals = [total(await usage(engine, start_ms=0, end_ms=10_000, group_by=by)) for by in ("model", "workspace", "key")]
    assert totals[0] == totals[1] == totals[2]
    assert totals[0].calls == 5
    assert totals[0].duration_ms == pytest.approx((4 * 100 + 301) / 5)
    assert (totals[0].timed_calls, totals[0].ttft_ms) == (3, 20.0)
    assert total([]) == UsageRow("", 0, 0, 0, 0, 0, 0, 0, None, 0.0)


def _caller(key: str, workspace: str, account: str) -> Principal:
    return Principal(key, KeyKind.STANDARD, KeyStatus.ACTIVE, workspace, account, is_default=True, epoch=1, catalogue_version=1)


@pytest.mark.parametrize(
    ("visible", "groups"),
    [
        (Visible(everything=True), {"ak-1": 3, "ak-2": 1, "ak-3": 1}),
        (Visible(accounts=frozenset({"acc-2"})), {"ak-1": 1}),
        (Visible(accounts=frozenset({"acc-2"}), workspaces=frozenset({"llm-2"})), {"ak-1": 1, "ak-3": 1}),
        (Visible(), {}),
    ],
)
async def test_usage_of_what_is_visible(engine: AsyncEngine, visible: Visible, groups: dict[str, int]) -> None:
    """Nobody learns from a sum what calls of others used, whichever table the sum is read from."""
    for end in (10_000, DAY_MS, DAY_MS + HOUR_MS, 2 * HOUR_MS):
        found = await usage(engine, start_ms=0, end_ms=end, group_by="key", visible=visible)
        assert {row.group: row.calls for row in found} == groups


async def test_refused_calls_stand_beside_the_others(engine: AsyncEngine) -> None:
    """Refused calls are counted for the same group, time and filters as admitted ones, and are in no other number; who had
    nothing but refused calls is shown too."""
    counted = SqlRefusals(engine)
    one, other = _caller("ak-1", "llm-1", "acc-1"), _caller("ak-9", "llm-9", "acc-2")
    for at in (0, MINUTE_MS, HOUR_MS, HOUR_MS + MINUTE_MS, DAY_MS):
        counted.count(at, one, "a", "limit_requests")
    counted.count(0, other, "", "model_not_found")
    await counted.flush()
    for end, refused in ((1, 1), (MINUTE_MS + 1, 2), (HOUR_MS, 2), (HOUR_MS + MINUTE_MS, 3), (DAY_MS, 4), (DAY_MS + 1, 5)):
        found = {row.group: row for row in await usage(engine, start_ms=0, end_ms=end, group_by="key")}
        assert (found["ak-1"].refused, found["ak-9"].refused) == (refused, 1)
        assert found["ak-9"] == UsageRow("ak-9", 0, 0, 0, 0, 0, 0, 0, None, 0.0, 1)
        assert found["ak-1"].calls == (3 if end > 2000 else 0)
    by_model = await usage(engine, start_ms=0, end_ms=DAY_MS, group_by="model", visible=Visible(accounts=frozenset({"acc-2"})))
    assert {row.group: (row.calls, row.refused) for row in by_model} == {"a": (1, 0), "": (0, 1)}
    every = total(await usage(engine, start_ms=0, end_ms=2 * DAY_MS, group_by="workspace"))
    assert (every.calls, every.refused) == (5, 6)
    assert [row.refused for row in await usage(engine, start_ms=0, end_ms=DAY_MS, group_by="key", model="a", key_id="ak-1")] == [
        4
    ]


async def test_whole_days_are_read_from_the_sums_by_day(engine: AsyncEngine) -> None:
    """A question about a month costs what its days cost, not what its hours do."""
    async with writing(engine) as conn:
        await conn.execute(sa.delete(usage_hours))
        await conn.execute(sa.delete(ledger_table))
    assert total(await usage(engine, start_ms=0, end_ms=DAY_MS, group_by="key")).calls == 5
    assert total(await usage(engine, start_ms=-DAY_MS, end_ms=2 * DAY_MS + HOUR_MS + 1, group_by="key")).calls == 5
    assert await usage(engine, start_ms=0, end_ms=DAY_MS - 1, group_by="key") == []
