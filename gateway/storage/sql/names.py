"""What people call the accounts, workspaces and keys whose IDs stand elsewhere. What is deleted has no name any more."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from gateway.domain.visible import Visible
from gateway.storage.sql.engine import AsyncConnection
from gateway.storage.sql.tables import accounts, api_keys, workspaces
from gateway.storage.sql.visible import visible_to

_AT_ONCE = 500
_KEYS = sa.select(api_keys.c.id, api_keys.c.masked, api_keys.c.description)


@dataclass(frozen=True, slots=True)
class KeyName:
    """A key as people know it."""

    id: str
    masked: str
    description: str


async def of_accounts(conn: AsyncConnection, account_ids: Collection[str]) -> dict[str, str]:
    """The names of those that there are, by ID."""
    query = sa.select(accounts.c.id, accounts.c.name)
    found: dict[str, str] = {}
    for some in _some(account_ids):
        found |= {row.id: row.name for row in await conn.execute(query.where(accounts.c.id.in_(some)))}
    return found


async def of_workspaces(conn: AsyncConnection, workspace_ids: Collection[str]) -> dict[str, str]:
    """The names of those that there are, by ID."""
    query = sa.select(workspaces.c.id, workspaces.c.name)
    found: dict[str, str] = {}
    for some in _some(workspace_ids):
        found |= {row.id: row.name for row in await conn.execute(query.where(workspaces.c.id.in_(some)))}
    return found


async def of_keys(conn: AsyncConnection, key_ids: Collection[str]) -> dict[str, KeyName]:
    """The names of those that there are, by ID."""
    found: dict[str, KeyName] = {}
    for some in _some(key_ids):
        found |= {row.id: KeyName(*row) for row in await conn.execute(_KEYS.where(api_keys.c.id.in_(some)))}
    return found


def _some(wanted: Collection[str]) -> Iterator[list[str]]:
    """Part by part, since a statement takes a limited number of values."""
    every = sorted(wanted)
    for start in range(0, len(every), _AT_ONCE):
        yield every[start : start + _AT_ONCE]


async def keys_within(
    conn: AsyncConnection, *, visible: Visible, account_id: str | None, workspace_id: str | None, limit: int
) -> list[KeyName]:
    """At most `limit` of the visible keys of an account or a workspace, in the order they were made."""
    query = _KEYS.where(visible_to(api_keys, visible))
    for column, value in ((api_keys.c.account_id, account_id), (api_keys.c.workspace_id, workspace_id)):
        if value is not None:
            query = query.where(column == value)
    query = query.order_by(api_keys.c.created_at, api_keys.c.id).limit(limit)
    return [KeyName(*row) for row in await conn.execute(query)]
