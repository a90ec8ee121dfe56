"""The parts of a run. Each starts the servers that it needs, sees that they answer rightly, and measures them in turn."""

import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

from loadtests import latency, peers, streams
from loadtests.cases import CASES, COLD, KEYS, Lineup, Maker
from loadtests.check import check
from loadtests.findings import Findings
from loadtests.load import Sample, Shot, fire
from loadtests.peers import BOTH_CORES, Missing, Peer

_LONGEST_WARM_UP = 30
_LONGEST_REST, _LOOK_SECONDS, _IDLE = 60.0, 0.1, 0.15  # the latter as a part of a core


@dataclass
class Run:
    """One run: who, how often, how long, and what has been found so far."""

    lineup: Lineup
    rounds: int
    seconds: int
    found: Findings = field(default_factory=Findings)
    begun: float = field(default_factory=time.monotonic)

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begun:5.0f} s] {text}", flush=True)

    def beside_each_other(self, names: Sequence[str], rate: float | None) -> None:
        """The cases in which wrk sends as fast as it can, and what calls take at a steady rate."""
        cases = [case for case in CASES if case.name in names]
        with self._upstream(), self._started(self.lineup.usual()) as servers:
            for case in cases:
                self._in_turn(case.name, case.title, self._able(case.name, case.title, servers), case.shot)
            if "latency" in names:
                self._latencies(self._able("latency", "Added latency", servers), rate or self._half_of_peak(servers))

    def keys(self) -> None:
        """Keys in rotation: remembered ones, and such as are read from the database each time."""
        with self._upstream():
            with self._started(self.lineup.with_keys(cold=False)) as servers:
                for count in KEYS:
                    self._in_turn(f"keys-{count}", f"{count:,} keys in rotation", servers, Shot(), count)
            with self._started(self.lineup.with_keys(cold=True)) as servers:
                self._in_turn("cold", f"{COLD:,} keys in rotation, never remembered", servers, Shot(), COLD)

    def workers(self) -> None:
        """One worker and two, on both cores."""
        own = self.lineup.port + 12
        with peers.upstream(own, BOTH_CORES), self._started(self.lineup.with_workers(own)) as servers:
            self._in_turn("workers", "Small JSON on both cores", servers, Shot())

    def streams(self, counts: Sequence[int]) -> None:
        """Open streams. The servers are fresh ones, so that nothing but streams has their memory."""
        most, why = streams.most()
        with self._upstream(), self._started(self.lineup.usual()) as servers:
            for peer in self._able("streams", "Open streams", servers):
                before, rows = peer.memory(), self.found.streams.setdefault(peer.name, {})
                for asked in sorted(counts):
                    count = min(asked, most)
                    if count < asked:
                        self.found.note(f"{count:,} streams stand for {asked:,}, since {why}.")
                    try:
                        rows[asked] = held = streams.hold(peer, count, before)
                    except streams.NotHeld as reason:
                        rows[asked] = str(reason)
                        self._say(f"{count:,} streams through {peer.name} are not held: {reason}")
                        _rest(peer)
                        break
                    memory = f"{held.bytes_a_stream / 1024:.1f} KiB each, {held.total_bytes / 2**20:.0f} MiB in all, "
                    late = f"{held.events:,.0f} events/s, {held.p50:.2f} ms late (p99 {held.p99:.2f})"
                    self._say(f"{count:,} streams through {peer.name}: {memory if peer.processes else ''}{late}")
                    time.sleep(1)

    def _upstream(self) -> AbstractContextManager[int]:
        return peers.upstream(self.lineup.port)

    @contextmanager
    def _started(self, makers: Mapping[str, Maker]) -> Iterator[list[Peer]]:
        """The servers that there are and that answer rightly; of each other one it is noted why it is not among them."""
        with ExitStack() as stack:
            servers = []
            for name, make in makers.items():
                try:
                    with ExitStack() as own:
                        peer = own.enter_context(make())
                        check(peer)
                        stack.enter_context(own.pop_all())
                except Missing as missing:
                    self._say(f"left out: {name} ({missing})")
                    self.found.note(f"Left out: {name}, since {missing}")
                    continue
                servers.append(peer)
                self.found.note(peer.about)
            self._say(f"There are: {', '.join(peer.name for peer in servers)}")
            yield servers

    def _able(self, case: str, title: str, servers: Sequence[Peer]) -> list[Peer]:
        """Those that can be measured at it; why the others are not is noted."""
        for reason in sorted({peer.cannot[case] for peer in servers if case in peer.cannot}):
            names = "; ".join(peer.name for peer in servers if peer.cannot.get(case) == reason)
            self.found.note(f"Not under “{title}”: {names}, since {reason}.")
        return [peer for peer in servers if case not in peer.cannot]

    def _in_turn(self, case: str, title: str, servers: Sequence[Peer], shot: Shot, keys: int | None = None) -> None:
        """So many rounds, in each of which every server has its turn, after each has been warmed up."""
        found: dict[str, list[Sample]] = {peer.name: [] for peer in servers}
        places = {}
        for peer in servers:
            places[peer.name] = _warm(peer, shot, keys)
            _rest(peer)
        for _, peer in itertools.product(range(self.rounds), servers):
            sample = fire(peer, shot, self.seconds, keys, places[peer.name])
            places[peer.name] += sample.answered  # the next round goes on with the keys that are next
            self.found.afterwards.setdefault(peer.name, []).append(_rest(peer))
            found[peer.name].append(sample)
        self.found.samples[case] = {name: samples for name, samples in found.items() if samples}
        told = (f"{name} {statistics.median(each.calls for each in row):,.0f}" for name, row in found.items() if row)
        self._say(f"{title}: {', '.join(told)} calls/s")

    def _half_of_peak(self, servers: Sequence[Peer]) -> float:
        """Half of the calls a second that this gateway took of small JSON: on its shared profile, if that is there."""
        for name in ("shared", "embedded"):
            if peer := next((peer for peer in servers if peer.name == name), None):
                samples = self.found.samples.get("small", {}).get(name)
                if not samples:
                    _warm(peer, Shot(), None)
                    samples = [fire(peer, Shot(), self.seconds) for _ in range(self.rounds)]
                return statistics.median(sample.calls for sample in samples) / 2
        return 1000.0

    def _latencies(self, servers: Sequence[Peer], rate: float) -> None:
        self.found.rate = rate
        peaks = {name: statistics.median(each.calls for each in row) for name, row in self.found.samples.get("small", {}).items()}
        able = [peer for peer in servers if peaks.get(peer.name, rate + 1) > rate]
        if slow := [peer.name for peer in servers if peer not in able]:
            self.found.note(f"Not under “Added latency”: {', '.join(slow)}, whose peak is below that rate.")
        for _ in range(self.rounds):
            for peer in list(able):
                try:
                    self.found.latencies.setdefault(peer.name, []).append(latency.measure(peer, rate, self.seconds))
                except latency.NotKept as reason:
                    self.found.note(f"Not kept up under “Added latency”: {peer.name}: {reason}.")
                    self.found.latencies.pop(peer.name, None)
                    able.remove(peer)
        told = (f"{name} {statistics.median(each.p50 for each in row):.3f}" for name, row in self.found.latencies.items())
        self._say(f"Latency at {rate:,.0f} calls/s, p50 in ms: {', '.join(told)}")


def _warm(peer: Peer, shot: Shot, keys: int | None) -> int:
    """Run it for a moment, or until each key was sent once; answers the number of the key that is next."""
    ran = fire(peer, shot, peer.warm_up, keys)
    sent = ran.answered
    while keys is not None and sent < keys and ran.answered:
        ran = fire(peer, shot, min(1 + int((keys - sent) / ran.calls), _LONGEST_WARM_UP), keys, sent)
        sent += ran.answered
    return sent


def _rest(peer: Peer) -> float:
    """Wait until it works at nothing any more, for a minute at most, since the core is everybody's; the seconds that it took."""
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < _LONGEST_REST:
        before = peer.cpu_seconds()
        time.sleep(_LOOK_SECONDS)
        if peer.cpu_seconds() - before < _IDLE * _LOOK_SECONDS:
            break
    return waited
