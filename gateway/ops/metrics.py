"""Counters that the hot path raises as plain integers, and a scrape reads (Prometheus text format). `docs/metrics.md` lists them.

Labels come from closed sets alone: models of the catalogue, levels, kinds, answers, endpoints, statuses. Workspaces and keys are
named as far as `top.Top` names them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.domain.admission import Answer, Conservation, Decision, Slot
from gateway.domain.buckets import Claim, Kind, Level
from gateway.ops.exposition import rendered
from gateway.ops.snapshots import Family, Snapshot, Together, counter, gauge

Reading = Callable[[], float]
Labelled = Callable[[], Mapping[tuple[str, ...], float]]

_LEVELS = (*(level.name.lower() for level in Level), "key")
_KINDS = (*(kind.name.lower() for kind in Kind), "concurrency")


def asked_of(claims: Iterable[Claim], slots: Iterable[Slot] = ()) -> int:
    """Which claims and slots there are, as one number."""
    of_claims = {_bit(claim.level.name.lower(), claim.kind.name.lower()) for claim in claims}
    return sum(of_claims | {_bit(slot.level, "concurrency") for slot in slots})


def _bit(level: str, kind: str) -> int:
    return 1 << (len(_LEVELS) * _KINDS.index(kind) + _LEVELS.index(level))


class Metrics:
    """The metrics of one process. `render` shows them, or, where there are several workers, those of all."""

    def __init__(self) -> None:
        self._decisions: defaultdict[tuple[str, str, str, str, str], int] = defaultdict(int)
        self._admitted: defaultdict[tuple[str, int, str], int] = defaultdict(int)  # by model, which claims there were, and mode
        self._stale = 0
        self._conservation: Callable[[], Conservation] = Conservation
        self._sources: list[Callable[[], Iterable[Family]]] = [self._own]
        self._of_all: Callable[[], Snapshot] = self.snapshot

    def decided(self, model: str, asked: int, decision: Decision) -> None:
        """One answer to a call of `model`; `asked` says which claims it made (`asked_of`). Of a refused call only the claim
        that it was refused for counts.
        """
        if decision.answer is Answer.STALE:
            self._stale += 1
        elif decision.answer is Answer.ADMITTED:
            if asked:
                self._admitted[model, asked, decision.mode] += 1
        elif decision.full is not None:
            self._decisions[decision.full.model, decision.full.level, "concurrency", "refused", decision.mode] += 1
        elif decision.refused is not None:
            claim = decision.refused
            self._decisions[claim.model, claim.level.name.lower(), claim.kind.name.lower(), "refused", decision.mode] += 1

    def watch_conservation(self, read: Callable[[], Conservation]) -> None:
        self._conservation = read

    def gauge(self, name: str, text: str, read: Reading, *, together: Together = "sum") -> None:
        """A value that a scrape reads from its owner. `together` says what several workers' values become."""
        self.source(lambda: (gauge(name, text, (), {(): read()}, together),))

    def gauges(self, name: str, text: str, labels: Sequence[str], read: Labelled, *, together: Together = "sum") -> None:
        """The same with labels: `read` gives the values by those of the labels."""
        self.source(lambda: (gauge(name, text, labels, read(), together),))

    def counter(self, name: str, text: str, read: Reading) -> None:
        """A count that a scrape reads from its owner; `name` without `_total`."""
        self.source(lambda: (counter(name, text, (), {(): read()}),))

    def source(self, read: Callable[[], Iterable[Family]]) -> None:
        """Whole metrics, made by who knows them."""
        self._sources.append(read)

    def of_all(self, read: Callable[[], Snapshot]) -> None:
        """From now on a scrape shows what `read` gives: the metrics of all workers."""
        self._of_all = read

    def snapshot(self) -> Snapshot:
        """The present values of this process."""
        return [family for source in self._sources for family in source()]

    def render(self) -> bytes:
        """The answer to a scrape."""
        return rendered(self._of_all())

    def _own(self) -> Iterable[Family]:
        yield counter(
            "gateway_admission_decisions",
            "Admission decisions by model, level, kind, answer, and who decided.",
            ("model", "level", "kind", "answer", "mode"),
            self._all_decisions(),
        )
        yield counter("gateway_stale_epochs", "Decisions put again after a change of policy.", (), {(): self._stale})
        yield from self._tokens()

    def _all_decisions(self) -> dict[tuple[str, ...], float]:
        every: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for key, count in list(self._decisions.items()):
            every[key] = count
        for (model, asked, mode), count in list(self._admitted.items()):
            for level in _LEVELS:
                for kind in _KINDS:
                    if asked & _bit(level, kind):
                        # Calls of all models count together in a key's slots.
                        of = "" if level == "key" else model
                        every[of, level, kind, "admitted", mode] += count
        return every

    def _tokens(self) -> Iterable[Family]:
        now = self._conservation()
        events = ("reserved", "overdrawn", "settled", "given_back", "expired")
        text = "Tokens counted against limits, by what became of them."
        yield counter("gateway_limit_tokens", text, ("event",), {(event,): getattr(now, event) for event in events})
        yield gauge("gateway_limit_tokens_live", "Tokens reserved by open calls.", (), {(): now.live})
        yield gauge("gateway_limit_tokens_imbalance", "Tokens unaccounted for; always 0.", (), {(): now.imbalance})
