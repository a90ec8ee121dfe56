"""PostgreSQL through a PgBouncer in transaction mode: two sessions that all clients share, transaction by transaction."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from gateway.domain.faults import KeyStoreUnavailable
from gateway.storage.sql.bootstrap import ensure_default_account
from gateway.storage.sql.engine import AsyncEngine, create_engine, read, reading, writing
from gateway.storage.sql.ledger import SqlLedger
from gateway.storage.sql.meta import check_pepper
from gateway.storage.sql.migrate import SchemaOutdated, check_revision
from gateway.storage.sql.models import read_catalogue
from gateway.storage.sql.policy import Policy
from gateway.storage.sql.principals import SqlKeyStore
from gateway.storage.sql.tables import accounts, api_keys, ledger
from tests.storage.sql.rows import add_account, add_key, add_limit, add_workspace, entry, rows
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.xdist_group("postgres")
_UPGRADE = "import sys; from gateway.storage.sql.migrate import upgrade; upgrade(sys.argv[1], echo=print, pgbouncer=True)"


@pytest.fixture(scope="module")
def bouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(postgres.folder) as running:
        yield running


@pytest.fixture
def bounced(bouncer: PgBouncer) -> Callable[[str], str]:
    """The URL through PgBouncer of a database, by its direct one."""
    return lambda direct: bouncer.url(direct.partition("@/")[2].partition("?")[0])


@pytest.fixture
def pooled_url(new_postgres: Callable[[str], str], migrated_postgres: str, bounced: Callable[[str], str]) -> str:
    return bounced(new_postgres(migrated_postgres))


@pytest.fixture
async def engines(pooled_url: str) -> AsyncIterator[list[AsyncEngine]]:
    """Three processes' worth of connections."""
    made = [create_engine(pooled_url, pgbouncer=True, statement_seconds=9) for _ in range(3)]
    yield made
    for each in made:
        await each.dispose()


class Raised:
    """A store of limits that takes every epoch."""

    async def raise_epochs(self, _epochs: object) -> None:
        return


async def test_readers_and_writers_that_share_two_sessions(engines: list[AsyncEngine]) -> None:
    """Many statements at once never meet another's: each gets its own answer, and each change holds."""
    digests = [b"%032d" % number for number in range(30)]
    async with writing(engines[0]) as connection:
        for number, digest in enumerate(digests):
            await add_account(connection, f"acc-{number}")
            await add_workspace(connection, f"acc-{number}", f"llm-{number}", is_default=True)
            await add_key(connection, f"acc-{number}", f"llm-{number}", digest, models=[f"m-{number}"])

    async def look(turn: int) -> None:
        engine = engines[turn % 3]
        wanted = [digests[turn % 30], digests[(turn * 7 + 1) % 30]]
        found = await SqlKeyStore(engine).principals(wanted)
        assert {digest: found[digest].key_models for digest in wanted} == {
            digest: frozenset({f"m-{digests.index(digest)}"}) for digest in wanted
        }
        assert (await read_catalogue(engine))[0] == 1

    async def change(turn: int) -> None:
        async with Policy(engines[turn % 3], Raised()).change(f"acc-{turn % 5}") as connection:
            await add_limit(connection, f"acc-{turn % 5}", f"model-{turn}", turn, None)

    await asyncio.gather(*(work(turn) for turn in range(1, 61) for work in (look, change)))
    epochs = dict(await rows(engines[0], accounts, "id", "epoch"))
    assert {account: epochs[account] for account in ("acc-0", "acc-4", "acc-5")} == {"acc-0": 13, "acc-4": 13, "acc-5": 1}
    found = await SqlKeyStore(engines[1]).principals([digests[3]])
    assert len(found[digests[3]].account_limits) == 12


