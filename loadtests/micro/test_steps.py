"""`make bench-micro` runs this: how long each step of a call takes. A test among the others runs each once."""

import time
from asyncio import Runner
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from loadtests.micro.calls import NoNetwork
from loadtests.micro.step import Step, Together
from loadtests.micro.steps import STEPS

_SECONDS = 0.5  # for each


def _marks(step: Step | Together) -> pytest.MarkDecorator:
    """By the clock of a step, the work of `per` calls takes as long as one."""
    clock = time.perf_counter if step.per == 1 else lambda: time.perf_counter() / step.per
    return pytest.mark.benchmark(group=step.group, timer=clock, max_time=_SECONDS / step.per)


@pytest.fixture
def runner() -> Iterator[Runner]:
    with Runner(loop_factory=NoNetwork) as made:
        yield made


@pytest.mark.parametrize("step", [pytest.param(step, id=step.name, marks=_marks(step)) for step in STEPS])
def test_step(step: Step | Together, benchmark: BenchmarkFixture, runner: Runner) -> None:
    if isinstance(step, Together):
        run = runner.run(step.prepare())
        benchmark(lambda: runner.get_loop().run_until_complete(run()))
    else:
        runner.run(_within(step, benchmark))


async def _within(step: Step, benchmark: BenchmarkFixture) -> None:
    benchmark(await step.prepare())
