"""The pool of connections to the database, as metrics show it."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine


def connections(engine: AsyncEngine) -> dict[tuple[str, ...], float]:
    """Connections of this process by what they do: `in_use` or `idle`."""
    pool: Any = engine.pool
    return {("in_use",): pool.checkedout(), ("idle",): pool.checkedin()}


def most(engine: AsyncEngine) -> int:
    """How many there may be."""
    pool: Any = engine.pool
    overflow: int = pool._max_overflow  # noqa: SLF001 — it is told nowhere else
    size: int = pool.size()
    return size + overflow
