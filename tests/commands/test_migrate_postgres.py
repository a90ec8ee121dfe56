"""`gateway migrate`, `serve` and `check` on PostgreSQL, as processes of their own; and migrating the embedded file at once."""

import asyncio
import subprocess
import sys
import zlib
from collections.abc import Iterator

import asyncpg
import pytest
from sqlalchemy import make_url

from gateway.domain.faults import StorageUnavailable
from gateway.storage.sql import migrate
from tests.commands.cli_runner import Cli
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database."""
    name = f"db_{zlib.crc32(request.node.name.encode())}"
    server.psql(f"CREATE DATABASE {name}")
    yield server.url_of(name).replace("+asyncpg", "")
    server.psql(f"DROP DATABASE {name} WITH (FORCE)")


def tables(server: PostgresServer, url: str) -> str:
    """The names of a database's tables, as psql prints them."""
    name = make_url(url).database
    return server.psql(f"\\c {name}\nSELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'")


def at_once(cli: Cli, count: int, **env: str) -> list[str]:
    """What `count` processes of `gateway migrate` print that are started together. Each has to end well."""
    cli.data.mkdir(mode=0o700, exist_ok=True)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "gateway", "migrate"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cli.folder,
            env=cli.env(env),
        )
        for _ in range(count)
    ]
    results = [(*process.communicate(timeout=90), process.returncode) for process in processes]
    assert [code for _out, _err, code in results] == [0] * count, results
    return [out for out, _err, _code in results]


def test_serve_checks_the_schema_and_leaves_it_alone(cli: Cli, server: PostgresServer, url: str) -> None:
    """On PostgreSQL `gateway serve` does not migrate: it says what to run, and has changed nothing. So does `gateway check`."""
    ran = cli.process("serve", "--port", "0", GATEWAY_DATABASE_URL=url)
    assert ran.code == 1
    assert "run: gateway migrate" in ran.stderr
    assert "accounts" not in tables(server, url)
    checked = cli("check", GATEWAY_DATABASE_URL=url)
    assert checked.code == 1
    assert "run: gateway migrate" in checked.stdout


def test_migrating_by_another_address(cli: Cli, server: PostgresServer, url: str) -> None:
    """Processes that migrate at once use the address meant for it, past a PgBouncer that is served from; one does the work."""
    with PgBouncer(server.folder) as bouncer:
        pooled = bouncer.url(str(make_url(url).database))
        env = {"GATEWAY_DATABASE_URL": pooled, "GATEWAY_STORAGE_PGBOUNCER": "true", "GATEWAY_MIGRATE_DATABASE_URL": url}
        said = at_once(cli, 2, **env)
        assert sum("Migrated to 0001" in out for out in said) == 1
        assert "accounts" in tables(server, url)
        assert "its schema is up to date" in cli("check", **env).stdout
        ran = cli("check", GATEWAY_DATABASE_URL=pooled)
        assert ran.code == 1
        assert "GATEWAY_STORAGE_PGBOUNCER" in ran.stdout


def test_the_address_for_migrations_is_all_that_migrate_needs(cli: Cli, server: PostgresServer, url: str) -> None:
    """The address that is served from need not answer while migrations run by their own."""
    away = "postgresql://postgres@127.0.0.1:1/gateway"
    assert cli("migrate", GATEWAY_DATABASE_URL=away, GATEWAY_MIGRATE_DATABASE_URL=url).code == 0
    assert "accounts" in tables(server, url)


def test_the_embedded_file_is_migrated_once_by_processes_at_once(cli: Cli) -> None:
    """The same holds for the file: several processes, one that migrates."""
    assert sum("Migrated to 0001" in out for out in at_once(cli, 2)) == 1
    assert (cli.data / "gateway.db").stat().st_size > 0


async def test_a_table_that_others_hold(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration gives up on what others keep locked, before all calls queue up behind it, and can be repeated."""
    monkeypatch.setattr(migrate, "_TABLE_LOCK_SECONDS", 0.2)
    driver = url.replace("postgresql:", "postgresql+asyncpg:")
    other = await asyncpg.connect(url)
    await other.execute("BEGIN; CREATE TABLE audit (x int)")
    with pytest.raises(StorageUnavailable, match="lock timeout"):
        await asyncio.to_thread(migrate.upgrade, driver)
    await other.execute("ROLLBACK")
    assert await other.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await asyncio.to_thread(migrate.upgrade, driver)
    assert await other.fetchval("SELECT count(*) FROM accounts") == 0
    await other.close()
