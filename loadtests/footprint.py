"""What calls take of Redis and PostgreSQL, and what they leave there, for those who have to size them.

    python -m loadtests.footprint [--calls 20000] [--entries 100000] [--only calls|ledger]

`calls`: the smallest calls through one worker on real servers, one at a time and then many at once, since what comes together is
decided together. Printed is each server's share of a call, without what it does while nobody calls; then what an account that
calls takes of Redis's memory, and what a call does whose entry waits there, because PostgreSQL is away. `ledger`: entries of many
accounts are stored, and the tables and the file are looked at afterwards. Only the times depend on how fast the machine is.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from gateway.storage.sql.engine import AsyncEngine, create_engine, reading
from gateway.storage.sql.entries import store
from gateway.storage.sql.migrate import upgrade
from loadtests import many_keys
from loadtests.ledger_cost import Bench
from loadtests.peers import Peer
from tests.support.gateway_process import KEY_PEPPER
from tests.support.load import Load
from tests.support.postgres_server import PostgresServer
from tests.support.shared_profile import SharedProfile

Counters = dict[str, float]
"""What has been counted since the start; `command …` are Redis's, by name."""

_ENOUGH = "100000000"  # a limit that is counted and never met
_TIGHT = 20  # a limit whose buckets are not full again, and forgotten, while they are looked at
_SETTLED_SECONDS = 4.0  # until the last entries are in PostgreSQL, and its statistics tell of them
_TOLD_SECONDS = 1.0  # until the last entries are out of Redis
_AT_ONCE = (1, 64)
_WARM_UP = 500
_SELDOM = 0.005  # commands for fewer than one call in two hundred are not told
_BATCH = 1000
_ACCOUNTS = 100


async def _look(shared: SharedProfile) -> Counters:
    redis = await asyncio.to_thread(shared.redis.ask, "INFO", "everything")
    found = {
        f"command {name.removeprefix('cmdstat_')}": stat["calls"] for name, stat in redis.items() if name.startswith("cmdstat_")
    }
    ((transactions, wal),) = await shared.rows(
        "SELECT xact_commit, pg_current_wal_lsn() - '0/0' FROM pg_stat_database WHERE datname = 'gateway'"
    )
    return found | {
        "redis seconds": redis["used_cpu_user"] + redis["used_cpu_sys"],
        "redis in": redis["total_net_input_bytes"],
        "redis out": redis["total_net_output_bytes"],
        "transactions": transactions,
        "wal": float(wal),
        "postgres seconds": Peer("", 0, [], [shared.postgres.pid]).cpu_seconds(),
    }


def _since(before: Mapping[str, float], after: Mapping[str, float]) -> Counters:
    return {name: value - before.get(name, 0) for name, value in after.items()}


async def _calls(shared: SharedProfile, key: str, callers: int, count: int) -> None:
    """Send `count` calls, `callers` at once, and print what each took."""
    port = shared.gateways[0].port
    async with Load([port], [key], callers=callers) as load:
        await load.until(_WARM_UP)
    await asyncio.sleep(_SETTLED_SECONDS)
    start, began = await _look(shared), time.monotonic()
    await asyncio.sleep(_SETTLED_SECONDS)
    before = await _look(shared)
    resting = _since(start, before)
    per_second, began = time.monotonic() - began, time.monotonic()
    async with Load([port], [key], callers=callers) as load:
        await load.until(count)
        connections = len(await shared.rows("SELECT 1 FROM pg_stat_activity WHERE application_name = 'gateway'"))
    took = time.monotonic() - began
    await asyncio.sleep(_SETTLED_SECONDS)
    busy, lasted = _since(before, await _look(shared)), time.monotonic() - began
    _all_well(load)
    share = {name: max(0.0, value - resting.get(name, 0) * lasted / per_second) / len(load.calls) for name, value in busy.items()}
    names = {name.removeprefix("command "): value for name, value in share.items() if name.startswith("command ")}
    often = sorted(((value, name) for name, value in names.items() if value >= _SELDOM), reverse=True)
    print(
        f"{callers} at once, {len(load.calls) / took:,.0f} calls/s; a call takes\n"
        f"  of Redis       {share['redis seconds'] * 1e6:.0f} us, {share['redis in']:.0f} bytes in and {share['redis out']:.0f} "
        f"out; {', '.join(f'{value:.2f} {name}' for value, name in often)}\n"
        f"  of PostgreSQL  {share['postgres seconds'] * 1e6:.0f} us, {share['transactions']:.4f} transactions, "
        f"{share['wal']:.0f} bytes of WAL; {connections} connections",
        flush=True,
    )


def _all_well(load: Load) -> None:
    if set(load.statuses()) != {200}:
        raise SystemExit(f"calls went wrong: {load.statuses()}")


