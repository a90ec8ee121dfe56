"""Exact limits over several operating system processes: what each was told, replayed through the reference in Redis's order.

The script keeps a log of its decisions for this test: a line that is added to it here.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
import redis

from gateway.domain.admission import Answer, Ask
from gateway.domain.buckets import Bucket, Claim, Kind, Level, decide
from gateway.storage.redis import script
from gateway.storage.redis.address import Address
from gateway.storage.redis.admission import RedisAdmissions
from gateway.storage.redis.store import Store
from tests.support.redis_server import RedisServer

PROCESSES, CALLS = 4, 500
ANSWER = b"  answers[index] = handlers[item[1]](item)\n"
LOG = ANSWER + b"  if item[1] == 1 then redis.call('RPUSH', 'log', cmsgpack.pack({item, answers[index]})) end\n"


def logging_script() -> bytes:
    assert script.SOURCE.count(ANSWER) == 1
    return script.SOURCE.replace(ANSWER, LOG)


def claims_of(workspace: str, limits: Sequence[tuple[Level, Kind, int]], tokens: int) -> tuple[Claim, ...]:
    return tuple(
        Claim(level, kind, "acc" if level is Level.ACCOUNT else workspace, "m", rpm, rpm, 1 if kind is Kind.REQUESTS else tokens)
        for level, kind, rpm in limits
    )


async def _drive(url: str, claims: tuple[Claim, ...], barrier: Any, name: str) -> int:
    store = Store(Address.of(url), logging_script(), deadline_seconds=20)
    await store.open()
    limits = RedisAdmissions(store, lease_us=60_000_000, hold_seconds=0, clock=time.monotonic)
    first = await limits.admit(Ask(f"{name}-first", "acc", 1))
    if first.answer is Answer.STALE:
        await limits.admit(Ask(f"{name}-second", "acc", 1, nonce=first.nonce))
    await asyncio.to_thread(barrier.wait, 60)
    found = await asyncio.gather(*(limits.admit(Ask(f"{name}-{number}", "acc", 1, claims)) for number in range(CALLS)))
    await store.close()
    return sum(decision.answer is Answer.ADMITTED for decision in found)


def drive(url: str, claims: tuple[Claim, ...], barrier: Any, name: str, answers: Any) -> None:
    """The main function of a process: all its calls at once; puts how many were admitted."""
    answers.put((name, asyncio.run(_drive(url, claims, barrier, name))))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def run(url: str, claims: Sequence[tuple[Claim, ...]]) -> dict[str, int]:
    """How many calls of each process were admitted; process n makes the calls of `claims[n]`."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(len(claims)), context.Queue()
    processes = [
        context.Process(target=drive, args=(url, each, barrier, f"p{number}", answers)) for number, each in enumerate(claims)
    ]
    for process in processes:
        process.start()
    admitted = dict(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(30)
    return admitted


def decisions(server: RedisServer) -> list[tuple[list[Any], list[Any]]]:
    with redis.Redis(port=server.port) as client:
        log = [msgspec.msgpack.decode(each) for each in client.lrange("log", 0, -1)]
    return [(item, answer) for item, answer in log if item[7]]


def replayed(log: Sequence[tuple[list[Any], list[Any]]]) -> int:
    """How many calls the reference admits, asked in the order and at the times of the log; it must agree with each."""
    buckets: dict[str, Bucket | None] = {}
    admitted = 0
    for item, answer in log:
        names = [claim[0] for claim in item[7]]
        claims = [Claim(Level(each[4] % 2), Kind(each[4] // 2), "", each[0], each[1], each[2], each[3]) for each in item[7]]
        verdict = decide(claims, [buckets.get(name) for name in names], answer[1])
        assert (answer[0] == 0) == verdict.admitted
        if verdict.refused is not None:
            assert (answer[2], answer[3]) == (verdict.refused, verdict.wait_us)
        admitted += verdict.admitted
        buckets |= zip(names, verdict.buckets, strict=True)
    return admitted


def test_four_processes_admit_what_one_limit_allows(server: RedisServer) -> None:
    """2,000 calls at once against 500 requests a minute: 500, and what came back between the first decision and the last."""
    claims = claims_of("ws", [(Level.ACCOUNT, Kind.REQUESTS, 500), (Level.ACCOUNT, Kind.TOKENS, 100_000_000)], 10)
    admitted = run(server.url, [claims] * PROCESSES)
    log = decisions(server)
    assert len(log) == PROCESSES * CALLS
    times = [answer[1] for _, answer in log]
    assert times == sorted(times)
    assert sum(admitted.values()) == replayed(log)
    # Between the first taking and the last admission, a request came back every 60/500 s.
    last = max(answer[1] for _, answer in log if answer[0] == 0)
    assert 500 <= sum(admitted.values()) <= 500 + (max(times) - times[0]) * 500 // 60_000_000 + 1
    assert sum(admitted.values()) >= 500 + (last - times[0]) * 500 // 60_000_000


def test_two_workspaces_never_exceed_their_account_together(server: RedisServer) -> None:
    """Each workspace could take 400 by its own limit; their account allows both together 500."""
    limits = [
        (Level.WORKSPACE, Kind.REQUESTS, 400),
        (Level.WORKSPACE, Kind.TOKENS, 40_000),
        (Level.ACCOUNT, Kind.REQUESTS, 500),
        (Level.ACCOUNT, Kind.TOKENS, 50_000),
    ]
    admitted = run(server.url, [claims_of(f"ws-{number % 2}", limits, 100) for number in range(PROCESSES)])
    log = decisions(server)
    assert sum(admitted.values()) == replayed(log)
    seconds = (log[-1][1][1] - log[0][1][1]) / 1e6
    assert 500 <= sum(admitted.values()) <= 501 + seconds * 500 / 60
    for pair in (("p0", "p2"), ("p1", "p3")):
        assert sum(admitted[name] for name in pair) <= 401 + seconds * 400 / 60
