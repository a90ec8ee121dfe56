"""An account's own limits for a model, which come before the model's."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.grants import Limits
from gateway.storage.sql.tables import account_limits


def _one(account_id: str, model: str) -> sa.ColumnElement[bool]:
    return sa.and_(account_limits.c.account_id == account_id, account_limits.c.model == model)


async def get(conn: AsyncConnection, account_id: str, model: str) -> Limits | None:
    """The account's own limits for a model; None where it has none."""
    query = sa.select(account_limits.c.rpm, account_limits.c.tpm).where(_one(account_id, model))
    found = (await conn.execute(query)).one_or_none()
    return None if found is None else Limits(rpm=found.rpm, tpm=found.tpm)


async def of_account(conn: AsyncConnection, account_id: str) -> dict[str, Limits]:
    """All limits of the account's own, by model."""
    query = sa.select(account_limits.c.model, account_limits.c.rpm, account_limits.c.tpm)
    query = query.where(account_limits.c.account_id == account_id)
    return {model: Limits(rpm=rpm, tpm=tpm) for model, rpm, tpm in await conn.execute(query)}


async def put(conn: AsyncConnection, account_id: str, model: str, limits: Limits, now_ms: int) -> None:
    """Insert or replace; the caller holds the account's row, so no other writer comes between."""
    values = {"rpm": limits.rpm, "tpm": limits.tpm, "updated_at": now_ms}
    changed = await conn.execute(sa.update(account_limits).where(_one(account_id, model)).values(**values))
    if changed.rowcount == 0:
        await conn.execute(sa.insert(account_limits).values(account_id=account_id, model=model, **values))


async def delete(conn: AsyncConnection, account_id: str, model: str) -> None:
    await conn.execute(sa.delete(account_limits).where(_one(account_id, model)))
