"""That a look-up stays quick however many keys there are: by the unique index, with what it holds shared."""

import random
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from gateway.storage.sql.engine import create_engine, reading, writing
from gateway.storage.sql.principals import BY_ARRAY, SqlKeyStore
from gateway.storage.sql.tables import account_limits, accounts
from loadtests.million_keys import digest_of, fill, plan

pytestmark = pytest.mark.xdist_group("postgres")
KEYS = 20_000


@pytest.fixture(scope="module")
def filled(new_postgres: Callable[[str], str], migrated_postgres: str) -> str:
    return new_postgres(migrated_postgres)


async def test_a_key_is_found_by_the_unique_index(filled: str) -> None:
    """One key or 500 of 20,000: no plan reads the table of keys from end to end."""
    engine = create_engine(filled, statement_seconds=60)
    await fill(engine, KEYS, 500, lambda _text: None)
    async with reading(engine) as connection:
        for size in (1, 32, 500):
            digests = [digest_of(number) for number in random.Random(size).sample(range(1, KEYS + 1), size)]
            lines = await plan(connection, digests)
            assert "uq_api_keys_digest" in lines
            assert "Seq Scan on api_keys" not in lines
            assert f"rows={size}.00" in lines or f"rows={size} " in lines
        # What a connection goes over to after a few look-ups: a plan that knows nothing of the digests.
        await connection.exec_driver_sql(f"PREPARE look AS {BY_ARRAY.compile(dialect=connection.dialect)}")
        await connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
        explained = await connection.exec_driver_sql("EXPLAIN EXECUTE look(ARRAY[sha256('1')])")
        lines = "\n".join(row[0] for row in explained)
        assert "uq_api_keys_digest" in lines
        assert "Index Cond: (digest = ANY ($1))" in lines
        assert "Seq Scan on api_keys" not in lines
    await engine.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_keys_of_one_workspace_share_what_they_hold(url: str) -> None:
    """Keys read apart hold the same grants, limits and identifiers once; a change shows in what is read later alone."""
    engine = create_engine(url)
    await fill(engine, 10, 1, lambda _text: None)
    store = SqlKeyStore(engine)
    one = (await store.principals([digest_of(1)]))[digest_of(1)]
    other = (await store.principals([digest_of(6)]))[digest_of(6)]
    assert one.workspace_id == other.workspace_id
    assert one.key_id != other.key_id
    assert len(one.grants) == len(one.account_limits) == 5
    for name in ("grants", "account_limits", "workspace_id", "account_id"):
        assert getattr(one, name) is getattr(other, name)
    async with writing(engine) as connection:
        await connection.execute(sa.update(account_limits).where(account_limits.c.model == "model-1").values(rpm=1))
        await connection.execute(sa.update(accounts).values(epoch=2))
    new = (await store.principals([digest_of(1)]))[digest_of(1)]
    assert new.account_limits["model-1"].rpm == 1
    assert one.account_limits["model-1"].rpm == 600
    assert new.grants is one.grants
    await engine.dispose()
