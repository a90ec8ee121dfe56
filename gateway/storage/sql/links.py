"""One-time links, by the digest of the secret in them: an invitation to a role, or a new password for a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.roles import Membership, Place, Role
from gateway.storage.sql.tables import links


class LinkKind(StrEnum):
    INVITE = "invite"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class LinkRow:
    """Times are Unix milliseconds. `email` is empty where whoever opens the link says their own; `membership` is what an
    invitation gives, `user_id` whom a reset is for.
    """

    id: str
    kind: LinkKind
    email: str
    created_by: str
    created_at: int
    expires_at: int
    user_id: str | None = None
    membership: Membership | None = None


_COLUMNS = (
    links.c.id,
    links.c.kind,
    links.c.email,
    links.c.created_by,
    links.c.created_at,
    links.c.expires_at,
    links.c.user_id,
    links.c.role,
    links.c.account_id,
    links.c.workspace_id,
)


def _row(found: Sequence[Any]) -> LinkRow:
    link_id, kind, email, created_by, created_at, expires_at, user_id, role, account_id, workspace_id = found
    held = None if role is None else Membership(Role(role), Place(account_id, workspace_id))
    return LinkRow(link_id, LinkKind(kind), email, created_by, created_at, expires_at, user_id, held)


async def insert(conn: AsyncConnection, row: LinkRow, digest: bytes) -> None:
    held = row.membership
    await conn.execute(
        sa.insert(links).values(
            id=row.id,
            digest=digest,
            kind=row.kind.value,
            user_id=row.user_id,
            email=row.email,
            role=None if held is None else held.role.value,
            account_id=None if held is None else held.place.account_id,
            workspace_id=None if held is None else held.place.workspace_id,
            created_by=row.created_by,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
    )


async def find(conn: AsyncConnection, digest: bytes, now_ms: int) -> LinkRow | None:
    """A link that was not used yet and has not expired."""
    query = sa.select(*_COLUMNS).where(links.c.digest == digest, links.c.expires_at > now_ms)
    found = (await conn.execute(query)).one_or_none()
    return None if found is None else _row(found)


async def use(conn: AsyncConnection, digest: bytes, now_ms: int) -> LinkRow | None:
    """Take a link: of any that try, one gets it, once."""
    query = sa.delete(links).where(links.c.digest == digest, links.c.expires_at > now_ms).returning(*_COLUMNS)
    found = (await conn.execute(query)).one_or_none()
    return None if found is None else _row(found)


async def get(conn: AsyncConnection, link_id: str) -> LinkRow | None:
    found = (await conn.execute(sa.select(*_COLUMNS).where(links.c.id == link_id))).one_or_none()
    return None if found is None else _row(found)


async def delete(conn: AsyncConnection, link_id: str) -> None:
    await conn.execute(sa.delete(links).where(links.c.id == link_id))


async def delete_resets(conn: AsyncConnection, user_id: str) -> None:
    """Let the links to a new password for a person open nothing any more."""
    await conn.execute(sa.delete(links).where(links.c.user_id == user_id, links.c.kind == LinkKind.RESET.value))


async def of_author(conn: AsyncConnection, author: str) -> list[LinkRow]:
    """The invitations that somebody made."""
    query = sa.select(*_COLUMNS).where(links.c.created_by == author, links.c.kind == LinkKind.INVITE.value)
    return [_row(found) for found in await conn.execute(query)]


async def delete_of_author(conn: AsyncConnection, author: str) -> None:
    """Withdraw the invitations that somebody made."""
    await conn.execute(sa.delete(links).where(links.c.created_by == author, links.c.kind == LinkKind.INVITE.value))


async def delete_old(conn: AsyncConnection, now_ms: int) -> None:
    """Forget the links that have expired; not those that somebody takes away just now, who need not be waited for."""
    old = sa.select(links.c.id).where(links.c.expires_at <= now_ms).with_for_update(skip_locked=True)
    await conn.execute(sa.delete(links).where(links.c.id.in_(old)))


async def invitations(conn: AsyncConnection, place: Place, now_ms: int) -> list[LinkRow]:
    """The invitations that are open in a place and in everything within it, the newest first; 500 at most."""
    query = sa.select(*_COLUMNS).where(links.c.kind == LinkKind.INVITE.value, links.c.expires_at > now_ms)
    if place.workspace_id is not None:
        query = query.where(links.c.workspace_id == place.workspace_id)
    elif place.account_id is not None:
        query = query.where(links.c.account_id == place.account_id)
    query = query.order_by(links.c.created_at.desc(), links.c.id).limit(500)
    return [_row(found) for found in await conn.execute(query)]
