"""Who has which role where."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.roles import Membership, Place, Role
from gateway.storage.sql.tables import members, users
from gateway.storage.sql.users import COLUMNS, UserRow, UserStatus
from gateway.storage.sql.users import row as user_row

_PLACED = (members.c.role, members.c.account_id, members.c.workspace_id)


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A person with one of their roles; `created_at` is when it was given, in Unix milliseconds."""

    user: UserRow
    membership: Membership
    created_at: int


def membership(role: str, account_id: str | None, workspace_id: str | None) -> Membership:
    return Membership(Role(role), Place(account_id, workspace_id))


async def of_user(conn: AsyncConnection, user_id: str) -> tuple[Membership, ...]:
    query = sa.select(*_PLACED).where(members.c.user_id == user_id).order_by(members.c.scope)
    return tuple(membership(*found) for found in await conn.execute(query))


async def of_users(conn: AsyncConnection, user_ids: Collection[str]) -> dict[str, tuple[Membership, ...]]:
    """The roles of each of these people, by their IDs."""
    query = sa.select(members.c.user_id, *_PLACED).where(members.c.user_id.in_(sorted(user_ids))).order_by(members.c.scope)
    found: dict[str, tuple[Membership, ...]] = dict.fromkeys(user_ids, ())
    for user_id, *placed in await conn.execute(query):
        found[user_id] += (membership(*placed),)
    return found


async def put(conn: AsyncConnection, user_id: str, given: Membership, now_ms: int) -> None:
    """Give a role in a place, instead of the one that was held there."""
    one = sa.and_(members.c.user_id == user_id, members.c.scope == given.place.scope)
    changed = await conn.execute(sa.update(members).where(one).values(role=given.role.value))
    if changed.rowcount == 0:
        await conn.execute(
            sa.insert(members).values(
                user_id=user_id,
                scope=given.place.scope,
                role=given.role.value,
                account_id=given.place.account_id,
                workspace_id=given.place.workspace_id,
                created_at=now_ms,
            )
        )


async def get(conn: AsyncConnection, user_id: str, scope: str) -> Membership | None:
    query = sa.select(*_PLACED).where(members.c.user_id == user_id, members.c.scope == scope)
    found = (await conn.execute(query)).one_or_none()
    return None if found is None else membership(*found)


async def given_at(conn: AsyncConnection, user_id: str, scope: str) -> int | None:
    """When a role that is held was given, in Unix milliseconds."""
    query = sa.select(members.c.created_at).where(members.c.user_id == user_id, members.c.scope == scope)
    return (await conn.execute(query)).scalar_one_or_none()


async def delete(conn: AsyncConnection, user_id: str, scope: str) -> None:
    await conn.execute(sa.delete(members).where(members.c.user_id == user_id, members.c.scope == scope))


async def any_operator(conn: AsyncConnection) -> bool:
    query = sa.select(members.c.user_id).where(members.c.scope == "", members.c.role == Role.OPERATOR.value).limit(1)
    return (await conn.execute(query)).one_or_none() is not None


async def active_operators(conn: AsyncConnection) -> Sequence[str]:
    """The IDs of the operators who can sign in; on PostgreSQL no other transaction that asks this goes on meanwhile."""
    query = (
        sa.select(users.c.id)
        .join(members, members.c.user_id == users.c.id)
        .where(members.c.role == Role.OPERATOR.value, users.c.status == UserStatus.ACTIVE.value)
        .order_by(users.c.id)
        .with_for_update()
    )
    return (await conn.scalars(query)).all()


async def page(
    conn: AsyncConnection, place: Place, *, search: str | None, limit: int, after: tuple[int, str] | None
) -> list[MemberRow]:
    """At most `limit` roles held in a place and in everything within it, in the order they were given."""
    key = sa.tuple_(members.c.created_at, members.c.user_id + members.c.scope)
    query = (
        sa.select(members.c.created_at, *_PLACED, *COLUMNS)
        .join(users, users.c.id == members.c.user_id)
        .order_by(members.c.created_at, members.c.user_id + members.c.scope)
        .limit(limit)
    )
    if place.workspace_id is not None:
        query = query.where(members.c.workspace_id == place.workspace_id)
    elif place.account_id is not None:
        query = query.where(members.c.account_id == place.account_id)
    if search:
        query = query.where(users.c.email.icontains(search, autoescape=True) | users.c.name.icontains(search, autoescape=True))
    if after is not None:
        query = query.where(key > after)
    return [
        MemberRow(user_row(user), membership(role, account_id, workspace_id), at)
        for at, role, account_id, workspace_id, *user in await conn.execute(query)
    ]
