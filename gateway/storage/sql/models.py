"""The stored part of the catalogue, as the data plane reads it."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.grants import Limits, Model
from gateway.storage.sql.engine import AsyncConnection, read
from gateway.storage.sql.tables import catalogue, models

_READ = (
    sa.select(catalogue.c.version, models.c.name, models.c.type, models.c.vendor, models.c.rpm, models.c.tpm)
    .select_from(catalogue.outerjoin(models, sa.true()))
    .where(catalogue.c.id == 1)
)


async def read_catalogue(engine: AsyncEngine) -> tuple[int, dict[str, Model]]:
    """The catalogue's version and its models by name, in one statement, so that they belong together.

    Raises KeyStoreUnavailable.
    """
    rows = await read(engine, _rows)
    found = {
        row.name: Model(name=row.name, type=row.type, vendor=row.vendor, limits=Limits(rpm=row.rpm, tpm=row.tpm))
        for row in rows
        if row.name is not None
    }
    return rows[0].version, found


async def _rows(connection: AsyncConnection) -> Sequence[Any]:
    return (await connection.execute(_READ)).all()
