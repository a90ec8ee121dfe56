"""Sessions of people who signed in, by the digest of what their browser holds."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.sql.tables import sessions, users
from gateway.storage.sql.users import COLUMNS, UserRow
from gateway.storage.sql.users import row as user_row


@dataclass(frozen=True, slots=True)
class SessionRow:
    """Times are Unix milliseconds; `client` is the address that it began at, `agent` what the browser called itself."""

    id: str
    user_id: str
    created_at: int
    seen_at: int
    client: str | None
    agent: str | None


_COLUMNS = (
    sessions.c.id,
    sessions.c.user_id,
    sessions.c.created_at,
    sessions.c.seen_at,
    sessions.c.client,
    sessions.c.agent,
)


async def insert(conn: AsyncConnection, row: SessionRow, digest: bytes) -> None:
    await conn.execute(
        sa.insert(sessions).values(
            id=row.id,
            digest=digest,
            user_id=row.user_id,
            created_at=row.created_at,
            seen_at=row.seen_at,
            client=row.client,
            agent=row.agent,
        )
    )


async def find(conn: AsyncConnection, digest: bytes) -> tuple[SessionRow, UserRow] | None:
    query = sa.select(*_COLUMNS, *COLUMNS).join(users, users.c.id == sessions.c.user_id).where(sessions.c.digest == digest)
    found = (await conn.execute(query)).one_or_none()
    if found is None:
        return None
    split = len(_COLUMNS)
    return SessionRow(*found[:split]), user_row(found[split:])


async def seen(conn: AsyncConnection, session_id: str, now_ms: int) -> None:
    await conn.execute(sa.update(sessions).where(sessions.c.id == session_id, sessions.c.seen_at < now_ms).values(seen_at=now_ms))


async def of_user(conn: AsyncConnection, user_id: str, *, alive_since: int, seen_since: int) -> list[SessionRow]:
    """A person's sessions that began at `alive_since` or later and were used since `seen_since`, the last used first."""
    query = (
        sa.select(*_COLUMNS)
        .where(sessions.c.user_id == user_id, sessions.c.created_at > alive_since, sessions.c.seen_at > seen_since)
        .order_by(sessions.c.seen_at.desc(), sessions.c.id)
    )
    return [SessionRow(*found) for found in await conn.execute(query)]


async def delete(conn: AsyncConnection, user_id: str, session_id: str) -> bool:
    """End one session of a person; answers whether there was one."""
    ended = await conn.execute(sa.delete(sessions).where(sessions.c.id == session_id, sessions.c.user_id == user_id))
    return ended.rowcount > 0


async def delete_of_user(conn: AsyncConnection, user_id: str, *, but: str | None = None) -> int:
    """End a person's sessions, all `but` one; answers how many."""
    query = sa.delete(sessions).where(sessions.c.user_id == user_id)
    if but is not None:
        query = query.where(sessions.c.id != but)
    return (await conn.execute(query)).rowcount


async def delete_old(conn: AsyncConnection, *, alive_since: int, seen_since: int) -> None:
    """Forget the sessions that have ended by themselves; not those that somebody ends just now, who need not be waited for."""
    ended = (sessions.c.created_at <= alive_since) | (sessions.c.seen_at <= seen_since)
    old = sa.select(sessions.c.id).where(ended).with_for_update(skip_locked=True)
    await conn.execute(sa.delete(sessions).where(sessions.c.id.in_(old)))
