"""Charts: what is drawn, from the numbers that were given."""

import json
import re
from html import unescape
from typing import Any

import pytest

from gateway.control.console.charts import Series, line_chart, stacked_bars, top_series
from gateway.control.console.scales import time_ticks, value_ticks

HOUR = 3_600_000
NOON = 1_769_860_800_000  # 2026-01-31T12:00:00Z


def hours(count: int) -> list[int]:
    return [NOON + n * HOUR for n in range(count)]


def data_of(chart: str) -> dict[str, Any]:
    found = re.search(r'data-plot="([^"]*)"', chart)
    assert found is not None
    data: dict[str, Any] = json.loads(unescape(found[1]))
    return data


def paths(chart: str, kind: str) -> list[str]:
    drawing = chart[chart.index('<div class="chart-frame"') :]  # without the legend
    return re.findall(rf'<path class="{kind}[^"]*" d="(M\d+ [^"]*)"', drawing)


def top_of(chart: str) -> float:
    """The value at the upper end of the y axis, of charts whose ticks need no unit."""
    labels = re.findall(r'text-anchor="end">([\d,.]+)</text>', chart)
    return float(labels[-1].replace(",", ""))


def test_the_numbers_that_go_in_come_out() -> None:
    """The values that the pointer reads off are those that were given, in their order, gaps as gaps."""
    series = [Series("a", [1, None, 999_999_999_999]), Series("b", [3, 4, 5])]
    data = data_of(line_chart("Tokens", hours(3), series, step_ms=HOUR))
    assert data["times"] == hours(3)
    assert data["step"] == HOUR
    assert {each["label"]: each["values"] for each in data["series"]} == {"a": [1, None, 999_999_999_999], "b": [3, 4, 5]}


def test_heights_are_proportional() -> None:
    """A bar's part is as high, in the plot's own units, as its share of the axis."""
    chart = stacked_bars("Calls", hours(2), [Series("a", [300, 100]), Series("b", [100, 0])], step_ms=HOUR)
    plot = float(re.search(r'viewBox="0 0 \d+ (\d+)"', chart)[1])  # type: ignore[index]  # it is there
    first, second = paths(chart, "chart-bar")
    drawn = [(float(head), float(foot)) for head, foot in re.findall(r"M\d+ ([\d.]+)h8V([\d.]+)h-8z", first + second)]
    scale = plot / top_of(chart)
    assert [round((foot - head) / scale) for head, foot in drawn] == [300, 100, 100]
    assert [round((plot - foot) / scale) for head, foot in drawn] == [0, 0, 300]


def test_labels_are_escaped() -> None:
    """A name that is markup stays text, in the legend, the description and the data."""
    hostile = "</script><img src=x onerror='alert(1)'>\""
    for chart in (
        line_chart(hostile, hours(2), [Series(hostile, [1, 2])], step_ms=HOUR, lead=hostile),
        stacked_bars(hostile, hours(2), [Series(hostile, [1, 2])], step_ms=HOUR, lead=hostile),
        line_chart(hostile, [], [], step_ms=HOUR, lead=hostile),
    ):
        assert "<img" not in chart
        assert "</script" not in chart
        assert "&lt;img" in chart
    assert data_of(line_chart("t", hours(1), [Series(hostile, [1])], step_ms=HOUR))["series"][0]["label"] == hostile


def test_no_style_attributes() -> None:
    """A chart needs nothing that the page's policy forbids."""
    chart = stacked_bars("Calls", hours(2), [Series("a", [1, 2])], step_ms=HOUR)
    assert "style=" not in chart
    assert "<script" not in chart


@pytest.mark.parametrize(
    ("times", "series"), [([], []), (hours(2), []), ([], [Series("a", [])]), (hours(2), [Series("a", [None, None])])]
)
def test_nothing_to_show_is_said(times: list[int], series: list[Series]) -> None:
    """Without a value there is no axis of nothing, but a sentence."""
    for chart in (line_chart("Calls", times, series, step_ms=HOUR), stacked_bars("Calls", times, series, step_ms=HOUR)):
        assert "Nothing to show" in chart
        assert "<svg" not in chart


def test_zeros_are_something_to_show() -> None:
    """All values zero is a flat line, and its axis ends at 1."""
    chart = line_chart("Calls", hours(3), [Series("a", [0, 0, 0])], step_ms=HOUR)
    assert top_of(chart) == 1
    assert len(paths(chart, "chart-line")) == 1


