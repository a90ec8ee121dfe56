"""The stored part of the catalogue: what an operator said about a model. Upstreams' own lists are no rows here."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.grants import Limits
from gateway.storage.sql.tables import models


@dataclass(frozen=True, slots=True)
class ModelRow:
    """Limits in units a minute; times are Unix milliseconds."""

    name: str
    type: str | None
    vendor: str | None
    limits: Limits
    created_at: int
    updated_at: int


_COLUMNS = (
    models.c.name,
    models.c.type,
    models.c.vendor,
    models.c.rpm,
    models.c.tpm,
    models.c.created_at,
    models.c.updated_at,
)


def _row(found: sa.RowMapping) -> ModelRow:
    return ModelRow(
        name=found["name"],
        type=found["type"],
        vendor=found["vendor"],
        limits=Limits(rpm=found["rpm"], tpm=found["tpm"]),
        created_at=found["created_at"],
        updated_at=found["updated_at"],
    )


async def get(conn: AsyncConnection, name: str) -> ModelRow | None:
    found = (await conn.execute(sa.select(*_COLUMNS).where(models.c.name == name))).mappings().one_or_none()
    return None if found is None else _row(found)


async def every(conn: AsyncConnection) -> dict[str, ModelRow]:
    """All stored models, by name."""
    return {found["name"]: _row(found) for found in (await conn.execute(sa.select(*_COLUMNS))).mappings()}


async def put(conn: AsyncConnection, row: ModelRow) -> None:
    """Insert or replace; the caller holds the catalogue's row, so no other writer comes between."""
    values = {
        "type": row.type,
        "vendor": row.vendor,
        "rpm": row.limits.rpm,
        "tpm": row.limits.tpm,
        "updated_at": row.updated_at,
    }
    changed = await conn.execute(sa.update(models).where(models.c.name == row.name).values(**values))
    if changed.rowcount == 0:
        await conn.execute(sa.insert(models).values(name=row.name, created_at=row.created_at, **values))


async def delete(conn: AsyncConnection, name: str) -> None:
    await conn.execute(sa.delete(models).where(models.c.name == name))