async def test_starts_that_race_and_the_ledger(engines: list[AsyncEngine]) -> None:
    """Processes that start at once agree on pepper and default account, and each ledger entry is stored once."""
    await asyncio.gather(*(check_revision(engine) for engine in engines))
    await asyncio.gather(*(check_pepper(engine, "pepper") for engine in engines))
    first = await asyncio.gather(*(ensure_default_account(engine) for engine in engines))
    assert sum(each.first_start for each in first) == 1
    async with writing(engines[0]) as connection:
        await add_key(connection, first[0].account_id, first[0].workspace_id, b"d" * 32, id="ak-1")
    entries = [entry(key_id="ak-1", at=1_700_000_000_000 + number) for number in range(700)]
    for engine in engines:
        writer = SqlLedger(engine)
        for each in entries:
            writer.append(each)
        await writer.flush()
    assert len(await rows(engines[0], ledger, "call_id")) == 700
    assert await rows(engines[1], api_keys, "last_used_at") == [(1_700_000_000_699,)]


async def test_nothing_stays_in_a_session(engines: list[AsyncEngine], pooled_url: str) -> None:
    """No prepared statement and no time-out is left behind for the next client of a session."""
    for engine in engines:
        await asyncio.gather(*(read_catalogue(engine) for _ in range(10)), check_pepper(engine, "pepper"))
    plain = pooled_url.replace("+asyncpg", "")
    clients = [await asyncpg.connect(plain, statement_cache_size=0) for _ in range(2)]
    sessions = set()
    for client in clients:
        await client.execute("BEGIN")  # each now holds one of the two sessions
    for client in clients:
        query = "SELECT pg_backend_pid(), current_setting('statement_timeout'), (SELECT count(*) FROM pg_prepared_statements)"
        session, *left = await client.fetchrow(query)
        sessions.add(session)
        assert left == ["0", 0]
        await client.close()
    assert len(sessions) == 2


async def test_a_statement_that_takes_too_long_through_pgbouncer(pooled_url: str) -> None:
    """The bound on a statement's time holds within every transaction, reading or writing, without a start-up parameter."""
    engine = create_engine(pooled_url, pgbouncer=True, statement_seconds=0.1)
    for block in (reading, writing):
        with pytest.raises(KeyStoreUnavailable if block is reading else Exception, match="statement timeout"):
            async with block(engine) as connection:
                await connection.execute(sa.select(sa.func.pg_sleep(30)))
    assert (await read_catalogue(engine))[0] == 1
    await engine.dispose()


async def test_without_the_setting_pgbouncer_refuses(pooled_url: str) -> None:
    """A gateway that was not told of the PgBouncer does not go half-way: its first connection fails, with PgBouncer's words."""
    engine = create_engine(pooled_url)
    with pytest.raises(KeyStoreUnavailable, match="unsupported startup parameter: statement_timeout"):
        await read_catalogue(engine)
    await engine.dispose()


def test_processes_that_migrate_at_once_through_pgbouncer(
    new_postgres: Callable[[str], str], bounced: Callable[[str], str]
) -> None:
    """Migrations need no session of their own: three processes at once migrate once, and the schema is whole."""
    direct = new_postgres("template0")
    command = [sys.executable, "-c", _UPGRADE, bounced(direct)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    results = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [code for _out, _err, code in results] == [0, 0, 0], results
    assert sum(out.count("Migrated to 0001") for out, _err, _code in results) == 1

    async def look() -> None:
        engine = create_engine(direct)
        try:
            await check_revision(engine)
        except SchemaOutdated as error:
            pytest.fail(str(error))
        finally:
            await engine.dispose()

    asyncio.run(look())


async def test_reads_are_repeated_when_pgbouncer_lost_the_server(engines: list[AsyncEngine], postgres: PostgresServer) -> None:
    """A session that PostgreSQL closed is PgBouncer's to replace; the read that met it is repeated."""
    engine = engines[0]
    assert (await read_catalogue(engine))[0] == 1
    turns = 0

    async def work(connection: Any) -> int:
        nonlocal turns
        turns += 1
        pid = (await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
        if turns == 1:
            await asyncio.to_thread(postgres.psql, f"SELECT pg_terminate_backend({pid})")
        return int((await connection.execute(sa.text("SELECT 7"))).scalar_one())

    assert await read(engine, work) == 7
    assert turns == 2