async def _memory(shared: SharedProfile, *, after: float) -> int:
    """Bytes that Redis holds, after some seconds without work."""
    await asyncio.sleep(after)
    return int((await asyncio.to_thread(shared.redis.ask, "INFO", "memory"))["used_memory"])


async def _redis_memory(shared: SharedProfile, key: str, count: int) -> None:
    """Print what accounts that call, and calls whose entries wait, take of Redis's memory."""
    port, accounts = shared.gateways[0].port, many_keys.ACCOUNTS
    keys = await asyncio.to_thread(many_keys.fill, shared.postgres.url, KEY_PEPPER, accounts, ["m"], _TIGHT)
    before = await _memory(shared, after=_SETTLED_SECONDS)
    async with Load([port], keys) as load:
        await load.until(accounts)
    account = (await _memory(shared, after=_TOLD_SECONDS) - before) / load.statuses()[200]
    await asyncio.to_thread(shared.postgres.stop)
    before = await _memory(shared, after=_SETTLED_SECONDS)
    async with Load([port], [key]) as load:
        await load.until(count)
    _all_well(load)
    entry = (await _memory(shared, after=_SETTLED_SECONDS) - before) / len(load.calls)
    await asyncio.to_thread(shared.postgres.start)
    print(f"of Redis's memory, an account with a workspace and a model takes {account:.0f} bytes, a waiting entry {entry:.0f}")


async def calls(count: int) -> None:
    limits = {"GATEWAY_DEFAULT_RPM": _ENOUGH, "GATEWAY_DEFAULT_TPM": _ENOUGH}
    shared = await asyncio.to_thread(SharedProfile(1, **limits).__enter__)
    try:
        gateway = shared.gateways[0]
        workspace = (await asyncio.to_thread(gateway.admin, "GET", "/workspaces"))["data"][0]["id"]
        key = (await asyncio.to_thread(gateway.admin, "POST", f"/workspaces/{workspace}/api-keys", {"description": "load"}))[
            "key"
        ]
        for callers in _AT_ONCE:
            await _calls(shared, key, callers, count)
        await _redis_memory(shared, key, count)
    finally:
        await asyncio.to_thread(shared.__exit__, None, None, None)


async def _fill(engine: AsyncEngine, count: int) -> None:
    bench = Bench(count, 0, 0, _ACCOUNTS)
    for start in range(0, count, _BATCH):
        await store(engine, bench.make(min(_BATCH, count - start)))


async def _postgres_ledger(url: str, count: int) -> None:
    engine = create_engine(url)
    async with reading(engine) as connection:
        before = await connection.scalar(sa.text("SELECT pg_current_wal_lsn()::text"))
    await _fill(engine, count)
    async with reading(engine) as connection:
        wal = await connection.scalar(sa.text(f"SELECT pg_current_wal_lsn() - '{before}'::pg_lsn"))
        query = "SELECT pg_table_size('{0}'), pg_indexes_size('{0}'), (SELECT count(*) FROM {0})"
        sizes = {
            name: (await connection.execute(sa.text(query.format(name)))).one()
            for name in ("ledger", "usage_hours", "usage_days")
        }
    await engine.dispose()
    print(f"PostgreSQL, {count:,} entries of {_ACCOUNTS} accounts: {wal / count:.0f} bytes of WAL an entry")
    for name, (table, indexes, rows) in sizes.items():
        print(f"  {name}: {rows:,} rows of {table / rows:.0f} bytes, and {indexes / rows:.0f} in indices", flush=True)


async def _sqlite_ledger(folder: Path, count: int) -> None:
    file = folder / "gateway.db"
    engine = create_engine(f"sqlite+aiosqlite:///{file}")
    before = file.stat().st_size
    await _fill(engine, count)
    await engine.dispose()  # with the last connection its write-ahead log goes into the file
    print(f"SQLite, the same: {(file.stat().st_size - before) / count:.0f} bytes an entry, sums included", flush=True)


def ledger(count: int) -> None:
    with PostgresServer() as postgres:
        upgrade(postgres.url)
        asyncio.run(_postgres_ledger(postgres.url, count))
    with tempfile.TemporaryDirectory() as folder:
        upgrade(f"sqlite+aiosqlite:///{folder}/gateway.db")
        asyncio.run(_sqlite_ledger(Path(folder), count))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000, help="how many are sent each time (default 20,000)")
    parser.add_argument("--entries", type=int, default=100_000, help="how many are stored (default 100,000)")
    parser.add_argument("--only", choices=["calls", "ledger"], help="only one of the two")
    given = parser.parse_args()
    if given.only in (None, "ledger"):
        ledger(given.entries)
    if given.only in (None, "calls"):
        asyncio.run(calls(given.calls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
