"""What the key store reads, and that it is one snapshot."""

import asyncio

import pytest
import sqlalchemy as sa

from gateway.domain.credentials import KeyKind
from gateway.domain.faults import KeyStoreUnavailable
from gateway.domain.grants import KeyStatus, Limits, Model, Principal
from gateway.storage.sql.engine import AsyncEngine, create_engine, reading, writing
from gateway.storage.sql.models import read_catalogue
from gateway.storage.sql.principals import SqlKeyStore, read_rows
from gateway.storage.sql.tables import accounts, api_keys, catalogue, grants, limit_increases, models
from tests.storage.sql.rows import add_account, add_grant, add_increase, add_key, add_limit, add_workspace

DEFAULT, SUB, DISABLED, OTHER, UNKNOWN = (bytes([number]) * 32 for number in range(5))


@pytest.fixture
async def engine(engine: AsyncEngine) -> AsyncEngine:
    """Two accounts; the first has a default and a sub-workspace, and limits of its own."""
    async with writing(engine) as conn:
        for account in ("acc-1", "acc-2"):
            await add_account(conn, account, epoch=7 if account == "acc-1" else 3)
            await add_workspace(conn, account, f"llm-{account}", is_default=True)
        await add_account(conn, "acc-bystander")
        await add_workspace(conn, "acc-1", "llm-sub")
        await add_workspace(conn, "acc-1", "llm-bystander")
        await add_key(conn, "acc-1", "llm-acc-1", DEFAULT, id="ak-1")
        await add_key(conn, "acc-1", "llm-sub", SUB, id="ak-2", models=["a", "b"])
        await add_key(conn, "acc-1", "llm-sub", DISABLED, id="ak-3", status="disabled", kind="sk-sp-")
        await add_key(conn, "acc-2", "llm-acc-2", OTHER, id="ak-4", models=[])
        await add_grant(conn, "llm-sub", "a", 10, 1000)
        await add_grant(conn, "llm-sub", "b", None, None)
        await add_grant(conn, "llm-bystander", "c", 1, 1)
        await add_limit(conn, "acc-1", "a", 20, None)
        await add_limit(conn, "acc-bystander", "a", 1, 1)
        await conn.execute(sa.update(catalogue).values(version=5))
    return engine


async def test_a_key_of_the_default_workspace(engine: AsyncEngine) -> None:
    """A default workspace's key carries its account's limits and epoch, and no grants."""
    found = await SqlKeyStore(engine).principals([DEFAULT])
    assert found == {
        DEFAULT: Principal(
            key_id="ak-1",
            kind=KeyKind.STANDARD,
            status=KeyStatus.ACTIVE,
            workspace_id="llm-acc-1",
            account_id="acc-1",
            is_default=True,
            epoch=7,
            catalogue_version=5,
            account_limits={"a": Limits(rpm=20)},
        )
    }
    assert found[DEFAULT].is_default is True


async def test_a_key_of_a_sub_workspace(engine: AsyncEngine) -> None:
    """A sub-workspace's key carries exactly that workspace's grants, with their limits, and the models it is narrowed to."""
    principal = (await SqlKeyStore(engine).principals([SUB]))[SUB]
    assert principal.is_default is False
    assert principal.grants == {"a": Limits(10, 1000), "b": Limits()}
    assert principal.key_models == frozenset({"a", "b"})


async def test_a_disabled_key_is_a_principal(engine: AsyncEngine) -> None:
    """A disabled key is known as disabled, with its epoch, so that enabling it works at once."""
    principal = (await SqlKeyStore(engine).principals([DISABLED]))[DISABLED]
    assert (principal.status, principal.kind, principal.epoch) == (KeyStatus.DISABLED, KeyKind.PLAN, 7)


async def test_keys_of_several_accounts_do_not_mix(engine: AsyncEngine) -> None:
    """One read of many keys gives each its own account's limits and epoch, and leaves out digests that do not exist."""
    found = await SqlKeyStore(engine).principals([UNKNOWN, OTHER, SUB, DEFAULT])
    assert set(found) == {OTHER, SUB, DEFAULT}
    assert (found[OTHER].account_id, found[OTHER].epoch, found[OTHER].account_limits) == ("acc-2", 3, {})
    assert found[OTHER].key_models == frozenset()
    assert found[OTHER].grants == {}
    assert found[DEFAULT].epoch == found[SUB].epoch == 7


