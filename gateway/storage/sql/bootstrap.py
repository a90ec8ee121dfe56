"""What exists from the first start: the default account with its default workspace."""

import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.domain import ids
from gateway.storage.sql.absent import insert_if_absent
from gateway.storage.sql.engine import reading, writing
from gateway.storage.sql.tables import accounts, workspaces

_NAME = "default"
_READ = (
    sa.select(accounts.c.id, workspaces.c.id)
    .join(workspaces, sa.and_(workspaces.c.account_id == accounts.c.id, workspaces.c.is_default))
    .where(accounts.c.is_default)
)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The default account and its default workspace; `first_start` is true for the one call that made the account."""

    account_id: str
    workspace_id: str
    first_start: bool


async def ensure_default_account(engine: AsyncEngine) -> Bootstrap:
    """Make the default account and its default workspace where they are missing. Raises StorageUnavailable.

    Any number of processes may do so at once: the unique indexes on the defaults let one of them through.
    """
    async with reading(engine) as connection:
        found = (await connection.execute(_READ)).one_or_none()
    if found is not None:
        return Bootstrap(found[0], found[1], first_start=False)
    now = int(time.time() * 1000)
    async with writing(engine) as connection:
        made = await _insert(
            connection, accounts, id=ids.account_id(), name=_NAME, is_default=True, epoch=1, raised_epoch=1, created_at=now
        )
        account_id = (await connection.execute(sa.select(accounts.c.id).where(accounts.c.is_default))).scalar_one()
        await _insert(
            connection,
            workspaces,
            id=ids.workspace_id(),
            account_id=account_id,
            name=_NAME,
            is_default=True,
            created_at=now,
        )
        found = (await connection.execute(_READ)).one()
    return Bootstrap(found[0], found[1], first_start=made)


async def _insert(connection: AsyncConnection, table: sa.Table, **values: object) -> bool:
    return (await connection.execute(insert_if_absent(connection, table).values(**values))).rowcount == 1
