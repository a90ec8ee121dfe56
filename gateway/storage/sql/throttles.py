"""Counts of failed attempts, by a name for what they are counted for."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.sql.absent import insert_if_absent
from gateway.storage.sql.tables import throttles


async def hold(conn: AsyncConnection, names: Sequence[str], now_ms: int) -> dict[str, tuple[int, int]]:
    """Failures and the time of the last one (Unix milliseconds), of each name. Until the transaction ends nobody else counts
    for these names, so that of many attempts at once each sees those before it.
    """
    # In one order everywhere, so that two attempts cannot block each other.
    for name in sorted(names):
        await conn.execute(insert_if_absent(conn, throttles).values(name=name, failures=0, at=now_ms))
    query = (
        sa.select(throttles.c.name, throttles.c.failures, throttles.c.at)
        .where(throttles.c.name.in_(names))
        .order_by(throttles.c.name)
        .with_for_update()
    )
    return {name: (failures, at) for name, failures, at in await conn.execute(query)}


async def strike(conn: AsyncConnection, names: Sequence[str], now_ms: int, since_ms: int) -> None:
    """Count one more failure for each name; what was counted at `since_ms` or before is forgotten."""
    build: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[conn.dialect.name]
    insert = build(throttles)
    counted = sa.case((throttles.c.at <= since_ms, 1), else_=throttles.c.failures + 1)
    upsert = insert.on_conflict_do_update(index_elements=[throttles.c.name], set_={"failures": counted, "at": now_ms})
    await conn.execute(upsert, [{"name": name, "failures": 1, "at": now_ms} for name in sorted(names)])


async def clear(conn: AsyncConnection, name: str) -> None:
    await conn.execute(sa.delete(throttles).where(throttles.c.name == name))


async def delete_old(conn: AsyncConnection, before_ms: int) -> None:
    """Forget names that nobody has counted for since; not those that somebody holds just now, who need not be waited for."""
    old = sa.select(throttles.c.name).where(throttles.c.at < before_ms).with_for_update(skip_locked=True)
    await conn.execute(sa.delete(throttles).where(throttles.c.name.in_(old)))


async def forgive(conn: AsyncConnection, name: str) -> None:
    """Count one failure less."""
    await conn.execute(
        sa.update(throttles).where(throttles.c.name == name, throttles.c.failures > 0).values(failures=throttles.c.failures - 1)
    )