async def test_only_what_the_keys_hold_is_read(engine: AsyncEngine) -> None:
    """A look-up reads no grants and limits of anybody else, so that it costs the same however many tenants there are."""
    async with reading(engine) as conn:
        assert {(owner, model) for _, owner, model, *_ in await read_rows(conn, [SUB])} == {
            ("llm-sub", None),
            ("llm-sub", "a"),
            ("llm-sub", "b"),
            ("acc-1", "a"),
        }


async def test_an_open_increase_comes_before_the_accounts_own_limits(engine: AsyncEngine) -> None:
    """While an increase is open, what it sets holds; what it leaves out, and all once it has ended, is as it was without."""
    async with writing(engine) as conn:
        await add_increase(conn, "acc-1", "a", None, 9000)
        await add_increase(conn, "acc-1", "a", 1, 1, ended_at=500)
        await add_increase(conn, "acc-1", "b", 50, None)
        await add_limit(conn, "acc-2", "a", 60, 6000)
        await add_increase(conn, "acc-2", "a", 70, None, ends_at=1)
        await add_increase(conn, "acc-bystander", "c", 1, 1)
    found = await SqlKeyStore(engine).principals([DEFAULT, SUB, OTHER])
    assert found[DEFAULT].account_limits == found[SUB].account_limits == {"a": Limits(20, 9000), "b": Limits(50)}
    assert found[SUB].grants == {"a": Limits(10, 1000), "b": Limits()}
    assert found[OTHER].account_limits == {"a": Limits(70, 6000)}
    async with writing(engine) as conn:
        await conn.execute(sa.update(limit_increases).values(ended_at=1000))
    found = await SqlKeyStore(engine).principals([DEFAULT, OTHER])
    assert (found[DEFAULT].account_limits, found[OTHER].account_limits) == (
        {"a": Limits(20)},
        {"a": Limits(60, 6000)},
    )


async def test_nothing_is_asked_for(engine: AsyncEngine) -> None:
    """No digests, no principals."""
    assert await SqlKeyStore(engine).principals([]) == {}


async def test_any_number_of_digests(engine: AsyncEngine) -> None:
    """A thousand digests in one call give each key that exists, wherever it stands."""
    strangers = [b"%032d" % number for number in range(1200)]
    asked = [SUB, *strangers[:600], DEFAULT, *strangers[600:], OTHER]
    assert set(await SqlKeyStore(engine).principals(asked)) == {SUB, DEFAULT, OTHER}


async def test_a_principal_is_one_snapshot(engine: AsyncEngine) -> None:
    """Grants never come with another state's epoch, however reads and changes meet: else a revoked grant could stay cached."""
    store = SqlKeyStore(engine)
    done = asyncio.Event()

    async def change() -> None:
        for epoch in range(8, 60):
            async with writing(engine) as conn:
                await conn.execute(sa.update(accounts).where(accounts.c.id == "acc-1").values(epoch=epoch))
                await conn.execute(sa.update(grants).where(grants.c.model == "a").values(rpm=epoch))
                await conn.execute(sa.update(api_keys).where(api_keys.c.id == "ak-2").values(models=[str(epoch)]))
        done.set()

    changing = asyncio.create_task(change())
    seen = set()
    while not done.is_set():
        principal = (await store.principals([SUB]))[SUB]
        if principal.epoch > 7:
            assert principal.grants["a"].rpm == principal.epoch
            assert principal.key_models == frozenset({str(principal.epoch)})
            seen.add(principal.epoch)
    await changing
    assert len(seen) > 1


async def test_the_catalogue(engine: AsyncEngine) -> None:
    """The catalogue comes with its version, also while it is empty."""
    assert await read_catalogue(engine) == (5, {})
    row = {"name": "org/m", "type": "chat", "vendor": None, "rpm": 60, "tpm": None, "created_at": 0, "updated_at": 0}
    async with writing(engine) as conn:
        await conn.execute(sa.insert(models).values([row, {**row, "name": "n", "rpm": None}]))
    version, found = await read_catalogue(engine)
    assert version == 5
    assert found == {"org/m": Model("org/m", "chat", None, Limits(60)), "n": Model("n", "chat")}


async def test_a_database_that_is_away_is_no_unknown_key() -> None:
    """Where the key store cannot be asked it says so, so that a good key is answered 503 and never 401."""
    away = create_engine("postgresql+asyncpg://postgres@/gateway?host=/nonexistent")
    with pytest.raises(KeyStoreUnavailable):
        await SqlKeyStore(away).principals([DEFAULT])
    with pytest.raises(KeyStoreUnavailable):
        await read_catalogue(away)
    await away.dispose()
