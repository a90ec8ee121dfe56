"""Runs migrations on the connection that `gateway.storage.sql.migrate` hands over, within its transaction."""

from collections.abc import Callable
from typing import Any, cast

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script

from gateway.storage.sql.tables import metadata

echo: Callable[[str], None] | None = context.config.attributes.get("echo")


def applied(ctx: MigrationContext, step: MigrationInfo, heads: Any, run_args: Any) -> None:  # noqa: ARG001 — Alembic's own names
    if echo is not None:
        script = cast("Script | None", step.up_revision)
        echo(f"Migrated to {step.up_revision_id}: {script.doc if script is not None else ''}")


connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("Migrations are run by: gateway migrate")
context.configure(
    connection=connection,
    target_metadata=metadata,
    on_version_apply=applied,
)
with context.begin_transaction():
    context.run_migrations()
