"""The metrics of one process as plain data, and how those of several become one.

What counts upwards is summed over all processes there have been, so that it never goes back; a gauge is summed over those that
run, or is their maximum or minimum where a sum would mean nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add
from typing import Literal

import msgspec
from prometheus_client.core import Metric

Together = Literal["sum", "max", "min", "top"]
Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]
Row = tuple[Labels, list[int], float]
"""A histogram: its labels, how many values fell into each place (see `Histogram.counts`), and their sum."""

SHOWN = ""
"""The name of a sample that only says of its labels that a running process shows them; see `Family`."""
OTHER = "other"


class Family(msgspec.Struct, array_like=True, frozen=True):
    """A metric with its samples: the sample's full name, its labels and its value; of a histogram `bounds` and `rows` instead.

    Where `together` is `top`, some labels are shown and others are not: those that are `other`, and those of which a running
    process says so by a sample called `SHOWN`. The rest is kept, so that it goes on from there when it is shown again.
    """

    name: str
    text: str
    kind: str
    together: Together
    samples: list[Sample]
    bounds: tuple[float, ...] = ()
    rows: list[Row] = []


Snapshot = list[Family]

_decoder = msgspec.msgpack.Decoder(Snapshot)
_encoder = msgspec.msgpack.Encoder()


def encoded(snapshot: Snapshot) -> bytes:
    return _encoder.encode(snapshot)


def decoded(data: bytes) -> Snapshot:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(data)


def counter(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Family:
    """A counter; `name` is without `_total`."""
    return Family(name, text, "counter", "sum", _samples(f"{name}_total", labels, values))


def gauge(
    name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float], together: Together = "sum"
) -> Family:
    return Family(name, text, "gauge", together, _samples(name, labels, values))


def _samples(name: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> list[Sample]:
    return [(name, tuple(sorted(zip(labels, each, strict=True))), float(value)) for each, value in list(values.items())]


def taken(metrics: Iterable[Metric], maxima: Iterable[str] = ()) -> Snapshot:
    """The present values of metrics of Prometheus's client; those named in `maxima` are not summed over processes."""
    greatest = frozenset(maxima)
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            "max" if metric.name in greatest else "sum",
            [(sample.name, tuple(sorted(sample.labels.items())), sample.value) for sample in metric.samples],
        )
        for metric in metrics
    ]


def lasting(snapshot: Snapshot) -> Snapshot:
    """What of a process that has ended still counts: all but its gauges, and what it showed."""
    return [
        msgspec.structs.replace(family, samples=[sample for sample in family.samples if sample[0] != SHOWN])
        if family.together == "top"
        else family
        for family in snapshot
        if family.kind != "gauge"
    ]


def shown(family: Family) -> list[Sample]:
    """The samples that a scrape is told."""
    if family.together != "top":
        return family.samples
    marked = {labels for name, labels, _ in family.samples if name == SHOWN}
    return [each for each in family.samples if each[0] != SHOWN and (each[1] in marked or each[1][0][1] == OTHER)]


def merged(snapshots: Sequence[Snapshot]) -> Snapshot:
    """One snapshot of several; families, samples and rows in the order in which they are first seen."""
    parts: dict[str, list[Family]] = {}
    for family in (each for snapshot in snapshots for each in snapshot):
        parts.setdefault(family.name, []).append(family)
    return [one[0] if len(one) == 1 else _together(one) for one in parts.values()]


def _together(parts: Sequence[Family]) -> Family:
    first = parts[0]
    together: Callable[[float, float], float] = {"max": max, "min": min}.get(first.together, add)
    values: dict[tuple[str, Labels], float] = {}
    rows: dict[Labels, tuple[list[int], float]] = {}
    for family in parts:
        for name, labels, value in family.samples:
            before = values.get((name, labels))
            if before is None:
                values[name, labels] = value
            else:
                values[name, labels] = together(before, value)
        if family.bounds != first.bounds:  # of another release of this program: there is no sum
            continue
        for labels, counts, total in family.rows:
            known = rows.get(labels)
            if known is None:
                rows[labels] = counts, total
            else:
                rows[labels] = [one + other for one, other in zip(known[0], counts, strict=True)], known[1] + total
    return Family(
        first.name,
        first.text,
        first.kind,
        first.together,
        [(name, labels, value) for (name, labels), value in values.items()],
        first.bounds,
        [(labels, counts, total) for labels, (counts, total) in rows.items()],
    )
