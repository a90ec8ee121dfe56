"""The few workspaces that count most, and all others as one."""

import random

from gateway.ops.exposition import rendered
from gateway.ops.snapshots import lasting, merged
from gateway.ops.top import Top
from tests.support.scraped import Scraped


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def scraped(*tops: Top) -> Scraped:
    return Scraped(rendered(merged([[top.family()] for top in tops])))


def test_few_are_exact_from_the_first() -> None:
    """As long as there are no more than are named, each count is whole and nothing is left for the others."""
    top = Top("x_calls", "X.", "workspace", 3, clock=Time())
    top.add(["a", "b", "a"])
    top.add(["c"])
    seen = scraped(top)
    assert [seen.value("x_calls_total", workspace=name) for name in ("a", "b", "c", "other")] == [2, 1, 1, 0]


def test_who_counts_much_more_takes_the_place_of_the_least() -> None:
    """After a window the busiest are named, if they are more than twice as busy as those they replace."""
    time = Time()
    top = Top("x_calls", "X.", "workspace", 2, clock=time)
    top.add(["a"] * 10 + ["b"] * 9)
    top.add(["c"] * 15 + ["a"] * 5)
    time.now = 16
    top.add([])
    assert top.named == {"a", "b"}  # 15 are not more than twice 9
    top.add(["c"] * 15 + ["b"] * 2 + ["a"] * 20)
    time.now = 32
    top.add(["c"])
    assert top.named == {"a", "c"}
    seen = scraped(top)
    assert seen.value("x_calls_total", workspace="c") == 1  # from its naming on
    assert seen.value("x_calls_total", workspace="other") == 30
    assert ("x_calls_total", frozenset({("workspace", "b")})) not in seen.series


def test_no_counter_goes_back() -> None:
    """Whatever comes in whatever order to two processes, of which one ends, no series ever shows less than before."""
    chance, time = random.Random(5), Time()
    tops = [Top("x_calls", "X.", "workspace", 3, clock=time) for _ in range(2)]
    highest: dict[object, float] = {}
    for turn in range(400):
        time.now += 5
        hot = f"w{turn // 20 % 7}"
        for top in tops[: 2 if turn < 300 else 1]:
            top.add([hot] * chance.randrange(20) + [f"w{chance.randrange(12)}" for _ in range(10)])
        ended = lasting([tops[1].family()]) if turn >= 300 else [tops[1].family()]
        seen = Scraped(rendered(merged([[tops[0].family()], ended])))
        for series in seen.series:
            value = seen.value(series[0], **dict(series[1]))
            assert value >= highest.get(series, 0.0)
            highest[series] = value
        assert len(seen.series) <= 7  # three of each, and the others
    assert len(highest) > 7  # places were taken


def test_a_flood_of_names_adds_no_series() -> None:
    """Ten thousand names are as many series as one more than are named."""
    top = Top("x_calls", "X.", "workspace", 10, clock=Time())
    for start in range(0, 10_000, 100):
        top.add([f"w{number}" for number in range(start, start + 100)])
    assert len(scraped(top).series) == 11
    assert scraped(top).total("x_calls_total") == 10_000


def test_nothing_is_named_where_nothing_may_be() -> None:
    """With a size of 0 all are the others."""
    top = Top("x_calls", "X.", "workspace", 0, clock=Time())
    top.add(["a", "b"])
    assert scraped(top).series == {("x_calls_total", frozenset({("workspace", "other")}))}
    assert scraped(top).total("x_calls_total") == 2


def test_whom_only_a_process_that_ended_named_is_no_longer_shown() -> None:
    """Its names go with it, what it counted of all others stays, and whoever else names one goes on from both counts."""
    time = Time()
    ended, running = (Top("x_calls", "X.", "workspace", 2, clock=time) for _ in range(2))
    ended.add(["a", "b"])
    running.add(["b"])
    seen = Scraped(rendered(merged([lasting([ended.family()]), [running.family()]])))
    assert seen.value("x_calls_total", workspace="b") == 2
    assert {dict(labels)["workspace"] for _, labels in seen.series} == {"b", "other"}
