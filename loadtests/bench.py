"""Side by side on one machine: this gateway, nginx, Envoy, and nothing in between. `make bench`, or `make bench-quick`;
`make bench-peers` adds Portkey's gateway and LiteLLM's proxy.

Each server has one core; the load, the upstream, Redis and PostgreSQL have the other. Runs are interleaved, so that a machine
that is slower for a while is so for everybody; a figure is the median of its runs, with the least and the most. Before a server
is measured it must have answered a call of each kind rightly. What is printed goes to loadtests/results/ too, with a picture.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

from loadtests.cases import CASES, NAMES, OTHER_CASES, SERVERS, Lineup
from loadtests.parts import Run
from loadtests.peers import OTHER_CORE, Missing, program
from loadtests.pictures import draw
from loadtests.report import markdown

RESULTS = Path(__file__).parent / "results"
_PORTS = 15
_EXAMPLES = """
  python -m loadtests.bench                                         everything, about half an hour
  python -m loadtests.bench --case small --only shared --only envoy --rounds 3 --seconds 2
  python -m loadtests.bench --case latency --rate 2000
  python -m loadtests.bench --case streams --streams 5000 --name streams
"""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.bench",
        description=__doc__,
        epilog=f"examples:{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="say what cases and servers there are, and measure nothing")
    parser.add_argument("--case", action="append", choices=NAMES, metavar="NAME", help="only this case; as often as wanted")
    parser.add_argument("--only", action="append", choices=SERVERS, metavar="NAME", help="only this server; as often as wanted")
    parser.add_argument("--rounds", type=_positive, default=5, help="runs of each case and server (default %(default)s)")
    parser.add_argument(
        "--seconds", type=_positive, default=4, help="how long each run takes, in whole seconds (default %(default)s)"
    )
    parser.add_argument("--rate", type=float, help="calls a second of the case latency (default: half of the peak of “shared”)")
    parser.add_argument("--streams", type=_positive, action="append", help="how many to hold open (default: 1000, then 10000)")
    parser.add_argument("--port", type=_positive, default=19_100, help=f"the first of {_PORTS} ports (default %(default)s)")
    parser.add_argument("--name", default="latest", help="the name of the results' files (default %(default)s)")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main() -> int:
    given = _options()
    if given.list:
        print("Cases:", *(f"  {name:12} {told}" for name, told in _cases().items()), sep="\n")
        print("Servers:", *(f"  {name:12} {told}" for name, told in SERVERS.items()), sep="\n")
        return 0
    try:
        program("wrk", "wrk")
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers that were started are stopped then, too
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    facts: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    facts |= {"python": platform.python_version(), "load": os.getloadavg(), "rounds": given.rounds, "seconds": given.seconds}
    run = Run(Lineup(given.only or [], given.port), given.rounds, given.seconds)
    status = 0
    try:
        _measure(run, given)
    except (KeyboardInterrupt, RuntimeError) as error:  # what was found until then is worth having
        run.found.note(f"The run was broken off: {error or 'somebody stopped it'}")
        status = 1
    facts["took"] = round(time.monotonic() - run.begun)
    found, text = run.found, markdown(run.found, facts)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{given.name}.md").write_text(text)
    (RESULTS / f"{given.name}.json").write_text(json.dumps({"facts": facts, **found.plain()}, indent=1) + "\n")
    draw(found, RESULTS / given.name)
    print(f"\n{text}\nThis took {facts['took']} s and is in {RESULTS / given.name}.md, .json and .png.")
    return status


def _cases() -> dict[str, str]:
    return {case.name: case.title for case in CASES} | OTHER_CASES


def _measure(run: Run, given: argparse.Namespace) -> None:
    names = given.case or NAMES
    if set(names) & {"latency", *(case.name for case in CASES)}:
        run.beside_each_other(names, given.rate)
    if "keys" in names:
        run.keys()
    if "streams" in names:
        run.streams(given.streams or [1_000, 10_000])
    if "workers" in names:
        run.workers()


if __name__ == "__main__":
    sys.exit(main())
