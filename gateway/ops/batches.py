"""How large batches are and how long they take, by what they are batches of."""

from collections.abc import Iterable

from gateway.ops.histograms import ITEMS, LONG, Histogram
from gateway.ops.snapshots import Family, Row

_SIZE = "gateway_batch_items", "How many things are done at once, by what they are."
_TIME = "gateway_batch_seconds", "How long a batch takes, by what it is of."
_SHORT = (0.0001, 0.00025, 0.0005)


class Batches:
    """The batches of one kind: `keys` read from the database, `redis` admissions and settlements, `ledger` entries written to
    the database.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.items = Histogram(ITEMS)
        self.seconds = Histogram(_SHORT + LONG)

    def done(self, items: int, seconds: float) -> None:
        """A batch was done."""
        self.items.observe(items)
        self.seconds.observe(seconds)


def families(every: Iterable[Batches]) -> Iterable[Family]:
    """The metrics of several kinds; those of one kind have their rows added by `snapshots.merged`, so each may be there once."""
    known = list(every)
    sizes: list[Row] = [((("kind", each.kind),), list(each.items.counts), each.items.sum) for each in known]
    times: list[Row] = [((("kind", each.kind),), list(each.seconds.counts), each.seconds.sum) for each in known]
    yield Family(*_SIZE, "histogram", "sum", [], ITEMS, sizes)
    yield Family(*_TIME, "histogram", "sum", [], _SHORT + LONG, times)
