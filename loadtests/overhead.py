"""Whether the metric of own overhead tells what an outside client measures: `python -m loadtests.overhead`.

A model server answers after 20 ms. A client calls it directly and through the gateway, in turns, at the same steady rate. What a
call through the gateway takes longer is compared with what `gateway_overhead_seconds` counted meanwhile. The gateway has a
core of its own; client and model server share the other one.
"""

import argparse
import sys
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from statistics import fmean, median

from prometheus_client.parser import text_string_to_metric_families

from loadtests import latency, ours
from loadtests.load import Shot
from loadtests.peers import Missing, Peer, direct, upstream

_SHOT = Shot(model="later")
_METRIC = "gateway_overhead_seconds"
_MICRO = 1e6


def counted(port: int) -> tuple[float, float, list[tuple[float, float]]]:
    """The metric's sum and count so far, and how many calls took at most each bound."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    (family,) = [each for each in text_string_to_metric_families(text) if each.name == _METRIC]
    of = [sample for sample in family.samples if sample.labels.get("stream") == "false"]
    total = sum(sample.value for sample in of if sample.name.endswith("_sum"))
    count = sum(sample.value for sample in of if sample.name.endswith("_count"))
    return total, count, [(float(sample.labels["le"]), sample.value) for sample in of if sample.name.endswith("_bucket")]


def half(before: list[tuple[float, float]], after: list[tuple[float, float]]) -> float:
    """The median by the buckets, as `histogram_quantile` reckons it."""
    so_far = dict(before)
    counts = [(bound, count - so_far.get(bound, 0.0)) for bound, count in after]
    wanted, low, below = counts[-1][1] / 2, 0.0, 0.0
    for bound, count in counts:
        if count >= wanted:
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


def one_round(peer: Peer, straight: Peer, rate: float, seconds: float) -> tuple[float, float, float, float]:
    """Microseconds: what the client measured in the mean and in the median, and what the metric says of both."""
    without = latency.times(straight, _SHOT, rate, seconds)
    before = counted(peer.port)
    through = latency.times(peer, _SHOT, rate, seconds)
    after = counted(peer.port)
    told = (after[0] - before[0]) / (after[1] - before[1])
    if round(after[1] - before[1]) != len(through):
        raise Missing(f"the metric counted {after[1] - before[1]:.0f} of {len(through)} calls")
    measured = fmean(through) - fmean(without), median(through) - median(without)
    return measured[0] * _MICRO, measured[1] * _MICRO, told * _MICRO, half(before[2], after[2]) * _MICRO


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second (default 100)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn (default 5)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default 9)")
    parser.add_argument("--port", type=int, default=18380, help="of the gateway; the model server has the next one")
    given = parser.parse_args()
    rounds = []
    try:
        with ExitStack() as stack:
            stack.enter_context(upstream(given.port + 1))
            straight = stack.enter_context(direct(given.port + 1))
            straight = replace(straight, path="/v1/chat/completions")
            peer = stack.enter_context(ours.embedded(given.port, given.port + 1))
            latency.times(peer, _SHOT, given.rate, 2.0)
            for number in range(given.rounds):
                rounds.append(one_round(peer, straight, given.rate, given.seconds))
                mean, half_, told, told_half = rounds[-1]
                print(f"round {number + 1}: mean {mean:.0f} µs outside, {told:.0f} µs told; ", end="")
                print(f"median {half_:.0f} µs outside, {told_half:.0f} µs told", flush=True)
    except (Missing, latency.NotKept) as problem:
        print(problem, file=sys.stderr)
        return 1
    mean, half_, told, told_half = (median(column) for column in zip(*rounds, strict=True))
    print(f"medians of {given.rounds} rounds at {given.rate:g} calls/s:")
    print(f"  mean    {mean:.0f} µs outside, {told:.0f} µs told: {told / mean:.3f}")
    print(f"  median  {half_:.0f} µs outside, {told_half:.0f} µs told: {told_half / half_:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
