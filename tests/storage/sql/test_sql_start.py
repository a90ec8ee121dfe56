"""What a start stores or compares: the pepper's fingerprint, the default account."""

import asyncio

import pytest

from gateway.storage.sql.bootstrap import ensure_default_account
from gateway.storage.sql.engine import AsyncEngine, create_engine
from gateway.storage.sql.meta import PepperMismatch, check_pepper
from gateway.storage.sql.tables import accounts, workspaces
from tests.storage.sql.rows import rows


async def test_the_pepper_of_the_first_start_holds(engine: AsyncEngine) -> None:
    """A process with another pepper refuses to start, and says how to go on; the right one starts as often as it likes."""
    await check_pepper(engine, "first")
    await check_pepper(engine, "first")
    with pytest.raises(PepperMismatch, match="GATEWAY_KEY_PEPPER"):
        await check_pepper(engine, "second")
    await check_pepper(engine, "first")


async def test_peppers_that_race(url: str) -> None:
    """Of processes that start at once on a new database with peppers of their own, one wins and the others are refused."""
    engines = [create_engine(url) for _ in range(4)]
    results = await asyncio.gather(
        *(check_pepper(engine, f"pepper-{number}") for number, engine in enumerate(engines)), return_exceptions=True
    )
    for engine in engines:
        await engine.dispose()
    assert results.count(None) == 1
    assert sum(isinstance(result, PepperMismatch) for result in results) == 3


async def test_the_default_account_is_made_once(engine: AsyncEngine) -> None:
    """The second start finds the account of the first, and knows that it is not the first."""
    first = await ensure_default_account(engine)
    second = await ensure_default_account(engine)
    assert first.first_start
    assert not second.first_start
    assert (first.account_id, first.workspace_id) == (second.account_id, second.workspace_id)
    assert await rows(engine, accounts, "id", "name", "is_default") == [(first.account_id, "default", True)]
    assert await rows(engine, workspaces, "id", "account_id", "name", "is_default") == [
        (first.workspace_id, first.account_id, "default", True)
    ]


async def test_first_starts_that_race(url: str) -> None:
    """Of processes that start at once, one makes the default account (and so prints the one first key), and all use it."""
    engines = [create_engine(url) for _ in range(6)]
    results = await asyncio.gather(*(ensure_default_account(engine) for engine in engines))
    for engine in engines:
        await engine.dispose()
    assert sum(result.first_start for result in results) == 1
    assert len({(result.account_id, result.workspace_id) for result in results}) == 1
