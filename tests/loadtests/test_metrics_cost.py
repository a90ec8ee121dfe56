"""What metrics cost, and how own overhead is compared: bounds that hold on any machine."""

import asyncio

from loadtests import metrics_cost
from loadtests.micro import calls
from loadtests.overhead import half

_MOST_INSTRUCTIONS = 150
_MOST_MS = 50


def test_observing_a_call_takes_few_instructions() -> None:
    """With its share of looking at many calls together, metrics add less than a fortieth to what a call executes."""
    (step,) = [each for each in calls.STEPS if each.name == metrics_cost._NAMES["JSON call"]]
    observed = metrics_cost.instructions(step)
    with metrics_cost.unobserved():
        bare = metrics_cost.instructions(step)
    assert 0 < observed - bare < _MOST_INSTRUCTIONS


def test_a_scrape_is_quick_with_ten_thousand_workspaces() -> None:
    """Each has called, and the text is there in time, with as few series as for ten of them."""
    scrape = asyncio.run(metrics_cost.scraped(10_000))
    assert scrape.whole < _MOST_MS
    assert scrape.workers < _MOST_MS
    assert scrape.series < 1000


def test_the_median_by_buckets_is_interpolated() -> None:
    """As Prometheus's `histogram_quantile`: within the bucket that holds the middle one, of what came between two scrapes."""
    before = [(1.0, 5.0), (2.0, 5.0), (float("inf"), 5.0)]
    after = [(1.0, 6.0), (2.0, 9.0), (float("inf"), 9.0)]
    assert half(before, after) == 1 + 1 / 3
