"""Rows of the ledger and refused calls, for tests of what is summed over them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus, Principal
from gateway.domain.ledger import Entry
from gateway.storage.sql.engine import AsyncEngine, create_engine
from gateway.storage.sql.entries import store
from gateway.storage.sql.ledger import SqlLedger
from gateway.storage.sql.refusals import SqlRefusals

HOUR = 3_600_000
NOW = 1_700_000_000_000


def entry(call_id: str, at: int, **fields: object) -> Entry:
    """One call, of key `ak-a` in workspace `llm-a` of account `acc-a`, unless told otherwise."""
    plain = Entry(
        call_id=call_id,
        at=at,
        account_id="acc-a",
        workspace_id="llm-a",
        key_id="ak-a",
        endpoint="chat/completions",
        model="m",
        deployment="d",
        stream=False,
        status=200,
        outcome="ok",
        input_tokens=10,
        output_tokens=5,
        cached_tokens=2,
        estimated=False,
        billing="payg",
        ttft_ms=100,
        duration_ms=300,
    )
    return replace(plain, **fields)


async def fill(engine: AsyncEngine, *entries: Entry) -> None:
    ledger = SqlLedger(engine)
    await ledger.start()
    for one in entries:
        ledger.append(one)
    await ledger.close()


async def refuse(
    engine: AsyncEngine,
    at: int,
    calls: int = 1,
    *,
    account_id: str = "acc-a",
    workspace_id: str = "llm-a",
    key_id: str = "ak-a",
    model: str = "m",
) -> None:
    """Calls that were not admitted."""
    caller = Principal(
        key_id=key_id,
        kind=KeyKind.STANDARD,
        status=KeyStatus.ACTIVE,
        workspace_id=workspace_id,
        account_id=account_id,
        is_default=True,
        epoch=1,
        catalogue_version=1,
    )
    refusals = SqlRefusals(engine)
    for _ in range(calls):
        refusals.count(at, caller, model, "limit_requests")
    await refusals.flush()


def store_beside(data_dir: Path, entries: Sequence[Entry], refused: Sequence[Mapping[str, Any]] = ()) -> None:
    """Rows for the database of a gateway that runs.

    Each of `refused` names the arguments of `refuse`.
    """

    async def work() -> None:
        engine = create_engine(f"sqlite+aiosqlite:///{data_dir / 'gateway.db'}")
        for start in range(0, len(entries), 500):
            await store(engine, entries[start : start + 500])
        for each in refused:
            await refuse(engine, **each)
        await engine.dispose()

    run_beside(work)


def run_beside(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in a thread of its own: Playwright's loop runs in this one."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: asyncio.run(work())).result()
