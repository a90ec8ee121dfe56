"""Workspaces: each belongs to one account; one of an account's is its default."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.visible import Visible
from gateway.storage.sql.tables import api_keys, grants, workspaces
from gateway.storage.sql.visible import visible_to


@dataclass(frozen=True, slots=True)
class WorkspaceRow:
    """`created_at` is Unix time in milliseconds; `key_count` and `grant_count` count the keys and the grants that it has, where
    somebody asked for that.
    """

    id: str
    account_id: str
    name: str
    is_default: bool
    created_at: int
    key_count: int = 0
    grant_count: int = 0


def _count_of(table: sa.Table) -> sa.ScalarSelect[int]:
    query = sa.select(sa.func.count()).select_from(table).where(table.c.workspace_id == workspaces.c.id)
    return query.correlate(workspaces).scalar_subquery()


_COLUMNS = (workspaces.c.id, workspaces.c.account_id, workspaces.c.name, workspaces.c.is_default, workspaces.c.created_at)
_COUNTED = (*_COLUMNS, _count_of(api_keys), _count_of(grants))


async def insert(conn: AsyncConnection, row: WorkspaceRow) -> None:
    await conn.execute(
        sa.insert(workspaces).values(
            id=row.id, account_id=row.account_id, name=row.name, is_default=row.is_default, created_at=row.created_at
        )
    )


async def get(conn: AsyncConnection, workspace_id: str) -> WorkspaceRow | None:
    found = (await conn.execute(sa.select(*_COUNTED).where(workspaces.c.id == workspace_id))).one_or_none()
    return None if found is None else WorkspaceRow(*found)


async def count(conn: AsyncConnection, account_id: str) -> int:
    """How many workspaces the account has, its default one included."""
    query = sa.select(sa.func.count()).select_from(workspaces).where(workspaces.c.account_id == account_id)
    return (await conn.execute(query)).scalar_one()


@dataclass(frozen=True, slots=True)
class OfAccount:
    """The workspaces of an account: how many, and the ID of the default one."""

    count: int
    default_id: str


async def of_accounts(conn: AsyncConnection, account_ids: Collection[str]) -> dict[str, OfAccount]:
    """What workspaces these accounts have, by account."""
    query = sa.select(
        workspaces.c.account_id, sa.func.count(), sa.func.max(sa.case((workspaces.c.is_default, workspaces.c.id), else_=""))
    )
    query = query.where(workspaces.c.account_id.in_(sorted(account_ids))).group_by(workspaces.c.account_id)
    return {account_id: OfAccount(count, default_id) for account_id, count, default_id in await conn.execute(query)}


async def rename(conn: AsyncConnection, account_id: str, workspace_id: str, name: str) -> None:
    await conn.execute(
        sa.update(workspaces).where(workspaces.c.id == workspace_id, workspaces.c.account_id == account_id).values(name=name)
    )


async def page(
    conn: AsyncConnection,
    *,
    visible: Visible,
    account_id: str | None,
    search: str | None,
    limit: int,
    after: tuple[int, str] | None,
    counted: bool,
) -> list[WorkspaceRow]:
    """At most `limit` of the visible workspaces in the order they were made, behind the one made at `after` (its time and ID).

    `search` is a part of the name or of the ID, in any case; `counted` says whether what each has is counted.
    """
    query: sa.Select[Any] = (
        sa.select(*(_COUNTED if counted else _COLUMNS)).order_by(workspaces.c.created_at, workspaces.c.id).limit(limit)
    )
    query = query.where(visible_to(workspaces, visible))
    if account_id is not None:
        query = query.where(workspaces.c.account_id == account_id)
    if search:
        query = query.where(
            workspaces.c.name.icontains(search, autoescape=True) | workspaces.c.id.icontains(search, autoescape=True)
        )
    if after is not None:
        query = query.where(sa.tuple_(workspaces.c.created_at, workspaces.c.id) > after)
    return [WorkspaceRow(*found) for found in await conn.execute(query)]
