"""Rows as tests need them: each function inserts one and fills in what the test does not care about."""

from typing import Any

import sqlalchemy as sa

from gateway.domain import ids
from gateway.domain.ledger import Entry
from gateway.storage.sql.engine import AsyncConnection, AsyncEngine, reading
from gateway.storage.sql.tables import account_limits, accounts, api_keys, grants, limit_increases, workspaces


async def add_account(conn: AsyncConnection, account_id: str, **values: Any) -> str:
    row = {"id": account_id, "name": account_id, "is_default": False, "epoch": 1, "raised_epoch": 1, "created_at": 0}
    await conn.execute(sa.insert(accounts).values({**row, **values}))
    return account_id


async def add_workspace(conn: AsyncConnection, account_id: str, workspace_id: str, *, is_default: bool = False) -> str:
    row = {"id": workspace_id, "account_id": account_id, "name": workspace_id, "is_default": is_default, "created_at": 0}
    await conn.execute(sa.insert(workspaces).values(row))
    return workspace_id


async def add_key(conn: AsyncConnection, account_id: str, workspace_id: str, digest: bytes, **values: Any) -> str:
    row = {
        "id": ids.key_id(),
        "account_id": account_id,
        "workspace_id": workspace_id,
        "digest": digest,
        "masked": "sk-abcd****wxyz",
        "kind": "sk-",
        "status": "active",
        "description": "",
        "models": None,
        "created_at": 0,
    }
    row.update(values)
    await conn.execute(sa.insert(api_keys).values(row))
    return str(row["id"])


async def add_grant(conn: AsyncConnection, workspace_id: str, model: str, rpm: int | None, tpm: int | None) -> None:
    row = {"workspace_id": workspace_id, "model": model, "rpm": rpm, "tpm": tpm, "created_at": 0, "updated_at": 0}
    await conn.execute(sa.insert(grants).values(row))


async def add_limit(conn: AsyncConnection, account_id: str, model: str, rpm: int | None, tpm: int | None) -> None:
    row = {"account_id": account_id, "model": model, "rpm": rpm, "tpm": tpm, "updated_at": 0}
    await conn.execute(sa.insert(account_limits).values(row))


async def add_increase(
    conn: AsyncConnection, account_id: str, model: str, rpm: int | None, tpm: int | None, **values: Any
) -> str:
    row = {
        "id": ids.call_id(0),
        "account_id": account_id,
        "model": model,
        "rpm": rpm,
        "tpm": tpm,
        "reason": "",
        "created_by": "operator",
        "created_at": 0,
        "ends_at": 1000,
        "ended_at": None,
    }
    row.update(values)
    await conn.execute(sa.insert(limit_increases).values(row))
    return str(row["id"])


async def rows(engine: AsyncEngine, table: sa.Table, *columns: str) -> list[tuple[Any, ...]]:
    """All rows of a table, ordered, as plain tuples."""
    wanted = [table.c[column] for column in columns]
    async with reading(engine) as conn:
        return [tuple(row) for row in await conn.execute(sa.select(*wanted).order_by(*wanted))]


def entry(**values: Any) -> Entry:
    row: dict[str, Any] = {
        "call_id": ids.call_id(1_700_000_000_000),
        "at": 1_700_000_000_000,
        "account_id": "acc-1",
        "workspace_id": "llm-1",
        "key_id": "ak-1",
        "endpoint": "chat/completions",
        "model": "m",
        "deployment": "up-1",
        "stream": False,
        "status": 200,
        "outcome": "ok",
        "input_tokens": 10,
        "output_tokens": 5,
        "cached_tokens": 2,
        "estimated": False,
        "billing": "payg",
        "ttft_ms": 20,
        "duration_ms": 100,
    }
    return Entry(**{**row, **values})
