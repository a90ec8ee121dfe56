"""Bringing a database's schema up to date, and telling whether it is.

The scripts stand in `migrations/`, beside the package in a checkout and inside it when installed.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.storage.sql.engine import create_engine, reading, writing

_PACKAGE = Path(__file__).resolve().parents[2]
# Any number will do, as long as nothing else that uses this database takes it: "gateway" in ASCII.
_LOCK = int.from_bytes(b"gateway")
_TABLE_LOCK_SECONDS = 5.0


class SchemaOutdated(Exception):  # noqa: N818 — says what is wrong
    """The schema and the program are of different versions; the message says which is behind, and the remedy."""


def upgrade(url: str, *, echo: Callable[[str], None] | None = None, pgbouncer: bool = False) -> None:
    """Apply the migrations that the database lacks, all or none; `echo` is told of each.

    Runs an event loop of its own, so it is called outside of one. Several processes may call it at once: one does the work while
    the others wait, and then find nothing to do. On PostgreSQL a table that others keep locked for five seconds has it give up,
    since whoever comes after would wait behind it. Raises SchemaOutdated for a database of a newer program, StorageUnavailable.
    """
    asyncio.run(_upgrade(url, echo, pgbouncer=pgbouncer))


async def _upgrade(url: str, echo: Callable[[str], None] | None, *, pgbouncer: bool) -> None:
    engine = create_engine(url, statement_seconds=None, pgbouncer=pgbouncer)
    try:
        async with writing(engine) as connection:
            if connection.dialect.name == "postgresql":
                # SQLite has its write lock already. Both end with the transaction, so that PgBouncer can stand in between.
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                await connection.execute(sa.text(f"SET LOCAL lock_timeout = {int(_TABLE_LOCK_SECONDS * 1000)}"))
            await connection.run_sync(_run, echo)
    finally:
        await engine.dispose()


def _run(connection: sa.Connection, echo: Callable[[str], None] | None) -> None:
    config = _config()
    _lacks(connection, ScriptDirectory.from_config(config))
    config.attributes["connection"] = connection
    config.attributes["echo"] = echo
    command.upgrade(config, "head")


async def check_revision(engine: AsyncEngine) -> None:
    """Raises SchemaOutdated unless the database has every migration and none that is unknown here; KeyStoreUnavailable."""
    scripts = ScriptDirectory.from_config(_config())
    async with reading(engine) as connection:
        if await connection.run_sync(_lacks, scripts):
            raise SchemaOutdated("The database's schema is older than this program; run: gateway migrate")


def _lacks(connection: sa.Connection, scripts: ScriptDirectory) -> bool:
    """Whether the database lacks a migration. Raises SchemaOutdated if it has one that is unknown here."""
    present = set(MigrationContext.configure(connection).get_current_heads())
    if not present <= {script.revision for script in scripts.walk_revisions()}:
        raise SchemaOutdated("The database's schema is newer than this program; update the gateway, or name another database.")
    return present != set(scripts.get_heads())


def _config() -> Config:
    installed = _PACKAGE / "migrations"
    config = Config()
    config.set_main_option("script_location", str(installed if installed.is_dir() else _PACKAGE.parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
