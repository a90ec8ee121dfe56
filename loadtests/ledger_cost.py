"""What a ledger entry costs the process that keeps it: embedded into a file of SQLite, shared through Redis into PostgreSQL.

    python -m loadtests.ledger_cost [--entries 20000] [--rate 5000] [--runs 5] [--work 0] [--only embedded]

Entries come one a turn of the event loop, at a steady pace, on one core. Printed is what an entry takes of that core until it is
stored, threads and all, without what the pace itself takes; what it takes of the servers; and how late a timer of a millisecond
was, which is how long calls had to wait. `--work` has each entry come with so many microseconds of a call's own work, to see
how the ledger's threads get along with it. Medians of the runs.
"""

import argparse
import asyncio
import gc
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
import uvloop

from gateway.domain import ids
from gateway.domain.ledger import Entry
from gateway.storage.redis.address import Address
from gateway.storage.redis.consumer import StreamConsumer
from gateway.storage.redis.ledger import StreamLedger
from gateway.storage.redis.streams import Streams
from gateway.storage.sql.engine import AsyncEngine, create_engine, reading
from gateway.storage.sql.entries import store
from gateway.storage.sql.ledger import SqlLedger
from gateway.storage.sql.migrate import upgrade
from gateway.storage.sql.tables import ledger as table
from loadtests.peers import Peer
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer

KEYS, WORKSPACES, MODELS = 50, 10, 5
# As in the gateway, where all calls of a key share them, each of these texts is one object.
_ACCOUNTS = [f"acc-01jz8xw6t5k3e9v7b2n4m{number:05}" for number in range(10_000)]
_WORKSPACES = [f"llm-01jz8xw6t5k3e9v7b2n4m{number:05}" for number in range(WORKSPACES)]
_KEYS = [f"ak-01jz8xw6t5k3e9v7b2n4m{number:05}" for number in range(KEYS)]
_MODELS = [f"model-{number}-instruct" for number in range(MODELS)]
_STREAMS = 16
_WARM_UP = 2000


class Taker(Protocol):
    def append(self, entry: Entry) -> None: ...


class Nobody:
    """Takes entries and does nothing, to see what the pace costs."""

    def append(self, entry: Entry) -> None:
        pass


@dataclass(frozen=True)
class Run:
    """Microseconds of this process's time and of the servers' for an entry; how late the timer was, in milliseconds: of a hundred
    times the last but one, once more where entries come and nobody takes them, and the worst.
    """

    own: float
    servers: float
    late: float
    late_anyway: float
    worst: float


