"""Sums over the ledger."""

import pytest

from gateway.storage.sql.engine import AsyncEngine
from gateway.storage.sql.ledger import SqlLedger
from gateway.storage.sql.usage import UsageRow, total, usage
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
