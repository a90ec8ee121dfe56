"""The micro-benchmarks go on working, and measure what they say; `make bench-micro` is where they are timed."""

import asyncio
import os
import subprocess
import sys

import pytest

from loadtests import opcodes
from loadtests.micro import calls
from loadtests.micro.calls import NoNetwork
from loadtests.micro.step import Step, Together, at_once
from loadtests.micro.steps import STEPS
from tests.support.processes import ROOT


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_gives_the_right_result_again_and_again(step: Step | Together) -> None:
    """Each step prepares itself, which asserts that its result is right, and can be repeated; else it would measure garbage."""

    async def repeat() -> None:
        if isinstance(step, Step):
            run = await step.prepare()
            for _ in range(3):
                run()
        else:
            batch = await step.prepare()
            for _ in range(3):
                await batch()

    with asyncio.Runner(loop_factory=NoNetwork) as runner:
        runner.run(repeat())


def test_steps_have_names_of_their_own() -> None:
    """A saved run can be compared with a later one, since no two steps share a name, and none holds what a shell would read."""
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names) > 30
    assert not [name for name in names if set(name) & set("[]\"'$`\\")]


def test_what_waits_is_no_step_that_does_not() -> None:
    """Work that waits cannot be measured as if it did not: it is refused, not cut short."""
    with pytest.raises(RuntimeError, match="it waits"):
        at_once(asyncio.sleep(0))


def test_the_command_measures_and_prints_microseconds() -> None:
    """What `make bench-micro` runs prints a table with the least and the median time of a step."""
    command = [sys.executable, "-m", "pytest", "loadtests/micro", "-k", "tokens and estimated"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # it is no part of this run
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Name (time in us)" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("step[tokens estimated]")]
    least, median = map(float, row.split()[2:4])
    assert 0 < least <= median < 1000


def test_a_call_executes_no_more_than_it_may() -> None:
    """The way of a call stays short: its instructions are the same on every machine, so what makes it longer is seen here."""
    (step,) = [each for each in calls.STEPS if each.name == "JSON call, bytes to bytes"]
    with asyncio.Runner(loop_factory=NoNetwork) as runner:
        instructions, frames = runner.run(opcodes.counted(step))
    assert 1_000 < instructions.total() / step.per < 7_500
    assert 50 < frames.total() / step.per < 240


def test_the_count_can_be_printed() -> None:
    """The command lists modules and functions by what a call executes in them, and names the calls that there are."""
    ran = subprocess.run(
        [sys.executable, "-m", "loadtests.opcodes", "--functions", "3"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("JSON call, bytes to bytes: ")
    assert "gateway/storage/memory/admission.py" in ran.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "loadtests.opcodes", "nothing"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "JSON call, bytes to bytes" in wrong.stderr
