"""API keys as people manage them. The plaintext is never here: only its digest goes in, and only the masked form comes out.

Each statement that changes a key names its account too, so that a slip above cannot touch another tenant's key.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus
from gateway.storage.sql.tables import api_keys


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What may be shown of a key for ever. Times are Unix milliseconds; `models` is None where the key narrows nothing,
    `reset_at` where the secret is as old as the key.
    """

    id: str
    account_id: str
    workspace_id: str
    masked: str
    kind: KeyKind
    status: KeyStatus
    description: str
    models: tuple[str, ...] | None
    created_at: int
    last_used_at: int | None = None
    reset_at: int | None = None


_COLUMNS = (
    api_keys.c.id,
    api_keys.c.account_id,
    api_keys.c.workspace_id,
    api_keys.c.masked,
    api_keys.c.kind,
    api_keys.c.status,
    api_keys.c.description,
    api_keys.c.models,
    api_keys.c.created_at,
    api_keys.c.last_used_at,
    api_keys.c.reset_at,
)


def _row(found: sa.RowMapping) -> KeyRow:
    return KeyRow(
        id=found["id"],
        account_id=found["account_id"],
        workspace_id=found["workspace_id"],
        masked=found["masked"],
        kind=KeyKind(found["kind"]),
        status=KeyStatus(found["status"]),
        description=found["description"],
        models=None if found["models"] is None else tuple(found["models"]),
        created_at=found["created_at"],
        last_used_at=found["last_used_at"],
        reset_at=found["reset_at"],
    )


async def insert(conn: AsyncConnection, row: KeyRow, digest: bytes) -> None:
    await conn.execute(
        sa.insert(api_keys).values(
            id=row.id,
            account_id=row.account_id,
            workspace_id=row.workspace_id,
            digest=digest,
            masked=row.masked,
            kind=row.kind.value,
            status=row.status.value,
            description=row.description,
            models=None if row.models is None else list(row.models),
            created_at=row.created_at,
        )
    )


async def get(conn: AsyncConnection, key_id: str) -> KeyRow | None:
    found = (await conn.execute(sa.select(*_COLUMNS).where(api_keys.c.id == key_id))).mappings().one_or_none()
    return None if found is None else _row(found)


async def count(conn: AsyncConnection, workspace_id: str) -> int:
    query = sa.select(sa.func.count()).select_from(api_keys).where(api_keys.c.workspace_id == workspace_id)
    return (await conn.execute(query)).scalar_one()


async def page(
    conn: AsyncConnection, *, workspace_id: str, search: str | None, limit: int, after: tuple[int, str] | None
) -> list[KeyRow]:
    """At most `limit` keys of a workspace in the order they were made, behind the one made at `after` (its time and ID).

    `search` is a part of the key's ID, in any case.
    """
    query = sa.select(*_COLUMNS).where(api_keys.c.workspace_id == workspace_id)
    if search:
        query = query.where(api_keys.c.id.icontains(search, autoescape=True))
    if after is not None:
        query = query.where(sa.tuple_(api_keys.c.created_at, api_keys.c.id) > after)
    query = query.order_by(api_keys.c.created_at, api_keys.c.id).limit(limit)
    return [_row(found) for found in (await conn.execute(query)).mappings()]


def _one(account_id: str, key_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(api_keys.c.id == key_id, api_keys.c.account_id == account_id)


async def set_description(conn: AsyncConnection, account_id: str, key_id: str, description: str) -> None:
    await conn.execute(sa.update(api_keys).where(_one(account_id, key_id)).values(description=description))


async def set_status(conn: AsyncConnection, account_id: str, key_id: str, status: KeyStatus) -> None:
    await conn.execute(sa.update(api_keys).where(_one(account_id, key_id)).values(status=status.value))


async def replace_secret(conn: AsyncConnection, account_id: str, key_id: str, *, digest: bytes, masked: str, now_ms: int) -> None:
    """Let a new secret take the place of the old one, which is dead with this transaction."""
    values = {"digest": digest, "masked": masked, "reset_at": now_ms}
    await conn.execute(sa.update(api_keys).where(_one(account_id, key_id)).values(values))


async def delete(conn: AsyncConnection, account_id: str, key_id: str) -> None:
    await conn.execute(sa.delete(api_keys).where(_one(account_id, key_id)))
