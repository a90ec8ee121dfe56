"""Inserting what is not there yet: how two processes can do the same thing at once and it is done once."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_if_absent(connection: AsyncConnection, table: sa.Table) -> sa.Insert:
    """An insert that leaves out every row which a unique index of the table forbids. Its `rowcount` says what was inserted."""
    build: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    insert: sa.Insert = build(table).on_conflict_do_nothing()
    return insert
