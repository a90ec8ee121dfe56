"""Upstream servers that were added through the admin API or the command line; those of settings are no rows here."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.upstreams import Upstream
from gateway.storage.sql.tables import upstreams


@dataclass(frozen=True, slots=True)
class UpstreamRow:
    """Times are Unix milliseconds. The upstream carries its credential, so that it must not be shown as it is."""

    upstream: Upstream
    created_at: int
    updated_at: int


def _row(found: sa.RowMapping) -> UpstreamRow:
    return UpstreamRow(
        upstream=Upstream(
            id=found["id"],
            name=found["name"],
            base_url=found["base_url"],
            api_key=found["api_key"],
            models=dict(found["models"]),
            lists_models=found["lists_models"],
            weight=found["weight"],
            enabled=found["enabled"],
            source="database",
        ),
        created_at=found["created_at"],
        updated_at=found["updated_at"],
    )


def _values(upstream: Upstream) -> dict[str, object]:
    return {
        "name": upstream.name,
        "base_url": upstream.base_url,
        "api_key": upstream.api_key,
        "models": dict(upstream.models),
        "lists_models": upstream.lists_models,
        "weight": upstream.weight,
        "enabled": upstream.enabled,
    }


async def every(conn: AsyncConnection) -> list[UpstreamRow]:
    """All stored upstreams in the order they were made."""
    query = sa.select(upstreams).order_by(upstreams.c.created_at, upstreams.c.id)
    return [_row(found) for found in (await conn.execute(query)).mappings()]


async def get(conn: AsyncConnection, upstream_id: str, *, lock: bool = False) -> UpstreamRow | None:
    """One stored upstream. `lock` keeps other writers from it until the transaction ends."""
    query = sa.select(upstreams).where(upstreams.c.id == upstream_id)
    if lock:
        query = query.with_for_update()
    found = (await conn.execute(query)).mappings().one_or_none()
    return None if found is None else _row(found)


async def insert(conn: AsyncConnection, row: UpstreamRow) -> None:
    values = _values(row.upstream)
    await conn.execute(
        sa.insert(upstreams).values(id=row.upstream.id, created_at=row.created_at, updated_at=row.updated_at, **values)
    )


async def update(conn: AsyncConnection, upstream: Upstream, now_ms: int) -> None:
    await conn.execute(sa.update(upstreams).where(upstreams.c.id == upstream.id).values(updated_at=now_ms, **_values(upstream)))


async def delete(conn: AsyncConnection, upstream_id: str) -> None:
    await conn.execute(sa.delete(upstreams).where(upstreams.c.id == upstream_id))
