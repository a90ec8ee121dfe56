"""Grants: the models that a sub-workspace may call, with its limits for each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.grants import Limits
from gateway.storage.sql.tables import grants, workspaces

_MOST_NAMED = 1000


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


async def of_workspace(conn: AsyncConnection, workspace_id: str) -> list[GrantRow]:
    """All grants of a workspace, by model, in one statement."""
    query = sa.select(*_COLUMNS).where(grants.c.workspace_id == workspace_id).order_by(grants.c.model)
    return [_row(found) for found in (await conn.execute(query)).mappings()]


async def of_models(conn: AsyncConnection, account_id: str, models: Collection[str]) -> dict[tuple[str, str], Limits]:
    """What the account's workspaces are granted of these models, at most some hundred, by workspace and model."""
    query = (
        sa.select(grants.c.workspace_id, grants.c.model, grants.c.rpm, grants.c.tpm)
        .join(workspaces, workspaces.c.id == grants.c.workspace_id)
        .where(workspaces.c.account_id == account_id, grants.c.model.in_(sorted(models)))
    )
    return {(workspace, model): Limits(rpm=rpm, tpm=tpm) for workspace, model, rpm, tpm in await conn.execute(query)}


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


async def insert_all(conn: AsyncConnection, rows: Sequence[GrantRow]) -> None:
    """Grants that are not there yet."""
    if rows:
        await conn.execute(
            sa.insert(grants),
            [
                {
                    "workspace_id": row.workspace_id,
                    "model": row.model,
                    "rpm": row.limits.rpm,
                    "tpm": row.limits.tpm,
                    "created_at": row.created_at,
                    "updated_at": row.updated_at,
                }
                for row in rows
            ],
        )


async def update_all(conn: AsyncConnection, rows: Sequence[GrantRow]) -> None:
    """New limits for grants that are there; the caller holds the account's row."""
    if rows:
        one = sa.and_(grants.c.workspace_id == sa.bindparam("of_workspace"), grants.c.model == sa.bindparam("of_model"))
        await conn.execute(
            sa.update(grants).where(one).values({name: sa.bindparam(f"new_{name}") for name in ("rpm", "tpm", "updated_at")}),
            [
                {
                    "of_workspace": row.workspace_id,
                    "of_model": row.model,
                    "new_rpm": row.limits.rpm,
                    "new_tpm": row.limits.tpm,
                    "new_updated_at": row.updated_at,
                }
                for row in rows
            ],
        )


async def delete_all(conn: AsyncConnection, workspace_id: str, models: Collection[str]) -> None:
    """Remove a workspace's grants of these models."""
    if models:
        one = sa.and_(grants.c.workspace_id == workspace_id, grants.c.model == sa.bindparam("of_model"))
        await conn.execute(sa.delete(grants).where(one), [{"of_model": model} for model in models])


async def delete_of_model(conn: AsyncConnection, model: str) -> int:
    """Remove every workspace's grant of a model; answers how many there were."""
    return (await conn.execute(sa.delete(grants).where(grants.c.model == model))).rowcount


async def totals(conn: AsyncConnection, account_id: str, *, without: str | None = None) -> dict[str, Limits]:
    """What the account's workspaces are granted together, by model; None where no grant of a model sets a limit.

    `without` names a workspace that is left out.
    """
    query = (
        sa.select(grants.c.model, sa.func.sum(grants.c.rpm), sa.func.sum(grants.c.tpm))
        .join(workspaces, workspaces.c.id == grants.c.workspace_id)
        .where(workspaces.c.account_id == account_id)
        .group_by(grants.c.model)
    )
    if without is not None:
        query = query.where(workspaces.c.id != without)
    return {model: _sums(rpm, tpm) for model, rpm, tpm in await conn.execute(query)}


async def count_by_model(conn: AsyncConnection, models: Sequence[str]) -> dict[str, int]:
    """How many workspaces each of the models is granted to; those without a grant are left out."""
    query = sa.select(grants.c.model, sa.func.count().label("workspaces")).group_by(grants.c.model)
    # A statement takes a limited number of values; beyond it, reading all is the lesser work anyway.
    wanted = frozenset(models)
    if len(wanted) <= _MOST_NAMED:
        query = query.where(grants.c.model.in_(sorted(wanted)))
    return {row.model: row.workspaces for row in await conn.execute(query) if row.model in wanted}


async def total(conn: AsyncConnection, account_id: str, model: str) -> Limits:
    """What the account's workspaces are granted of one model together; None where no grant sets a limit."""
    query = (
        sa.select(sa.func.sum(grants.c.rpm), sa.func.sum(grants.c.tpm))
        .join(workspaces, workspaces.c.id == grants.c.workspace_id)
        .where(workspaces.c.account_id == account_id, grants.c.model == model)
    )
    rpm, tpm = (await conn.execute(query)).one()
    return _sums(rpm, tpm)


def _sums(rpm: Any, tpm: Any) -> Limits:
    # PostgreSQL answers a sum of BIGINT as NUMERIC.
    return Limits(rpm=None if rpm is None else int(rpm), tpm=None if tpm is None else int(tpm))
