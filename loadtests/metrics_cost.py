"""What metrics cost: `python -m loadtests.metrics_cost`.

A scrape, after each of ten thousand workspaces has called: the time until the text is made, and what of it is what. And a call:
its instructions and its processor time, with calls being observed and without, in turns, through the whole gateway but for the
kernel (as `python -m loadtests.opcodes`). What is looked at later, for many calls at once, is in both.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from types import CodeType
from typing import Any

from gateway.dataplane import observe
from gateway.dataplane.call import Call
from gateway.dataplane.observe import Observer
from gateway.domain.credentials import KeyKind, generate
from gateway.domain.grants import Limits
from gateway.ops.exposition import rendered
from gateway.ops.process import Process
from gateway.ops.snapshots import decoded, encoded, merged
from loadtests.micro import calls
from loadtests.micro.step import Together
from loadtests.opcodes import counted
from tests.dataplane.world import MODEL, PEPPER, World, completion

_SCRAPES, _MOST_MS = 25, 50.0
_NAMES = {"JSON call": "JSON call, bytes to bytes", "stream": "stream of 200 events, bytes to bytes"}


@dataclass(frozen=True, slots=True)
class Scrape:
    """Milliseconds, medians: the whole, its snapshot and its text; how many series and bytes; and the whole of four workers."""

    whole: float
    snapshot: float
    text: float
    series: int
    size: int
    workers: float


async def scraped(workspaces: int) -> Scrape:
    """What a scrape takes after a call of each of so many workspaces, each held to four limits, under twenty models' names."""
    world = World(max_keys=workspaces, limits=Limits(rpm=1_000_000, tpm=100_000_000))
    world.metrics.watch_conservation(world.admissions.conservation)
    world.metrics.source(Process().families)
    world.upstreams.serve(MODEL, completion())
    for number in range(workspaces):
        key = generate(KeyKind.STANDARD, PEPPER)
        world.store.rows[key.digest] = replace(
            world.principal(f"ak-{number}"),
            workspace_id=f"llm-{number}",
            account_id=f"acc-{number}",
            is_default=False,
            grants={MODEL: Limits(rpm=1000, tpm=1_000_000)},
        )
        exchange = await world.call(key=key.text)
        assert exchange.status == 200, exchange.text
    world.ledger.rows.clear()
    snapshot, text = world.metrics.snapshot, world.metrics.render
    one = snapshot()
    shared = encoded(one)
    return Scrape(
        whole=_milliseconds(text),
        snapshot=_milliseconds(snapshot),
        text=_milliseconds(lambda: rendered(one)),
        series=sum(not line.startswith("#") for line in text().decode().splitlines()),
        size=len(text()),
        workers=_milliseconds(lambda: rendered(merged([snapshot(), *(decoded(shared) for _ in range(3))]))),
    )


def _milliseconds(work: Callable[[], object]) -> float:
    took = []
    for _ in range(_SCRAPES):
        begun = time.perf_counter()
        work()
        took.append((time.perf_counter() - begun) * 1000)
    return median(took)


@contextmanager
def unobserved() -> Any:
    """Calls are not remembered, and not looked at."""
    kept = Observer.ended
    setattr(Observer, "ended", _forget)  # noqa: B010 — what no type allows
    try:
        yield
    finally:
        setattr(Observer, "ended", kept)  # noqa: B010 — as above


def _forget(_self: Observer, _call: Call) -> None:
    """As if metrics knew nothing of calls."""


def instructions(step: Together) -> float:
    """Those of one call; its share of looking at many is in it, since just as many are counted as are looked at together."""
    batches = observe._AT_ONCE // step.per  # noqa: SLF001 — what is measured
    total: Counter[CodeType] = Counter()
    with asyncio.Runner(loop_factory=calls.NoNetwork) as runner:
        many = replace(step, prepare=lambda: _repeated(step, batches))
        found, _ = runner.run(counted(many))
        total.update(found)
    return total.total() / step.per / batches


async def _repeated(step: Together, batches: int) -> Callable[[], Any]:
    run = await step.prepare()

    async def several() -> None:
        for _ in range(batches):
            await run()

    return several


def microseconds(step: Together, batches: int) -> float:
    """Processor time of one call, of so many batches together."""
    with asyncio.Runner(loop_factory=calls.NoNetwork) as runner:
        run = runner.run(_repeated(step, batches))
        runner.run(run())
        begun = time.process_time()
        runner.run(run())
        return (time.process_time() - begun) * 1e6 / batches / step.per


def compare(step: Together, rounds: int, batches: int) -> tuple[float, float, float, float]:
    """Instructions with and without, the microseconds with, and the median of how many times as many they are."""
    with_, ratios = [], []
    counted_with = instructions(step)
    with unobserved():
        counted_without = instructions(step)
    for number in range(rounds):
        # Which comes first changes, so that a machine that grows slower favours neither.
        order = (True, False) if number % 2 else (False, True)
        took = {}
        for observed in order:
            if observed:
                took[True] = microseconds(step, batches)
            else:
                with unobserved():
                    took[False] = microseconds(step, batches)
        with_.append(took[True])
        ratios.append(took[True] / took[False])
    return counted_with, counted_without, median(with_), median(ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspaces", type=int, default=10_000, help="that have called (default 10,000)")
    parser.add_argument("--rounds", type=int, default=15, help="with and without, in turns (default 15)")
    parser.add_argument("--batches", type=int, default=60, help="of calls in each (default 60)")
    given = parser.parse_args()
    logging.disable()
    scrape = asyncio.run(scraped(given.workspaces))
    print(f"a scrape after calls of {given.workspaces:,} workspaces: {scrape.whole:.1f} ms", end=" ")
    print(
        f"(snapshot {scrape.snapshot:.1f} ms, text {scrape.text:.1f} ms), {scrape.series:,} series, {scrape.size:,} bytes;",
        end=" ",
    )
    print(f"of four workers together {scrape.workers:.1f} ms")
    steps = {step.name: step for step in calls.STEPS}
    for title, name in _NAMES.items():
        observed, bare, took, ratio = compare(steps[name], given.rounds, given.batches)
        print(f"{title}: {observed:,.0f} instructions, {observed - bare:,.0f} of them for metrics of calls;", end=" ")
        print(f"{took:.1f} µs of processor time, {ratio:.3f} times that of one that is not observed")
    return 0 if scrape.whole < _MOST_MS else 1


if __name__ == "__main__":
    sys.exit(main())
