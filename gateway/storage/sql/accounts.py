"""Accounts: the tenants, each of which owns workspaces."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.sql.tables import accounts


@dataclass(frozen=True, slots=True)
class AccountRow:
    """`created_at` is Unix time in milliseconds."""

    id: str
    name: str
    is_default: bool
    created_at: int


_COLUMNS = (accounts.c.id, accounts.c.name, accounts.c.is_default, accounts.c.created_at)


async def insert(conn: AsyncConnection, row: AccountRow) -> None:
    await conn.execute(
        sa.insert(accounts).values(
            id=row.id, name=row.name, is_default=row.is_default, epoch=1, raised_epoch=1, created_at=row.created_at
        )
    )


async def get(conn: AsyncConnection, account_id: str) -> AccountRow | None:
    found = (await conn.execute(sa.select(*_COLUMNS).where(accounts.c.id == account_id))).one_or_none()
    return None if found is None else AccountRow(*found)


async def default(conn: AsyncConnection) -> AccountRow | None:
    """The account that exists from the first start; None in a database that was never started."""
    found = (await conn.execute(sa.select(*_COLUMNS).where(accounts.c.is_default).limit(1))).one_or_none()
    return None if found is None else AccountRow(*found)


async def page(
    conn: AsyncConnection,
    *,
    only: AbstractSet[str] | None = None,
    search: str | None = None,
    limit: int,
    after: tuple[int, str] | None,
) -> list[AccountRow]:
    """At most `limit` accounts in the order they were made, behind the one made at `after` (its time and ID).

    `only` names the accounts that may be among them, None all; `search` is a part of the name or of the ID, in any case.
    """
    query = sa.select(*_COLUMNS).order_by(accounts.c.created_at, accounts.c.id).limit(limit)
    if only is not None:
        query = query.where(accounts.c.id.in_(sorted(only)))
    if search:
        query = query.where(accounts.c.name.icontains(search, autoescape=True) | accounts.c.id.icontains(search, autoescape=True))
    if after is not None:
        query = query.where(sa.tuple_(accounts.c.created_at, accounts.c.id) > after)
    return [AccountRow(*found) for found in await conn.execute(query)]
