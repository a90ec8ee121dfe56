"""What a call executes, counted: `python -m loadtests.opcodes [--functions 40] [NAME]`.

Python's own instructions and function calls, for each of the micro-benchmarks' whole calls. The counts are the same on
every machine and at every load, which times are not; on the machine of docs/performance.md an instruction takes some 15 ns.
What runs in C (parsers, hashes, the kernel) is not in them.
"""

import argparse
import asyncio
import logging
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from loadtests.micro import calls
from loadtests.micro.step import Together

_ROOT = Path(__file__).resolve().parents[1]


async def counted(step: Together) -> tuple[Counter[CodeType], Counter[CodeType]]:
    """Instructions and calls by function, of `step.per` calls through the gateway that is warm."""
    instructions: Counter[CodeType] = Counter()
    frames: Counter[CodeType] = Counter()

    def within(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "opcode":
            instructions[frame.f_code] += 1
        return within

    def entered(frame: FrameType, _event: str, _argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        frames[frame.f_code] += 1
        return within

    run = await step.prepare()
    await run()
    sys.settrace(entered)
    try:
        await run()
    finally:
        sys.settrace(None)
    return instructions, frames


def _place(code: CodeType) -> str:
    path = Path(code.co_filename)
    return f"{path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path.name}:{code.co_firstlineno} {code.co_qualname}"


def main() -> int:
    whole = {step.name: step for step in calls.STEPS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="JSON call, bytes to bytes", help=f"one of: {'; '.join(whole)}")
    parser.add_argument("--functions", type=int, default=30, help="how many functions to list (default 30)")
    given = parser.parse_args()
    if given.name not in whole:
        parser.error(f"there is no call {given.name!r}; there are: {'; '.join(whole)}")
    logging.disable()
    step = whole[given.name]
    with asyncio.Runner(loop_factory=calls.NoNetwork) as runner:
        instructions, frames = runner.run(counted(step))
    print(f"{given.name}: {instructions.total() / step.per:,.0f} instructions, {frames.total() / step.per:,.0f} function calls")
    modules: Counter[str] = Counter()
    for code, count in instructions.items():
        modules[_place(code).rpartition(":")[0]] += count
    for title, rows in (("by module", modules.most_common(given.functions)), ("by function", [])):
        print(f"\n{title}")
        for name, count in rows:
            print(f"{count / step.per:9,.0f}  {name}")
    for code, count in instructions.most_common(given.functions):
        print(f"{count / step.per:9,.0f}  {frames[code] / step.per:6.1f} times  {_place(code)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
