"""Migrations, on an empty database of either kind."""

import asyncio
import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from gateway.storage.sql.engine import create_engine, reading, writing
from gateway.storage.sql.migrate import SchemaOutdated, check_revision, upgrade
from gateway.storage.sql.tables import accounts, metadata
from tests.storage.sql.rows import add_account, add_workspace

_UPGRADE = "import sys; from gateway.storage.sql.migrate import upgrade; upgrade(sys.argv[1], echo=print)"


def _named(connection: sa.Connection) -> dict[str, set[str | None]]:
    """What the comparison leaves out: the names of constraints, and which indexes are partial."""
    inspector = sa.inspect(connection)
    found: dict[str, set[str | None]] = {}
    for table in set(inspector.get_table_names()) - {"alembic_version"}:
        indexes = [index for index in inspector.get_indexes(table) if "duplicates_constraint" not in index]
        partial = {
            index["name"] for index in indexes if any(name.endswith("_where") for name in index.get("dialect_options", {}))
        }
        names = {index["name"] for index in indexes} | {f"{name} (partial)" for name in partial}
        names |= {key["name"] for key in inspector.get_foreign_keys(table)}
        names |= {unique["name"] for unique in inspector.get_unique_constraints(table)}
        found[table] = names | {inspector.get_pk_constraint(table)["name"]}
    return found


def test_migrations_build_the_schema_that_the_code_works_with(empty_url: str) -> None:
    """The migrations and `tables.py` describe one schema, so that what passes tests also runs in production."""
    upgrade(empty_url)

    async def compare() -> tuple[list[object], dict[str, set[str | None]]]:
        engine = create_engine(empty_url)
        async with reading(engine) as conn:
            options = {"compare_type": True, "compare_server_default": True}
            differences = await conn.run_sync(
                lambda sync: list(compare_metadata(MigrationContext.configure(sync, opts=options), metadata))
            )
            built = await conn.run_sync(_named)
        async with writing(engine) as conn:
            for table in ("alembic_version", *(table.name for table in reversed(metadata.sorted_tables))):
                await conn.execute(sa.text(f"DROP TABLE {table}"))
            await conn.run_sync(metadata.create_all)
            assert built == await conn.run_sync(_named)
        await engine.dispose()
        return differences, built

    differences, built = asyncio.run(compare())
    assert differences == []
    assert "uq_workspaces_default (partial)" in built["workspaces"]


def test_a_second_run_finds_nothing_to_do(empty_url: str) -> None:
    """`gateway migrate` may be run at every start; it says what it did, once."""
    said: list[str] = []
    upgrade(empty_url, echo=said.append)
    assert said == [
        "Migrated to 0001: The schema of the first release.",
        "Migrated to 0002: Hourly roll-ups of the ledger.",
        "Migrated to 0003: People who sign in, and what the console shows: temporary limits, refused calls, usage by day.",
        "Migrated to 0004: When a key was last reset.",
    ]
    upgrade(empty_url, echo=said.append)
    assert len(said) == 4


def test_processes_that_migrate_at_once_do_it_once(empty_url: str) -> None:
    """Several gateways may start together on one empty database; one migrates, and all go on."""
    processes = [
        subprocess.Popen([sys.executable, "-c", _UPGRADE, empty_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    results = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [code for _out, _err, code in results] == [0, 0], results
    assert sum(out.count("Migrated to 0001") for out, _err, _code in results) == 1


def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str) -> None:
    """Migrations are all or nothing on SQLite too, so that a failed one can simply be run again."""

    def fail(_line: str) -> None:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        upgrade(empty_url, echo=fail)

    async def tables() -> list[str]:
        engine = create_engine(empty_url)
        async with reading(engine) as conn:
            found = await conn.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        await engine.dispose()
        return found

    assert asyncio.run(tables()) == []
    upgrade(empty_url)


async def test_an_empty_database_is_refused_with_the_remedy(empty_url: str) -> None:
    """A gateway does not start on a schema that it does not know, and says what to run."""
    engine = create_engine(empty_url)
    with pytest.raises(SchemaOutdated, match="run: gateway migrate"):
        await check_revision(engine)
    await engine.dispose()


async def test_a_newer_schema_is_refused(url: str) -> None:
    """An old program does not write to a schema of a newer one, and does not advise to migrate it."""
    engine = create_engine(url)
    await check_revision(engine)
    async with writing(engine) as conn:
        await conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaOutdated, match="newer than this program"):
        await check_revision(engine)
    with pytest.raises(SchemaOutdated, match="newer than this program"):
        await asyncio.to_thread(upgrade, url)
    await engine.dispose()


async def test_there_is_one_default_at_most(url: str) -> None:
    """The database itself keeps a second default account, and a second default workspace of an account, out."""
    engine = create_engine(url)
    async with writing(engine) as conn:
        await add_account(conn, "acc-1", is_default=True)
        await add_account(conn, "acc-2")
        await add_account(conn, "acc-3")
        await add_workspace(conn, "acc-1", "llm-1", is_default=True)
        await add_workspace(conn, "acc-1", "llm-2")
        await add_workspace(conn, "acc-1", "llm-3")
        await add_workspace(conn, "acc-2", "llm-4", is_default=True)
    with pytest.raises(sa.exc.IntegrityError):
        async with writing(engine) as conn:
            await conn.execute(sa.update(accounts).where(accounts.c.id == "acc-2").values(is_default=True))
    with pytest.raises(sa.exc.IntegrityError):
        async with writing(engine) as conn:
            await add_workspace(conn, "acc-1", "llm-5", is_default=True)
    await engine.dispose()
