"""Whether the metric of own overhead tells what an outside client measures: `python -m loadtests.overhead`.

A model server answers after 20 ms. A client calls it directly, through a relay that only passes bytes on, and through the
gateway, in turns, at the same steady rate. What a call through the gateway takes longer than a direct one is compared with what
`gateway_overhead_seconds` counted meanwhile. What it takes longer through the bare relay is the part that no process can see
of itself: two more connections in the kernel, and waking up. Relay and gateway have a core of their own; client and model
server share the other one.
"""

import argparse
import sys
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from statistics import fmean, median
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from loadtests import latency, ours
from loadtests.load import Shot
from loadtests.peers import MEASURED_CORE, ROOT, Missing, Peer, direct, process, upstream, wait_for

_SHOT = Shot(model="later")
_METRIC = "gateway_overhead_seconds"
_MICRO = 1e6
Buckets = list[tuple[float, float]]


class Round(NamedTuple):
    """Microseconds: mean and median of what the client measured, of the metric, and of the bare relay."""

    mean: float
    half: float
    told: float
    told_half: float
    hop: float
    hop_half: float


def counted(port: int) -> tuple[float, float, Buckets]:
    """The metric's sum and count so far, and how many calls took at most each bound."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    (family,) = [each for each in text_string_to_metric_families(text) if each.name == _METRIC]
    of = [sample for sample in family.samples if sample.labels.get("stream") == "false"]
    total = sum(sample.value for sample in of if sample.name.endswith("_sum"))
    count = sum(sample.value for sample in of if sample.name.endswith("_count"))
    return total, count, [(float(sample.labels["le"]), sample.value) for sample in of if sample.name.endswith("_bucket")]


def half(before: Buckets, after: Buckets) -> float:
    """The median by the buckets, as `histogram_quantile` reckons it."""
    so_far = dict(before)
    counts = [(bound, count - so_far.get(bound, 0.0)) for bound, count in after]
    wanted, low, below = counts[-1][1] / 2, 0.0, 0.0
    for bound, count in counts:
        if count >= wanted:
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


def one_round(gateway: Peer, relay: Peer, straight: Peer, rate: float, seconds: float) -> Round:
    """Each in its turn. Raises Missing where the metric did not count each call."""
    without = latency.times(straight, _SHOT, rate, seconds)
    passed = latency.times(relay, _SHOT, rate, seconds)
    before = counted(gateway.port)
    through = latency.times(gateway, _SHOT, rate, seconds)
    after = counted(gateway.port)
    count = after[1] - before[1]
    if round(count) != len(through):
        raise Missing(f"the metric counted {count:.0f} of {len(through)} calls")
    found = (
        fmean(through) - fmean(without),
        median(through) - median(without),
        (after[0] - before[0]) / count,
        half(before[2], after[2]),
        fmean(passed) - fmean(without),
        median(passed) - median(without),
    )
    return Round(*(each * _MICRO for each in found))


def run(rate: float, seconds: float, rounds: int, port: int) -> list[Round]:
    """So many rounds. Raises Missing, NotKept."""
    found = []
    with ExitStack() as stack:
        stack.enter_context(upstream(port + 1))
        straight = replace(stack.enter_context(direct(port + 1)), path="/v1/chat/completions")
        command = [sys.executable, str(ROOT / "loadtests" / "bare_relay.py"), str(port + 2), str(port + 1)]
        wait_for(stack.enter_context(process(command, MEASURED_CORE, port=port + 2)), port + 2, "/v1/models")
        relay = replace(straight, port=port + 2)
        gateway = stack.enter_context(ours.embedded(port, port + 1))
        latency.times(gateway, _SHOT, rate, 2.0)
        for number in range(rounds):
            each = one_round(gateway, relay, straight, rate, seconds)
            found.append(each)
            print(
                f"round {number + 1}: mean {each.mean:.0f} µs outside, {each.told:.0f} told, {each.hop:.0f} the bare relay;",
                end=" ",
            )
            print(f"median {each.half:.0f} µs outside, {each.told_half:.0f} told, {each.hop_half:.0f} the bare relay", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second (default 100)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn (default 5)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default 9)")
    parser.add_argument("--port", type=int, default=18380, help="of the gateway; model server and relay have the next ones")
    given = parser.parse_args()
    try:
        rounds = run(given.rate, given.seconds, given.rounds, given.port)
    except (Missing, latency.NotKept) as problem:
        print(problem, file=sys.stderr)
        return 1
    middle = Round(*(median(column) for column in zip(*rounds, strict=True)))
    print(f"medians of {given.rounds} rounds at {given.rate:g} calls/s:")
    for name, outside, told, hop in (
        ("mean", middle.mean, middle.told, middle.hop),
        ("median", middle.half, middle.told_half, middle.hop_half),
    ):
        print(f"  {name}: {outside:.0f} µs outside, {told:.0f} µs told: {told / outside:.3f} of it;", end=" ")
        print(f"with the bare relay's {hop:.0f} µs {(told + hop) / outside:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
