"""Thousands of accounts and keys, put into a gateway's database before it starts: faster than through its REST API."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa

from gateway.domain import ids
from gateway.domain.credentials import KeyKind, NewKey, generate
from gateway.storage.sql.engine import AsyncEngine, create_engine, writing
from gateway.storage.sql.tables import account_limits, accounts, api_keys, grants, workspaces

ACCOUNTS = 1_000
_CHUNK = 10_000
_Row = dict[str, Any]


def fill(url: str, pepper: str, keys: int, models: Sequence[str], limit: int) -> list[str]:
    """Put in `keys` keys of at most a thousand accounts, and answer them; the first ones are all of different accounts.

    Each account has a default workspace, and one more that all its keys belong to. There every model is granted; account and
    workspace are held to `limit` calls and tokens a minute. The database has been migrated.
    """
    return asyncio.run(_fill(url, pepper, keys, models, limit))


async def _fill(url: str, pepper: str, keys: int, models: Sequence[str], limit: int) -> list[str]:
    made = [generate(KeyKind.STANDARD, pepper.encode()) for _ in range(keys)]
    homes = [(ids.account_id(), ids.workspace_id()) for _ in range(min(keys, ACCOUNTS))]
    now = int(time.time() * 1000)
    engine = create_engine(url, statement_seconds=600)
    try:
        await _insert(engine, accounts, _accounts(homes, now))
        await _insert(engine, workspaces, _workspaces(homes, now))
        most = {"rpm": limit, "tpm": limit, "updated_at": now}
        await _insert(
            engine, grants, ({"workspace_id": w, "model": m, "created_at": now} | most for _, w in homes for m in models)
        )
        await _insert(engine, account_limits, ({"account_id": a, "model": m} | most for a, _ in homes for m in models))
        await _insert(engine, api_keys, (_key(key, *homes[n % len(homes)], now) for n, key in enumerate(made)))
        if engine.dialect.name == "postgresql":
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(sa.text("ANALYZE"))
    finally:
        await engine.dispose()
    return [key.text for key in made]


async def _insert(engine: AsyncEngine, table: sa.Table, rows: Iterable[_Row]) -> None:
    left = iter(rows)
    while some := list(islice(left, _CHUNK)):
        async with writing(engine) as connection:
            await connection.execute(sa.insert(table), some)


def _accounts(homes: Sequence[tuple[str, str]], now: int) -> Iterator[_Row]:
    for number, (account, _) in enumerate(homes):
        yield {"id": account, "name": f"account {number}", "is_default": False, "created_at": now}


def _workspaces(homes: Sequence[tuple[str, str]], now: int) -> Iterator[_Row]:
    for account, workspace in homes:
        common = {"account_id": account, "created_at": now}
        yield common | {"id": ids.workspace_id(), "name": "default", "is_default": True}
        yield common | {"id": workspace, "name": "team", "is_default": False}


def _key(key: NewKey, account: str, workspace: str, now: int) -> _Row:
    names = {"id": ids.key_id(), "account_id": account, "workspace_id": workspace}
    shown = {"digest": key.digest, "masked": key.masked, "kind": KeyKind.STANDARD.value, "status": "active", "description": ""}
    return names | shown | {"models": None, "created_at": now}
