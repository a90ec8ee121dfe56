"""Temporary increases of limits: kept as a history, and ended on time by whoever comes first."""

import asyncio
from collections.abc import Mapping

import pytest
import sqlalchemy as sa

from gateway.domain.grants import Limits
from gateway.storage.sql import increases
from gateway.storage.sql.engine import AsyncEngine, reading, writing
from gateway.storage.sql.increases import IncreaseRow, end_due
from gateway.storage.sql.policy import NotYetInForce, Policy
from gateway.storage.sql.tables import accounts, audit, limit_increases
from tests.storage.sql.rows import add_account, add_increase, rows


class Epochs:
    """A store of epochs that remembers each raise, and can be away."""

    def __init__(self) -> None:
        self.raised: list[dict[str, int]] = []
        self.away = False

    async def raise_epochs(self, epochs: Mapping[str, int]) -> None:
        if self.away:
            raise ConnectionError
        self.raised.append(dict(epochs))


@pytest.fixture
def epochs() -> Epochs:
    return Epochs()


@pytest.fixture
def policy(engine: AsyncEngine, epochs: Epochs) -> Policy:
    return Policy(engine, epochs)


@pytest.fixture
async def engine(engine: AsyncEngine) -> AsyncEngine:
    """Two accounts: the first has two increases that end at 1000, one that ends later, and one that somebody has ended."""
    async with writing(engine) as conn:
        for account in ("acc-1", "acc-2", "acc-3"):
            await add_account(conn, account)
        await add_increase(conn, "acc-1", "a", 10, 1000, id="inc-1")
        await add_increase(conn, "acc-1", "b", 20, None, id="inc-2", created_at=5)
        await add_increase(conn, "acc-1", "c", 30, None, id="inc-3", ends_at=2000, created_at=5)
        await add_increase(conn, "acc-1", "a", 40, None, id="inc-4", ended_at=700)
        await add_increase(conn, "acc-2", "a", None, 50, id="inc-5", ends_at=999)
    return engine


async def _open(engine: AsyncEngine) -> set[str]:
    return {str(row[0]) for row in await rows(engine, limit_increases, "id", "ended_at") if row[1] is None}


async def test_an_increase_is_read_as_it_was_made(engine: AsyncEngine) -> None:
    """What somebody set, why and until when, is what everybody reads; an ended one is no longer in force."""
    made = IncreaseRow("inc-9", "acc-3", "m", Limits(7, None), "a launch", "ada@example.org", 3, 9, base=Limits(5, 50))
    async with writing(engine) as conn:
        await increases.insert(conn, made)
    async with reading(engine) as conn:
        assert await increases.get_open(conn, "acc-3", "m") == made
        assert await increases.get(conn, "acc-3", "inc-9") == made
        assert await increases.get(conn, "acc-1", "inc-9") is None
        assert await increases.get_open(conn, "acc-3", "a") is None
        one = await increases.get_open(conn, "acc-1", "a")
        assert one is not None
        assert one.id == "inc-1"
        assert {model: row.id for model, row in (await increases.open_of_account(conn, "acc-1")).items()} == {
            "a": "inc-1",
            "b": "inc-2",
            "c": "inc-3",
        }


async def test_two_are_never_open_at_once(engine: AsyncEngine) -> None:
    """Which increase holds is never a question: the database refuses a second one for the same model."""
    with pytest.raises(sa.exc.IntegrityError):
        async with writing(engine) as conn:
            await add_increase(conn, "acc-1", "a", 1, None)
    async with writing(engine) as conn:
        assert await increases.end(conn, "inc-1", 600, "ada@example.org") is True
        assert await increases.end(conn, "inc-1", 601, "bob@example.org") is False
        await add_increase(conn, "acc-1", "a", 1, None, id="inc-6")
    assert await _open(engine) == {"inc-2", "inc-3", "inc-5", "inc-6"}
    assert ("inc-1", 600, "ada@example.org") in await rows(engine, limit_increases, "id", "ended_at", "ended_by")


async def test_the_history_is_paged(engine: AsyncEngine) -> None:
    """Every increase of an account is found once, the newest first, also where several were made at one time."""
    found: list[str] = []
    before = None
    async with reading(engine) as conn:
        while page := await increases.page(conn, "acc-1", limit=2, before=before):
            found += [row.id for row in page]
            before = (page[-1].created_at, page[-1].id)
        assert found == ["inc-3", "inc-2", "inc-4", "inc-1"]
        assert [row.id for row in await increases.page(conn, "acc-1", model="a", limit=9, before=None)] == ["inc-4", "inc-1"]


async def test_those_that_are_due_end(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """At its time an increase ends, with its account's epoch raised and a line in the audit trail; others stay."""
    assert await end_due(policy, engine, 998) == 0
    assert epochs.raised == []
    assert await end_due(policy, engine, 1000) == 3
    assert await _open(engine) == {"inc-3"}
    assert epochs.raised == [{"acc-1": 2}, {"acc-2": 2}]
    assert await rows(engine, accounts, "id", "epoch", "raised_epoch") == [("acc-1", 2, 2), ("acc-2", 2, 2), ("acc-3", 1, 1)]
    assert await rows(engine, audit, "target", "at", "actor", "action", "account_id") == [
        ("acc-1/a", 1000, "gateway", "limits.increase_ended", "acc-1"),
        ("acc-1/b", 1000, "gateway", "limits.increase_ended", "acc-1"),
        ("acc-2/a", 1000, "gateway", "limits.increase_ended", "acc-2"),
    ]
    assert await end_due(policy, engine, 1500) == 0
    assert len(epochs.raised) == 2


async def test_many_processes_end_each_one_once(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """However many sweep at once, no increase ends twice, and those who come late raise nothing."""
    counts = await asyncio.gather(*(end_due(policy, engine, 1000) for _ in range(4)))
    assert sum(counts) == 3
    assert len(await rows(engine, audit, "id")) == 3
    assert sorted(map(str, epochs.raised)) == ["{'acc-1': 2}", "{'acc-2': 2}"]


async def test_a_store_of_limits_that_is_away(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """Increases end in the database all the same, which is what counts then, and the raise is left to the sweeper."""
    epochs.away = True
    with pytest.raises(NotYetInForce):
        await end_due(policy, engine, 1000)
    assert await _open(engine) == {"inc-3"}
    epochs.away = False
    assert await policy.sweep() == 2
    assert epochs.raised == [{"acc-1": 2, "acc-2": 2}]
