"""Grants: the models that a sub-workspace may call, with its limits for each."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.grants import Limits
from gateway.storage.sql.tables import grants, workspaces


@dataclass(frozen=True, slots=True)
class GrantRow:
    """Limits in units a minute; times are Unix milliseconds."""

    workspace_id: str
    model: str
    limits: Limits
    created_at: int
    updated_at: int


_COLUMNS = (grants.c.workspace_id, grants.c.model, grants.c.rpm, grants.c.tpm, grants.c.created_at, grants.c.updated_at)


def _row(found: sa.RowMapping) -> GrantRow:
    return GrantRow(
        workspace_id=found["workspace_id"],
        model=found["model"],
        limits=Limits(rpm=found["rpm"], tpm=found["tpm"]),
        created_at=found["created_at"],
        updated_at=found["updated_at"],
    )


def _one(workspace_id: str, model: str) -> sa.ColumnElement[bool]:
    return sa.and_(grants.c.workspace_id == workspace_id, grants.c.model == model)


async def get(conn: AsyncConnection, workspace_id: str, model: str) -> GrantRow | None:
    found = (await conn.execute(sa.select(*_COLUMNS).where(_one(workspace_id, model)))).mappings().one_or_none()
    return None if found is None else _row(found)


async def page(conn: AsyncConnection, *, workspace_id: str, limit: int, after: str | None) -> list[GrantRow]:
    """At most `limit` grants of a workspace, by model, behind the model `after`."""
    query = sa.select(*_COLUMNS).where(grants.c.workspace_id == workspace_id).order_by(grants.c.model).limit(limit)
    if after is not None:
        query = query.where(grants.c.model > after)
    return [_row(found) for found in (await conn.execute(query)).mappings()]


async def put(conn: AsyncConnection, row: GrantRow) -> None:
    """Insert or replace a grant; the caller holds the account's row, so no other writer comes between."""
    limits = {"rpm": row.limits.rpm, "tpm": row.limits.tpm, "updated_at": row.updated_at}
    changed = await conn.execute(sa.update(grants).where(_one(row.workspace_id, row.model)).values(**limits))
    if changed.rowcount == 0:
        await conn.execute(
            sa.insert(grants).values(workspace_id=row.workspace_id, model=row.model, created_at=row.created_at, **limits)
        )


async def delete(conn: AsyncConnection, workspace_id: str, model: str) -> None:
    await conn.execute(sa.delete(grants).where(_one(workspace_id, model)))


async def delete_of_model(conn: AsyncConnection, model: str) -> int:
    """Remove every workspace's grant of a model; answers how many there were."""
    return (await conn.execute(sa.delete(grants).where(grants.c.model == model))).rowcount


async def total(conn: AsyncConnection, account_id: str, model: str) -> Limits:
    """The sums of what the account's workspaces are granted of a model; None where no grant sets a limit."""
    query = (
        sa.select(sa.func.sum(grants.c.rpm), sa.func.sum(grants.c.tpm))
        .join(workspaces, workspaces.c.id == grants.c.workspace_id)
        .where(workspaces.c.account_id == account_id, grants.c.model == model)
    )
    rpm, tpm = (await conn.execute(query)).one()
    # PostgreSQL answers a sum of BIGINT as NUMERIC.
    return Limits(rpm=None if rpm is None else int(rpm), tpm=None if tpm is None else int(tpm))
