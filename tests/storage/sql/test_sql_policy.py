"""Changes of policy: committed, raised, marked, then acknowledged (admission.md, Epochs, rule 1)."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.storage.sql.engine import AsyncConnection, AsyncEngine, StorageUnavailable, create_engine, writing
from gateway.storage.sql.policy import NotYetInForce, Policy, UnknownAccount
from gateway.storage.sql.tables import accounts, catalogue, workspaces
from tests.storage.sql.rows import add_account, add_workspace, rows
from tests.support.processes import free_port


class Epochs:
    """A store of epochs that remembers each raise, and can fail or wait."""

    def __init__(self) -> None:
        self.raised: list[dict[str, int]] = []
        self.fault: Exception | None = None
        self.called = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def raise_epochs(self, epochs: Mapping[str, int]) -> None:
        self.called.set()
        await self.go_on.wait()
        if self.fault is not None:
            raise self.fault
        self.raised.append(dict(epochs))


@pytest.fixture
def epochs() -> Epochs:
    return Epochs()


@pytest.fixture
async def engine(engine: AsyncEngine) -> AsyncEngine:
    async with writing(engine) as conn:
        await add_account(conn, "acc-1")
        await add_account(conn, "acc-2")
    return engine


@pytest.fixture
def policy(engine: AsyncEngine, epochs: Epochs) -> Policy:
    return Policy(engine, epochs)


async def _epochs(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    return await rows(engine, accounts, "id", "epoch", "raised_epoch")


async def _workspaces(engine: AsyncEngine) -> list[str]:
    return [str(row[0]) for row in await rows(engine, workspaces, "id")]


async def test_a_change_is_saved_raised_and_marked(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """When the block is left, the change is committed and its epoch is in force; no other account is touched."""
    async with policy.change("acc-1") as conn:
        await add_workspace(conn, "acc-1", "llm-1")
        assert epochs.raised == []
    assert epochs.raised == [{"acc-1": 2}]
    assert await _epochs(engine) == [("acc-1", 2, 2), ("acc-2", 1, 1)]
    assert await _workspaces(engine) == ["llm-1"]


async def test_it_is_raised_after_the_commit(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """An epoch is never in force before what it stands for can be read: else the old state would be cached under it."""
    epochs.go_on.clear()

    async def change() -> None:
        async with policy.change("acc-1") as conn:
            await add_workspace(conn, "acc-1", "llm-1")

    changing = asyncio.create_task(change())
    await epochs.called.wait()
    assert await _workspaces(engine) == ["llm-1"]
    assert await _epochs(engine) == [("acc-1", 2, 1), ("acc-2", 1, 1)]
    assert not changing.done()
    epochs.go_on.set()
    await changing
    assert await _epochs(engine) == [("acc-1", 2, 2), ("acc-2", 1, 1)]


async def test_an_unknown_account(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """Nothing can be changed in an account that does not exist."""
    with pytest.raises(UnknownAccount):
        async with policy.change("acc-9"):
            pytest.fail("the block must not be entered")
    assert epochs.raised == []


async def test_a_block_that_raises_changes_nothing(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """A refused change leaves no trace: neither rows nor a raised epoch."""

    async def change(changing: AbstractAsyncContextManager[AsyncConnection]) -> None:
        async with changing as conn:
            await add_workspace(conn, "acc-1", "llm-1")
            raise LookupError

    for changing in (policy.change("acc-1"), policy.change_catalogue()):
        with pytest.raises(LookupError):
            await change(changing)
    assert epochs.raised == []
    assert await _epochs(engine) == [("acc-1", 1, 1), ("acc-2", 1, 1)]
    assert await _workspaces(engine) == []
    assert await rows(engine, catalogue, "version") == [(1,)]


async def test_a_raise_that_fails_is_told_and_finished_later(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """A change that is saved but not in force is never acknowledged as done; the sweeper puts it in force."""
    epochs.fault = ConnectionError("no store")
    with pytest.raises(NotYetInForce, match="no store"):
        async with policy.change("acc-1") as conn:
            await add_workspace(conn, "acc-1", "llm-1")
    assert await _workspaces(engine) == ["llm-1"]
    assert await _epochs(engine) == [("acc-1", 2, 1), ("acc-2", 1, 1)]
    with pytest.raises(NotYetInForce):
        await policy.sweep()
    assert await _epochs(engine) == [("acc-1", 2, 1), ("acc-2", 1, 1)]
    epochs.fault = None
    assert await policy.sweep() == 1
    assert epochs.raised == [{"acc-1": 2}]
    assert await _epochs(engine) == [("acc-1", 2, 2), ("acc-2", 1, 1)]
    assert await policy.sweep() == 0


async def test_a_raise_that_hangs_is_given_up(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """A store of epochs that does not answer holds no admin call up for ever."""
    policy = Policy(engine, epochs, raise_seconds=0.05)
    epochs.go_on.clear()
    with pytest.raises(NotYetInForce):
        async with policy.change("acc-1"):
            pass
    assert await _epochs(engine) == [("acc-1", 2, 1), ("acc-2", 1, 1)]


async def test_a_caller_that_leaves_after_the_commit(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """A change that was committed is raised and marked even if its caller is cancelled meanwhile, and again."""
    epochs.go_on.clear()

    async def change() -> None:
        async with policy.change("acc-1") as conn:
            await add_workspace(conn, "acc-1", "llm-1")

    changing = asyncio.create_task(change())
    await epochs.called.wait()
    for _ in range(2):
        changing.cancel()
        await asyncio.sleep(0.01)
    assert not changing.done()
    epochs.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await changing
    assert epochs.raised == [{"acc-1": 2}]
    assert await _epochs(engine) == [("acc-1", 2, 2), ("acc-2", 1, 1)]


async def test_a_caller_that_leaves_before_the_commit(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """A change whose caller is cancelled inside the block is rolled back, and the next one goes through."""
    entered = asyncio.Event()

    async def change() -> None:
        async with policy.change("acc-1") as conn:
            await add_workspace(conn, "acc-1", "llm-1")
            entered.set()
            await asyncio.Event().wait()

    changing = asyncio.create_task(change())
    await entered.wait()
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    assert await _workspaces(engine) == []
    async with policy.change("acc-1"):
        pass
    assert epochs.raised == [{"acc-1": 2}]


async def test_changes_that_arrive_together(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """Each change of an account gets an epoch of its own, and counts made inside the block hold: no change is lost in another."""
    counted: list[int] = []

    async def change(number: int) -> None:
        async with policy.change("acc-1") as conn:
            query = sa.select(sa.func.count()).select_from(workspaces)
            counted.append((await conn.execute(query)).scalar_one())
            await add_workspace(conn, "acc-1", f"llm-{number}")

    await asyncio.gather(*(change(number) for number in range(20)))
    assert sorted(raised["acc-1"] for raised in epochs.raised) == list(range(2, 22))
    assert sorted(counted) == list(range(20))
    assert await _epochs(engine) == [("acc-1", 21, 21), ("acc-2", 1, 1)]


async def test_a_change_of_the_catalogue(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """A change of the catalogue is in force for every account when the block is left, and has a version of its own."""
    async with policy.change("acc-2"):
        pass
    async with policy.change_catalogue():
        pass
    assert epochs.raised == [{"acc-2": 2}, {"acc-1": 2, "acc-2": 3}]
    assert await _epochs(engine) == [("acc-1", 2, 2), ("acc-2", 3, 3)]
    assert await rows(engine, catalogue, "version") == [(2,)]


async def test_changes_of_accounts_and_of_the_catalogue_together(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """Changes of accounts and of the catalogue that meet all end, none blocks another for good, and none shares an epoch."""

    async def change(account: str) -> None:
        async with policy.change(account):
            pass

    async def change_catalogue() -> None:
        async with policy.change_catalogue():
            pass

    await asyncio.gather(*(each for _ in range(8) for each in (change("acc-1"), change_catalogue(), change("acc-2"))))
    assert await rows(engine, catalogue, "version") == [(9,)]
    assert await _epochs(engine) == [("acc-1", 17, 17), ("acc-2", 17, 17)]
    for account in ("acc-1", "acc-2"):
        assert sorted(raised[account] for raised in epochs.raised if account in raised) == list(range(2, 18))


async def test_an_account_made_during_a_change_of_the_catalogue(engine: AsyncEngine, policy: Policy, epochs: Epochs) -> None:
    """An account is either made before a change of the catalogue, and raised by it, or after: it keeps no key of the old one."""

    async def make(number: int) -> None:
        async with writing(engine) as conn:
            await add_account(conn, f"acc-new-{number}")

    async with policy.change_catalogue():
        making = asyncio.create_task(make(1))
        await asyncio.sleep(0.2)
        assert len(await _epochs(engine)) == 2
    await making
    assert len(await _epochs(engine)) == 3


async def test_how_long_a_change_took_to_hold(policy: Policy, epochs: Epochs) -> None:
    """From the commit until it is in force; of a change that was not in time it is told once the sweeper put it there."""
    epochs.go_on.clear()

    async def change() -> None:
        async with policy.change("acc-1"):
            pass

    changing = asyncio.create_task(change())
    await epochs.called.wait()
    await asyncio.sleep(0.1)
    epochs.go_on.set()
    await changing
    held = policy.held.of()
    assert (held.count, 0.1 <= held.sum < 5) == (1, True)
    epochs.fault = OSError("away")
    for account in ("acc-1", "acc-2"):
        with pytest.raises(NotYetInForce):
            async with policy.change(account):
                pass
    assert held.count == 1
    epochs.fault = None
    await asyncio.sleep(0.1)
    assert await policy.sweep() == 2
    assert (held.count, held.sum >= 0.3) == (3, True)
    assert await policy.sweep() == 0
    assert held.count == 3


async def test_the_sweep_tells_whether_the_database_answers(engine: AsyncEngine, epochs: Epochs) -> None:
    """A sweep that cannot read says so, until one can."""
    away = create_engine(f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/none", connect_seconds=1)
    policy = Policy(away, epochs)
    seen = [policy.reached]
    with pytest.raises(StorageUnavailable):
        await policy.sweep()
    seen.append(policy.reached)
    policy._engine = engine
    await policy.sweep()
    assert [*seen, policy.reached] == [True, False, True]
    await away.dispose()
