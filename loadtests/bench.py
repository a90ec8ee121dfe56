"""Side by side on one machine: this gateway, nginx, Envoy, and nothing in between. `make bench`, or `make bench-quick`;
`make bench-peers` adds Portkey's gateway and LiteLLM's proxy.

Each server has one core, the load and the upstream the other. Runs are interleaved, so that a machine that is slower for a while
is so for everybody; a figure is the median of its runs, with the least and the most. What is printed goes to loadtests/results/
too.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtests import other_gateways, peers
from loadtests.check import check
from loadtests.load import NotHeld, Sample, Shot, Streams, fire, hold_streams, pinned
from loadtests.peers import Missing, Peer
from loadtests.report import markdown, plots

RESULTS = Path(__file__).parent / "results"
_PORT = 19_100
_UPSTREAM = 19_099


@dataclass(frozen=True)
class Case:
    """What is measured: a title, what is sent, and whether bytes a second are what counts."""

    name: str
    title: str
    shot: Shot


CASES = [
    Case("small", "small JSON", Shot()),
    Case("prompt", "100 KB prompt", Shot(prompt=100_000)),
    Case("large", "200 KB reply", Shot("large")),
    Case("events", "200 events, streamed", Shot("events", stream=True)),
    Case("refused", "refused: bad key", Shot(bad_key=True)),
]
Maker = Callable[[], AbstractContextManager[Peer]]
ONLY_IF_NAMED = ("portkey", "litellm")


def makers(wanted: list[str]) -> dict[str, Maker]:
    every: dict[str, Maker] = {
        "direct": lambda: peers.direct(_UPSTREAM, 1),
        "embedded": lambda: peers.embedded(_PORT + 1, _UPSTREAM),
        "shared": lambda: peers.shared(_PORT + 2, _UPSTREAM),
        "shared-1000": lambda: peers.shared(_PORT + 3, _UPSTREAM, accounts=1000),
        "nginx": lambda: peers.nginx(_PORT + 4, _UPSTREAM),
        "envoy": lambda: peers.envoy(_PORT + 5, _UPSTREAM),
        "portkey": lambda: other_gateways.portkey(_PORT + 6, _UPSTREAM),
        "litellm": lambda: other_gateways.litellm(_PORT + 7, _UPSTREAM),
    }
    return {name: make for name, make in every.items() if name in (wanted or every.keys() - ONLY_IF_NAMED)}


def measure(servers: list[Peer], cases: list[Case], rounds: int, seconds: float) -> dict[str, dict[str, list[Sample]]]:
    """Samples by case and server, in rounds, each server once a round."""
    found: dict[str, dict[str, list[Sample]]] = {case.name: {peer.name: [] for peer in servers} for case in cases}
    for case in cases:
        for round_number in range(rounds + 1):
            for peer in servers:
                if case.name in peer.cannot:
                    continue
                sample = fire(peer, case.shot, peer.warm_up if round_number == 0 else seconds)
                if round_number:  # the first one only warms up
                    found[case.name][peer.name].append(sample)
        told = ", ".join(
            f"{name} {statistics.median(sample.calls for sample in samples):,.0f}"
            for name, samples in found[case.name].items()
            if samples
        )
        print(f"{case.title}: {told} calls/s", flush=True)
    return found


def watch_streams(servers: list[Peer], counts: list[int]) -> dict[str, dict[int, Streams | str]]:
    """What was seen of so many streams through each server, or why it holds no such number; more are then not tried."""
    found: dict[str, dict[int, Streams | str]] = {}
    for peer in servers:
        if peer.name == "direct":
            continue
        for count in sorted(counts):
            try:
                streams = asyncio.run(hold_streams(peer, count, 10))
            except NotHeld as reason:
                found.setdefault(peer.name, {})[count] = str(reason)
                print(f"{count:,} streams through {peer.name} are not held: {reason}", flush=True)
                _let_calm_down(peer)
                break
            found.setdefault(peer.name, {})[count] = streams
            print(
                f"{count:,} streams through {peer.name}: {streams.bytes_a_stream / 1024:.1f} KiB each, "
                f"{streams.total_bytes / 2**20:.0f} MiB in all, events {streams.p50:.1f} ms late (p99 {streams.p99:.1f})",
                flush=True,
            )
            time.sleep(1)
    return found


def _let_calm_down(peer: Peer) -> None:
    """Return once it works at nothing any more, or after a minute: the core is everybody's."""
    for _ in range(60):
        before = peer.cpu_seconds()
        time.sleep(1)
        if peer.cpu_seconds() - before < 0.1:
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each case and server (default 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each run takes (default 4)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="only this server: direct, embedded, shared, shared-1000, nginx, envoy, portkey, litellm",
    )
    parser.add_argument("--case", action="append", default=[], help=f"only this case ({', '.join(case.name for case in CASES)})")
    parser.add_argument("--streams", type=int, action="append", default=[], help="also hold so many slow streams")
    parser.add_argument("--name", default="latest", help="the name of the results' files")
    given = parser.parse_args()
    cases = [case for case in CASES if not given.case or case.name in given.case]
    pinned()
    started = time.time()
    with ExitStack() as stack:
        stack.enter_context(peers.upstream(_UPSTREAM))
        servers = []
        for name, make in makers(given.only).items():
            try:
                servers.append(stack.enter_context(make()))
                check(servers[-1])
            except Missing as missing:
                print(f"left out: {name} ({missing})", flush=True)
        found = measure(servers, cases, given.rounds, given.seconds)
        held = watch_streams(servers, given.streams) if given.streams else {}
    facts = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    facts |= {"rounds": given.rounds, "seconds": given.seconds, "took": round(time.time() - started)}
    text = markdown({case.name: case.title for case in cases}, found, held, facts | {"notes": _notes(servers, cases)})
    print("\n" + text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{given.name}.md").write_text(text)
    (RESULTS / f"{given.name}.json").write_text(json.dumps(_plain(found, held, facts), indent=1))
    plots({case.name: case.title for case in cases}, found, RESULTS / given.name)
    return 0


def _notes(servers: list[Peer], cases: list[Case]) -> list[str]:
    """What a reader of the tables has to know of who is in them, and why somebody is not."""
    absent = [
        f"Not under “{case.title}”: {', '.join(names)}, since {reason}."
        for case in cases
        for reason in sorted({peer.cannot[case.name] for peer in servers if case.name in peer.cannot})
        if (names := [peer.name for peer in servers if peer.cannot.get(case.name) == reason])
    ]
    return [peer.about for peer in servers if peer.about] + absent


def _plain(
    found: dict[str, dict[str, list[Sample]]], held: dict[str, dict[int, Streams | str]], facts: dict[str, Any]
) -> dict[str, Any]:
    samples = {case: {name: [asdict(each) for each in row] for name, row in rows.items()} for case, rows in found.items()}
    streams = {
        name: {str(count): each if isinstance(each, str) else asdict(each) for count, each in row.items()}
        for name, row in held.items()
    }
    return {"facts": facts, "samples": samples, "streams": streams}


if __name__ == "__main__":
    sys.exit(main())
