"""People who sign in. A password is here as its hash alone, and only `by_email`, `hold` and `secret` read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.sql.absent import insert_if_absent
from gateway.storage.sql.tables import users


class UserStatus(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class UserRow:
    """Times are Unix milliseconds; `email` is in lower case."""

    id: str
    email: str
    name: str
    status: UserStatus
    created_at: int
    last_sign_in_at: int | None = None


COLUMNS = (users.c.id, users.c.email, users.c.name, users.c.status, users.c.created_at, users.c.last_sign_in_at)


def row(found: Sequence[Any]) -> UserRow:
    """A row of `COLUMNS`."""
    user_id, email, name, status, created_at, last_sign_in_at = found
    return UserRow(user_id, email, name, UserStatus(status), created_at, last_sign_in_at)


async def insert(conn: AsyncConnection, user: UserRow, password: str | None) -> bool:
    """Answers whether the person is new: nobody had the e-mail address."""
    inserted = await conn.execute(
        insert_if_absent(conn, users).values(
            id=user.id,
            email=user.email,
            name=user.name,
            status=user.status.value,
            created_at=user.created_at,
            last_sign_in_at=user.last_sign_in_at,
            password=password,
        )
    )
    return inserted.rowcount == 1


async def get(conn: AsyncConnection, user_id: str) -> UserRow | None:
    found = (await conn.execute(sa.select(*COLUMNS).where(users.c.id == user_id))).one_or_none()
    return None if found is None else row(found)


async def by_email(conn: AsyncConnection, email: str) -> tuple[UserRow, str | None] | None:
    """The person of an e-mail address in lower case, with the hash of the password, if there is one."""
    found = (await conn.execute(sa.select(*COLUMNS, users.c.password).where(users.c.email == email))).one_or_none()
    return None if found is None else (row(found[:6]), found[6])


async def secret(conn: AsyncConnection, user_id: str) -> str | None:
    """The hash of a person's password."""
    return (await conn.execute(sa.select(users.c.password).where(users.c.id == user_id))).scalar_one_or_none()


async def hold(conn: AsyncConnection, user_id: str) -> tuple[UserRow, str | None] | None:
    """A person, with the hash of the password. Until the transaction ends nobody else changes or holds this person."""
    # Rows that only name the person can be written meanwhile (`FOR NO KEY UPDATE`); SQLite has one writer at a time anyway.
    query = sa.select(*COLUMNS, users.c.password).where(users.c.id == user_id).with_for_update(key_share=True)
    found = (await conn.execute(query)).one_or_none()
    return None if found is None else (row(found[:6]), found[6])


async def any_exist(conn: AsyncConnection) -> bool:
    return (await conn.execute(sa.select(users.c.id).limit(1))).one_or_none() is not None


async def set_password(conn: AsyncConnection, user_id: str, password: str) -> None:
    await conn.execute(sa.update(users).where(users.c.id == user_id).values(password=password))


async def set_name(conn: AsyncConnection, user_id: str, name: str) -> None:
    await conn.execute(sa.update(users).where(users.c.id == user_id).values(name=name))


async def set_status(conn: AsyncConnection, user_id: str, status: UserStatus) -> None:
    await conn.execute(sa.update(users).where(users.c.id == user_id).values(status=status.value))


async def signed_in(conn: AsyncConnection, user_id: str, now_ms: int) -> None:
    await conn.execute(sa.update(users).where(users.c.id == user_id).values(last_sign_in_at=now_ms))


async def page(conn: AsyncConnection, *, search: str | None, limit: int, after: tuple[int, str] | None) -> list[UserRow]:
    """At most `limit` people in the order they came, behind the one of `after` (its time and ID).

    `search` is a part of the name or of the e-mail address, in any case.
    """
    query = sa.select(*COLUMNS).order_by(users.c.created_at, users.c.id).limit(limit)
    if search:
        query = query.where(users.c.email.icontains(search, autoescape=True) | users.c.name.icontains(search, autoescape=True))
    if after is not None:
        query = query.where(sa.tuple_(users.c.created_at, users.c.id) > after)
    return [row(found) for found in await conn.execute(query)]