def test_a_gap_is_not_bridged() -> None:
    """A line ends before a gap and begins anew behind it; a value alone is a dot."""
    chart = line_chart(
        "Latency", hours(6), [Series("a", [1, 2, None, 3, None, 4]), Series("b", [1] * 6)], step_ms=HOUR, kind="ms"
    )
    (line, _other) = paths(chart, "chart-line")
    assert line.count("M") == 1
    (dots,) = paths(chart, "chart-dot")
    assert dots.count("M") == 2


def test_one_point_and_a_week_of_hours() -> None:
    """One bucket and 168 are both drawn, with as many points as there are values."""
    one = line_chart("Calls", hours(1), [Series("a", [5])], step_ms=HOUR)
    assert paths(one, "chart-dot")
    week = line_chart("Calls", hours(168), [Series("a", list(range(168)))], step_ms=HOUR)
    (line,) = paths(week, "chart-line")
    assert len(re.findall(r"\d+ [\d.]+", line)) == 168
    assert len(paths(stacked_bars("Calls", hours(168), [Series("a", [1] * 168)], step_ms=HOUR), "chart-bar")) == 1


def test_many_counts_are_summed_into_one() -> None:
    """Of twelve series the seven largest are kept, and the eighth has the sum of the rest in each bucket."""
    series = [Series(f"model-{n}", [n, None if n < 5 else 1]) for n in range(12)]
    kept = top_series(series)
    assert [each.label for each in kept] == [f"model-{n}" for n in (11, 10, 9, 8, 7, 6, 5)] + ["Other (5)"]
    assert list(kept[-1].values) == [0 + 1 + 2 + 3 + 4, None]
    assert [each.label for each in top_series(series[:8])] == [f"model-{n}" for n in (7, 6, 5, 4, 3, 2, 1, 0)]


def test_what_cannot_be_summed_is_left_out_and_said() -> None:
    """Latencies have no sum: the highest eight are drawn, and the chart says how many are missing."""
    chart = line_chart("Latency", hours(1), [Series(f"model-{n}", [n]) for n in range(12)], step_ms=HOUR, kind="ms")
    assert [each["label"] for each in data_of(chart)["series"]] == [f"model-{n}" for n in (11, 10, 9, 8, 7, 6, 5, 4)]
    assert "The 4 lowest series are not shown." in chart


@pytest.mark.parametrize(
    ("highest", "kind", "ticks"),
    [
        (0, "number", [0, 1]),
        (1, "number", [0, 1]),
        (3, "number", [0, 1, 2, 3]),
        (10, "number", [0, 5, 10]),
        (26, "number", [0, 10, 20, 30]),
        (97, "number", [0, 25, 50, 75, 100]),
        (100, "number", [0, 25, 50, 75, 100]),
        (0.034, "percent", [0, 0.01, 0.02, 0.03, 0.04]),
        (1, "percent", [0, 0.25, 0.5, 0.75, 1]),
        (10**12, "number", [0, 25 * 10**10, 5 * 10**11, 75 * 10**10, 10**12]),
    ],
)
def test_ticks_are_round(highest: float, kind: Any, ticks: list[float]) -> None:
    """The axis ends at a round value that is not below the highest, and counts have no halves."""
    assert value_ticks(highest, kind) == ticks


@pytest.mark.parametrize("count", range(1, 400, 7))
@pytest.mark.parametrize("step", [60_000, 300_000, HOUR, 24 * HOUR])
def test_time_ticks_are_few_and_on_buckets(count: int, step: int) -> None:
    """Any number of buckets of any length has one to nine ticks, in order, each on a bucket."""
    ticks = time_ticks([NOON + n * step for n in range(count)], step)
    places = [index for index, _ in ticks]
    assert 1 <= len(ticks) <= 9
    assert places == sorted(set(places))
    assert all(0 <= place < count for place in places)


def test_time_ticks_say_the_hour_and_the_day() -> None:
    """Within a day the ticks are hours, and midnight is the day; over weeks they are days."""
    assert [label for _, label in time_ticks(hours(24), HOUR)] == [
        "12:00", "15:00", "18:00", "21:00", "1 Feb", "03:00", "06:00", "09:00",
    ]  # fmt: skip
    assert time_ticks([NOON + n * 24 * HOUR for n in range(3)], 24 * HOUR)[0] == (0, "31 Jan")
