"""Counters that the hot path raises as plain integers, and a scrape reads (Prometheus text format). `docs/metrics.md` lists them.

Labels come from closed sets alone: models of the catalogue, levels, kinds, answers, endpoints, statuses.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway.domain.admission import Answer, Conservation, Decision
from gateway.domain.buckets import Claim, Kind, Level
from gateway.ops.snapshots import Snapshot, Together, rendered, taken

Reading = Callable[[], float]


def asked_of(claims: Iterable[Claim]) -> int:
    """Which claims there are, as one number."""
    return sum({_bit(claim.level, claim.kind) for claim in claims})


def _bit(level: Level, kind: Kind) -> int:
    return 1 << (2 * kind + level)


class Metrics:
    """The metrics of one process. `render` shows them, or, where there are several workers, those of all."""

    def __init__(self) -> None:
        self._decisions: defaultdict[tuple[str, str, str, str], int] = defaultdict(int)
        self._admitted: defaultdict[tuple[str, int], int] = defaultdict(int)  # by model and which claims there were
        self._calls: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._outcomes: defaultdict[str, int] = defaultdict(int)
        self._stale = 0
        self._gauges: list[tuple[str, str, Reading]] = []
        self._counters: list[tuple[str, str, Reading]] = []
        self._maxima: set[str] = set()
        self._conservation: Callable[[], Conservation] = Conservation
        self._of_all: Callable[[], Snapshot] = self.snapshot

    def decided(self, model: str, asked: int, decision: Decision) -> None:
        """One answer to a call of `model`; `asked` says which claims it made (`asked_of`). Of a refused call only the claim
        that it was refused for counts.
        """
        if decision.answer is Answer.STALE:
            self._stale += 1
        elif decision.answer is Answer.ADMITTED:
            if asked:
                self._admitted[model, asked] += 1
        elif decision.full is not None:
            self._decisions[decision.full.model, decision.full.level, "concurrency", "refused"] += 1
        elif decision.refused is not None:
            claim = decision.refused
            self._decisions[claim.model, claim.level.name, claim.kind.name, "refused"] += 1

    def answered(self, endpoint: str, status: int, outcome: str) -> None:
        """A call came to its end with `status`; 499 stands for a client that left before it was answered."""
        self._calls[endpoint, status] += 1
        self._outcomes[outcome] += 1

    def watch_conservation(self, read: Callable[[], Conservation]) -> None:
        self._conservation = read

    def gauge(self, name: str, text: str, read: Reading, *, together: Together = "sum") -> None:
        """A value that a scrape reads from its owner. `together` says what several workers' values become."""
        self._gauges.append((name, text, read))
        if together == "max":
            self._maxima.add(name)

    def counter(self, name: str, text: str, read: Reading) -> None:
        """A count that a scrape reads from its owner; `name` without `_total`."""
        self._counters.append((name, text, read))

    def of_all(self, read: Callable[[], Snapshot]) -> None:
        """From now on a scrape shows what `read` gives: the metrics of all workers."""
        self._of_all = read

    def snapshot(self) -> Snapshot:
        """The present values of this process."""
        return taken(self.families(), self._maxima)

    def render(self) -> bytes:
        """The answer to a scrape."""
        return rendered(self._of_all())

    def families(self) -> Iterator[Metric]:
        decisions = CounterMetricFamily(
            "gateway_admission_decisions",
            "Admission decisions by model, level, kind and answer.",
            labels=("model", "level", "kind", "answer"),
        )
        for (model, level, kind, answer), count in self._all_decisions().items():
            decisions.add_metric((model, level.lower(), kind.lower(), answer), count)
        yield decisions
        calls = CounterMetricFamily("gateway_calls", "Calls by endpoint and status.", labels=("endpoint", "status"))
        for (endpoint, status), count in list(self._calls.items()):
            calls.add_metric((endpoint, str(status)), count)
        yield calls
        outcomes = CounterMetricFamily("gateway_call_outcomes", "Calls by how they ended.", labels=("outcome",))
        for outcome, count in list(self._outcomes.items()):
            outcomes.add_metric((outcome,), count)
        yield outcomes
        yield CounterMetricFamily("gateway_stale_epochs", "Decisions put again after a change of policy.", value=self._stale)
        yield from self._tokens()
        for name, text, read in self._counters:
            yield CounterMetricFamily(name, text, value=read())
        for name, text, read in self._gauges:
            yield GaugeMetricFamily(name, text, value=read())

    def _all_decisions(self) -> dict[tuple[str, str, str, str], int]:
        every = defaultdict(int, self._decisions)
        for (model, asked), count in list(self._admitted.items()):
            for level in Level:
                for kind in Kind:
                    if asked & _bit(level, kind):
                        every[model, level.name, kind.name, "admitted"] += count
        return every

    def _tokens(self) -> Iterator[Metric]:
        now = self._conservation()
        tokens = CounterMetricFamily(
            "gateway_limit_tokens", "Tokens counted against limits, by what became of them.", labels=("event",)
        )
        for event in ("reserved", "overdrawn", "settled", "given_back", "expired"):
            tokens.add_metric((event,), getattr(now, event))
        yield tokens
        yield GaugeMetricFamily("gateway_limit_tokens_live", "Tokens reserved by open calls.", value=now.live)
        yield GaugeMetricFamily("gateway_limit_tokens_imbalance", "Tokens unaccounted for; always 0.", value=now.imbalance)
