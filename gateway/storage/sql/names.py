"""What people call the workspaces and keys whose IDs stand in the ledger. What is deleted has no name any more."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

import sqlalchemy as sa

from gateway.domain.visible import Visible
from gateway.storage.sql.engine import AsyncConnection
from gateway.storage.sql.tables import api_keys, workspaces
from gateway.storage.sql.visible import visible_to

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class KeyName:
    """A key as people know it."""

    id: str
    masked: str
    description: str


async def of_workspaces(conn: AsyncConnection, workspace_ids: Collection[str]) -> dict[str, str]:
    """The names of those that there are, by ID."""
    columns = (workspaces.c.id, workspaces.c.name)
    return {row.id: row.name async for row in _by_id(conn, columns, workspace_ids)}


async def of_keys(conn: AsyncConnection, key_ids: Collection[str]) -> dict[str, KeyName]:
    """The names of those that there are, by ID."""
    columns = (api_keys.c.id, api_keys.c.masked, api_keys.c.description)
    return {row.id: KeyName(*row) async for row in _by_id(conn, columns, key_ids)}


async def _by_id(
    conn: AsyncConnection, columns: tuple[sa.Column[str], ...], wanted: Collection[str]
) -> AsyncIterator[sa.Row[tuple[str, ...]]]:
    every = sorted(wanted)
    for start in range(0, len(every), _AT_ONCE):
        query = sa.select(*columns).where(columns[0].in_(every[start : start + _AT_ONCE]))
        for row in await conn.execute(query):
            yield row


async def keys_within(
    conn: AsyncConnection, *, visible: Visible, account_id: str | None, workspace_id: str | None, limit: int
) -> list[KeyName]:
    """At most `limit` of the visible keys of an account or a workspace, in the order they were made."""
    query = sa.select(api_keys.c.id, api_keys.c.masked, api_keys.c.description).where(visible_to(api_keys, visible))
    for column, value in ((api_keys.c.account_id, account_id), (api_keys.c.workspace_id, workspace_id)):
        if value is not None:
            query = query.where(column == value)
    query = query.order_by(api_keys.c.created_at, api_keys.c.id).limit(limit)
    return [KeyName(*row) for row in await conn.execute(query)]
