"""Histograms: where values fall, what several processes' become, and that Prometheus reads them."""

import random

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Reference

from gateway.ops.exposition import rendered
from gateway.ops.histograms import Histogram, Histograms
from gateway.ops.snapshots import decoded, encoded, gauge, lasting, merged
from tests.support.scraped import Scraped

BOUNDS = (0.1, 1.0, 2.5)


@given(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.100001, 1.0, 2.0, 2.5, 3.0, 1e9]), max_size=40))
def test_many_at_once_count_as_one_by_one(values: list[float]) -> None:
    """A value counts in the first place whose bound is not below it, however many are observed together."""
    one, many = Histogram(BOUNDS), Histogram(BOUNDS)
    for value in values:
        one.observe(value)
    many.add(values)
    expected = [
        sum(low < value <= high for value in values) for low, high in zip((-1.0, *BOUNDS), (*BOUNDS, float("inf")), strict=True)
    ]
    assert one.counts == many.counts == expected
    assert many.count == len(values)
    assert abs(one.sum - many.sum) <= 1e-6 * max(1.0, one.sum)


def test_the_text_is_that_of_prometheus_own_client() -> None:
    """The same observations, rendered by Prometheus's client, give the same samples."""
    registry = CollectorRegistry()
    reference = Reference("x_seconds", 'With "quotes" and a \\.', ["kind"], buckets=BOUNDS, registry=registry)
    ours = Histograms("x_seconds", 'With "quotes" and a \\.', BOUNDS, ("kind",))
    chance = random.Random(1)
    for _ in range(100):
        kind, value = chance.choice(["a", 'b"\n\\']), chance.random() * 4
        reference.labels(kind).observe(value)
        ours.of(kind).observe(value)
    theirs = [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]
    assert sorted(rendered([ours.family()]).decode().splitlines()) == sorted(theirs)


def test_several_processes_become_one_histogram() -> None:
    """Rows of the same labels are added place by place, others stand beside them, and one that has ended still counts."""
    snapshots = []
    for values in ([0.05, 0.5], [0.5, 9.0]):
        histograms = Histograms("x_seconds", "X.", BOUNDS, ("kind",))
        histograms.of("a").add(values)
        histograms.of(f"of {values[0]}").observe(1.0)
        snapshots.append(decoded(encoded([histograms.family(), gauge("x", "X.", (), {(): 1.0})])))
    scraped = Scraped(rendered(merged([snapshots[0], lasting(snapshots[1])])))
    assert [scraped.value("x_seconds_bucket", kind="a", le=le) for le in ("0.1", "1.0", "2.5", "+Inf")] == [1, 3, 3, 4]
    assert scraped.value("x_seconds_count", kind="a") == 4
    assert scraped.value("x_seconds_sum", kind="a") == 10.05
    assert scraped.total("x_seconds_count") == 6
    assert scraped.value("x") == 1


def test_another_release_with_other_bounds_is_left_out() -> None:
    """Counts by other bounds cannot be added; the first that was seen stays as it is."""
    one, other = Histograms("x_seconds", "X.", BOUNDS), Histograms("x_seconds", "X.", (0.1, 1.0))
    one.of().observe(1.0)
    other.of().observe(1.0)
    assert merged([[one.family()], [other.family()]]) == [one.family()]


def test_of_gauges_the_sum_the_highest_or_the_lowest_counts() -> None:
    """What several processes' values become is said by each gauge."""
    scraped = Scraped(
        rendered(
            merged(
                [[gauge(f"x_{how}", "X.", (), {(): value}, how) for how in ("sum", "max", "min")] for value in (3.0, 1.0, 2.0)]
            )
        )
    )
    assert [scraped.value(f"x_{how}") for how in ("sum", "max", "min")] == [6, 3, 1]
