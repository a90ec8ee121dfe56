"""The metrics of one process as plain data, how those of several become one, and the text that a scrape is answered with.

What counts upwards is summed over all processes there have been, so that it never goes back; a gauge is summed over those that
run, or is their maximum where a sum would mean nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Together = Literal["sum", "max"]
Labels = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, array_like=True, frozen=True):
    """A metric with its samples: the sample's full name, its labels and its value."""

    name: str
    text: str
    kind: str
    together: Together
    samples: list[tuple[str, Labels, float]]


Snapshot = list[Family]

_decoder = msgspec.msgpack.Decoder(Snapshot)
_encoder = msgspec.msgpack.Encoder()


def encoded(snapshot: Snapshot) -> bytes:
    return _encoder.encode(snapshot)


def decoded(data: bytes) -> Snapshot:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(data)


def taken(metrics: Iterable[Metric], maxima: Iterable[str] = ()) -> Snapshot:
    """The present values of `metrics`; those named in `maxima` are not summed over processes."""
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
    """What of a process that has ended still counts: all but its gauges."""
    return [family for family in snapshot if family.kind != "gauge"]


def merged(snapshots: Sequence[Snapshot]) -> Snapshot:
    """One snapshot of several; families and samples in the order in which they are first seen."""
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, Labels], float]] = {}
    for family in (each for snapshot in snapshots for each in snapshot):
        families.setdefault(family.name, family)
        into = values.setdefault(family.name, {})
        for name, labels, value in family.samples:
            before = into.get((name, labels))
            if before is None:
                into[name, labels] = value
            else:
                into[name, labels] = max(before, value) if family.together == "max" else before + value
    return [
        Family(
            family.name,
            family.text,
            family.kind,
            family.together,
            [(name, labels, value) for (name, labels), value in values[family.name].items()],
        )
        for family in families.values()
    ]


def rendered(snapshot: Snapshot) -> bytes:
    """The Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(snapshot))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        for family in self._snapshot:
            metric = Metric(family.name, family.text, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric
