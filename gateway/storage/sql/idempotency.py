"""What requests with an Idempotency-Key have made, so that a repeat makes nothing again.

Rows are known by digests alone: neither the keys that clients chose nor what they sent can be read here.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.sql.tables import idempotency

_MOST_DELETED = 1000


@dataclass(frozen=True, slots=True)
class Claim:
    """`digest` stands for a key and who sent it, `request` for what was asked, `target` is the ID of what is made."""

    digest: bytes
    request: bytes
    target: str


async def claim(conn: AsyncConnection, wanted: Claim, *, now_ms: int, since_ms: int) -> Claim | None:
    """Take a key for what is made in this transaction; or answer what it was taken for before, at `since_ms` or later.

    Of two transactions that claim one key at once the second waits for the end of the first, and then sees what that made, if
    it was committed.
    """
    build: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[conn.dialect.name]
    row = {"request": wanted.request, "target": wanted.target, "at": now_ms}
    # One that is too old counts as none: the new claim takes its row.
    insert = (
        build(idempotency)
        .values(digest=wanted.digest, **row)
        .on_conflict_do_update(index_elements=[idempotency.c.digest], set_=row, where=idempotency.c.at < since_ms)
        .returning(idempotency.c.digest)
    )
    if (await conn.execute(insert)).one_or_none() is not None:
        return None
    query = sa.select(idempotency.c.request, idempotency.c.target).where(idempotency.c.digest == wanted.digest)
    request, target = (await conn.execute(query)).one()
    return Claim(wanted.digest, request, target)


async def delete_old(conn: AsyncConnection, since_ms: int) -> None:
    """Forget what is older than `since_ms`, some at a time; passes over rows that others hold, so that nobody waits here."""
    old = (
        sa.select(idempotency.c.digest)
        .where(idempotency.c.at < since_ms)
        .order_by(idempotency.c.at)
        .limit(_MOST_DELETED)
        .with_for_update(skip_locked=True)  # says nothing on SQLite, which has one writer at a time
        .cte("old")
    )
    await conn.execute(sa.delete(idempotency).where(idempotency.c.digest.in_(sa.select(old.c.digest))))
