"""The names of places."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.roles import Place
from gateway.storage.sql.tables import accounts, workspaces


async def names(conn: AsyncConnection, places: Collection[Place]) -> dict[str, str]:
    """The names of the accounts and workspaces of these places, by ID."""
    found: dict[str, str] = {}
    for table, wanted in (
        (accounts, {place.account_id for place in places}),
        (workspaces, {place.workspace_id for place in places}),
    ):
        ids = sorted(each for each in wanted if each is not None)
        if ids:
            query = sa.select(table.c.id, table.c.name).where(table.c.id.in_(ids))
            found |= dict((await conn.execute(query)).tuples().all())
    return found