@dataclass
class Bench:
    """How entries come: how many, how many a second, with how many microseconds of other work each."""

    entries: int
    rate: float
    work: float
    accounts: int

    def make(self, count: int) -> list[Entry]:
        """Calls of one account, or of several, spread over a minute."""
        start = time.time_ns() // 1_000_000
        return [self._entry(start + 60_000 * number // count) for number in range(count)]

    def _entry(self, at: int) -> Entry:
        key = random.randrange(KEYS)
        return Entry(
            call_id=ids.call_id(at),
            at=at,
            account_id=_ACCOUNTS[random.randrange(self.accounts)],
            workspace_id=_WORKSPACES[key % len(_WORKSPACES)],
            key_id=_KEYS[key],
            endpoint="chat/completions",
            model=random.choice(_MODELS),
            deployment="up-01jz8xw6t5k3e9v7b2n4m/model-instruct",
            stream=random.random() < 0.5,
            status=200,
            outcome="ok" if random.random() < 0.98 else "client_gone",
            input_tokens=random.randrange(5000),
            output_tokens=random.randrange(1000),
            cached_tokens=random.randrange(500),
            estimated=random.random() < 0.05,
            billing="payg",
            ttft_ms=random.randrange(2000) if random.random() < 0.9 else None,
            duration_ms=random.randrange(20_000),
        )

    async def bring(self, taker: Taker, entries: list[Entry]) -> list[float]:
        """Hand entries in at the pace. Returns how late a timer was, in milliseconds, sorted."""
        late: list[float] = []
        ticker = asyncio.create_task(_tick(late))
        start, sent = time.perf_counter(), 0
        while sent < len(entries):
            due = min(len(entries), int((time.perf_counter() - start) * self.rate))
            while sent < due:
                _burn(self.work)
                taker.append(entries[sent])
                sent += 1
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        ticker.cancel()
        return sorted(late)


async def _tick(late: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - before) * 1000 - 1)


def _burn(microseconds: float) -> None:
    until = time.perf_counter() + microseconds / 1e6
    while time.perf_counter() < until:
        pass


@asynccontextmanager
async def embedded(engine: AsyncEngine) -> AsyncIterator[Taker]:
    kept = SqlLedger(engine)
    await kept.start()
    yield kept
    await kept.close()


@asynccontextmanager
async def shared(engine: AsyncEngine, url: str) -> AsyncIterator[Taker]:
    client, streams = Address.of(url).client(), Streams(_STREAMS)
    kept = StreamLedger(client, streams, partial(store, engine))
    consumer = StreamConsumer(client, streams, partial(store, engine))
    await kept.start()
    await consumer.start()
    yield kept
    await kept.close()
    await consumer.close()
    await client.aclose()


async def _stored(engine: AsyncEngine, count: int) -> None:
    while True:
        async with reading(engine) as connection:
            if await connection.scalar(sa.select(sa.func.count()).select_from(table)) == count:
                return
        await asyncio.sleep(0.2)


async def measure(bench: Bench, database: str, redis: str | None, servers: Peer) -> Run:
    engine = create_engine(database)
    async with shared(engine, redis) if redis else embedded(engine) as taker:
        await bench.bring(taker, bench.make(_WARM_UP))
        await _stored(engine, _WARM_UP)
        entries = bench.make(bench.entries)
        gc.collect()
        gc.freeze()  # so that what was imported is not looked through again and again
        before = time.process_time()
        late_anyway = await bench.bring(Nobody(), entries)
        pace = time.process_time() - before
        theirs, before = servers.cpu_seconds(), time.process_time()
        late = await bench.bring(taker, entries)
        await _stored(engine, _WARM_UP + bench.entries)
        own, theirs = time.process_time() - before - pace, servers.cpu_seconds() - theirs
    await engine.dispose()
    share = 1e6 / bench.entries
    return Run(own * share, theirs * share, _p99(late), _p99(late_anyway), late[-1])


def _p99(values: list[float]) -> float:
    return values[len(values) * 99 // 100]


@contextmanager
def _core() -> Iterator[None]:
    """Only one of the cores, for this process alone."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(every)})
    yield
    os.sched_setaffinity(0, every)


def _run(bench: Bench, database: str, redis: str | None, servers: Peer) -> Run:
    upgrade(database)
    with _core(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(bench, database, redis, servers))


def run_embedded(bench: Bench) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        return _run(bench, f"sqlite+aiosqlite:///{Path(folder) / 'gateway.db'}", None, Peer("", 0, []))


def run_shared(bench: Bench) -> Run:
    with PostgresServer() as postgres, RedisServer() as redis:
        return _run(bench, postgres.url, redis.url, Peer("", 0, [], [postgres.pid, redis.process.pid]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=20_000, help="how many are measured (default 20,000)")
    parser.add_argument("--rate", type=float, default=5000, help="how many come a second (default 5,000)")
    parser.add_argument("--work", type=float, default=0, help="microseconds of other work with each (default 0)")
    parser.add_argument("--accounts", type=int, default=1, help="how many accounts they are of (default 1)")
    parser.add_argument("--runs", type=int, default=5, help="of which the median is printed (default 5)")
    parser.add_argument("--only", choices=["embedded", "shared"], help="only this profile")
    given = parser.parse_args()
    bench = Bench(given.entries, given.rate, given.work, given.accounts)
    for name, run in {"embedded": run_embedded, "shared": run_shared}.items():
        if given.only in (None, name):
            found = [run(bench) for _ in range(given.runs)]
            own, servers, late, late_anyway, worst = (
                statistics.median(getattr(each, field) for each in found) for field in Run.__dataclass_fields__
            )
            print(
                f"{name}: an entry took {own:.1f} us of this process, {servers:.1f} us of the servers; a timer was late by "
                f"{late:.1f} ms (p99; {late_anyway:.1f} without the ledger), {worst:.1f} ms at worst",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
