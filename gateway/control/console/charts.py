"""Plots as SVG, made on the server: lines and stacked bars over buckets of time.

    line_chart("Time to first token", times, [Series("qwen-plus", [310, None, 420])], step_ms=3_600_000, kind="ms")
    stacked_bars("Calls by model", times, series, step_ms=3_600_000)

`times` are the starts of the buckets in Unix milliseconds, `step_ms` their length; each series has one value a bucket, at least
0, or None for a gap. Horizontal places are shares of the width and vertical ones pixels, so that a chart fills any width while
its text and lines keep their size. `plot.js` reads the values off at the pointer and by the arrow keys, out of `data-plot`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from gateway.control.console.render import duration
from gateway.control.console.scales import Kind, exact_text, time_ticks, value_text, value_ticks

MOST_SERIES = 8
"""So many colours there are; what is over goes into "Other"."""

OTHER = "Other"
_HEIGHT, _TOP, _BOTTOM = 228, 10, 26
_PLOT = _HEIGHT - _TOP - _BOTTOM
_CELL, _GAP = 10, 1
_MOST_SEAMED = 64


@dataclass(frozen=True, slots=True)
class Series:
    """A name and one value a bucket; None where there is none."""

    label: str
    values: Sequence[float | None]

    @property
    def total(self) -> float:
        return sum(value for value in self.values if value is not None)

    @property
    def highest(self) -> float:
        return max((value for value in self.values if value is not None), default=0)

    @property
    def is_empty(self) -> bool:
        return all(value is None for value in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    """What is drawn: `ticks` are the values of the y axis, the last of them its top."""

    title: str
    lead: str
    times: Sequence[int]
    step_ms: int
    kind: Kind
    series: Sequence[Series]
    left_out: int
    ticks: Sequence[float]
    stacked: bool

    def y(self, value: float) -> float:
        """Pixels below the plot's top."""
        return round(_PLOT * (1 - value / self.ticks[-1]), 2)


def line_chart(
    title: str, times: Sequence[int], series: Sequence[Series], *, step_ms: int, kind: Kind = "number", lead: str = ""
) -> Markup:
    """A line for each series. Of many counts the smallest are summed into one; of other kinds the lowest are left out."""
    drawn = top_series(series) if kind == "number" else sorted(series, key=lambda each: -each.highest)[:MOST_SERIES]
    left_out = 0 if kind == "number" else len(series) - len(drawn)
    if not times or all(each.is_empty for each in drawn):
        return _empty(title, lead)
    ticks = value_ticks(max(each.highest for each in drawn), kind)
    chart = _Chart(
        title=title,
        lead=lead,
        times=times,
        step_ms=step_ms,
        kind=kind,
        series=drawn,
        left_out=left_out,
        ticks=ticks,
        stacked=False,
    )
    return _figure(chart, Markup("").join(_line(chart, place, each) for place, each in enumerate(drawn)))


def stacked_bars(
    title: str, times: Sequence[int], series: Sequence[Series], *, step_ms: int, lead: str = "", ranked: bool = True
) -> Markup:
    """A bar for each bucket, in parts for the series, the largest at the foot. The values are counts.

    With `ranked` false a few series keep their order, and with it their colours whatever their values are.
    """
    drawn = top_series(series) if ranked else list(series)
    if not times or all(each.is_empty for each in drawn):
        return _empty(title, lead)
    sums = [sum(each.values[index] or 0 for each in drawn) for index in range(len(times))]
    chart = _Chart(
        title=title,
        lead=lead,
        times=times,
        step_ms=step_ms,
        kind="number",
        series=drawn,
        left_out=0,
        ticks=value_ticks(max(sums), "number"),
        stacked=True,
    )
    return _figure(chart, _bars(chart))


def top_series(series: Sequence[Series]) -> list[Series]:
    """The series by falling total; where there are over eight, all beyond the seventh are summed into one."""
    ranked = sorted(series, key=lambda each: -each.total)
    if len(ranked) <= MOST_SERIES:
        return ranked
    kept, rest = ranked[: MOST_SERIES - 1], ranked[MOST_SERIES - 1 :]
    columns = zip(*(each.values for each in rest), strict=True)
    sums = [None if all(value is None for value in column) else sum(value or 0 for value in column) for column in columns]
    return [*kept, Series(f"{OTHER} ({len(rest)})", sums)]


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The values between gaps, each with its bucket."""
    runs: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index, value))
    return [run for run in runs if run]


def _middle(index: int) -> int:
    return index * _CELL + _CELL // 2


def _line(chart: _Chart, place: int, series: Series) -> Markup:
    lines, dots, areas = [], [], []
    for run in _runs(series.values):
        points = " ".join(f"{_middle(index)} {chart.y(value):g}" for index, value in run)
        if len(run) == 1:
            # A line of no length, which its round caps make a dot.
            dots.append(f"M{points}h0")
        else:
            lines.append(f"M{points}")
            areas.append(f"M{_middle(run[0][0])} {_PLOT}L{points}L{_middle(run[-1][0])} {_PLOT}z")
    drawn = [("chart-line", lines), ("chart-dot", dots)]
    if len(chart.series) == 1:
        drawn.insert(0, ("chart-area", areas))
    paths = Markup("").join(Markup('<path class="{}" d="{}"/>').format(kind, "".join(parts)) for kind, parts in drawn if parts)
    return Markup('<g class="series-{}">{}</g>').format(_colour(chart, place), paths)


def _bars(chart: _Chart) -> Markup:
    feet = [0.0] * len(chart.times)
    # Seams around bars of a few pixels would leave nothing of them.
    kind = "chart-bar" if len(chart.times) <= _MOST_SEAMED else "chart-bar chart-bar-thin"
    parts = []
    for place, series in enumerate(chart.series):
        path = []
        for index, value in enumerate(series.values):
            if not value:
                continue
            foot, head = chart.y(feet[index]), chart.y(feet[index] + value)
            feet[index] += value
            path.append(f"M{index * _CELL + _GAP} {head:g}h{_CELL - 2 * _GAP}V{foot:g}h-{_CELL - 2 * _GAP}z")
        parts.append(Markup('<path class="{} series-{}" d="{}"/>').format(kind, _colour(chart, place), "".join(path)))
    return Markup("").join(parts)


def _colour(chart: _Chart, place: int) -> int:
    """The number of a series' colour; the eighth, grey, is only for what is summed up or comes last."""
    return MOST_SERIES if chart.series[place].label.startswith(f"{OTHER} (") else place + 1


def _figure(chart: _Chart, drawing: Markup) -> Markup:
    return Markup(
        '<figure class="chart">{caption}'
        '<div class="chart-frame" tabindex="0" role="group" aria-label="{title}: use the arrow keys to read off values" '
        'data-plot="{data}">{y}<div class="chart-plot">{plot}</div><div class="chart-tip" hidden></div></div>'
        '<p class="visually-hidden" role="status" data-plot-status></p></figure>'
    ).format(caption=_caption(chart), title=chart.title, data=_data(chart), y=_y_axis(chart), plot=_plot(chart, drawing))


def _caption(chart: _Chart) -> Markup:
    items = Markup("").join(
        Markup('<li><svg class="swatch series-{}" width="20" height="10" aria-hidden="true">{}</svg><span>{}</span></li>').format(
            _colour(chart, place),
            Markup('<rect class="chart-bar" x="5" width="10" height="10" rx="2"/>')
            if chart.stacked
            else Markup('<path class="chart-line" d="M1 5h18"/>'),
            each.label,
        )
        for place, each in enumerate(chart.series)
    )
    note = chart.lead
    if chart.left_out:
        note = f"{note} The {chart.left_out} lowest series are not shown.".strip()
    lead = Markup('<p class="chart-lead">{}</p>').format(note) if note else ""
    return Markup('<figcaption class="chart-caption"><h3>{}</h3>{}<ul class="legend">{}</ul></figcaption>').format(
        chart.title, lead, items
    )


def _y_axis(chart: _Chart) -> Markup:
    labels = Markup("").join(
        Markup('<text x="100%" y="{}" dy=".32em" text-anchor="end">{}</text>').format(
            f"{_TOP + chart.y(tick):g}", value_text(tick, chart.kind)
        )
        for tick in chart.ticks
    )
    return Markup('<svg class="chart-y" height="{}" aria-hidden="true" focusable="false">{}</svg>').format(_HEIGHT, labels)


def _plot(chart: _Chart, drawing: Markup) -> Markup:
    count = len(chart.times)
    grid = Markup("").join(
        Markup('<line class="{}" x1="0" x2="100%" y1="{y}" y2="{y}"/>').format(
            "chart-grid" if tick else "chart-axis", y=f"{_TOP + chart.y(tick):g}"
        )
        for tick in chart.ticks
    )
    marks = Markup("").join(
        Markup('<text class="{}" x="{}%" y="{}" text-anchor="middle">{}</text>').format(
            "chart-x-more" if order % 2 else "chart-x", f"{100 * (index + 0.5) / count:.2f}", _HEIGHT - 6, label
        )
        for order, (index, label) in enumerate(time_ticks(chart.times, chart.step_ms))
    )
    # No <title>: browsers show one at the pointer, over the box of plot.js.
    return Markup(
        '<svg width="100%" height="{height}" role="img" aria-label="{title}" focusable="false"><desc>{desc}</desc>{grid}'
        '<line class="chart-cursor" x1="0" x2="0" y1="{top}" y2="{foot}" visibility="hidden"/>'
        '<svg class="chart-data" y="{top}" width="100%" height="{plot}" viewBox="0 0 {width} {plot}" preserveAspectRatio="none">'
        "{drawing}</svg>{marks}</svg>"
    ).format(
        height=_HEIGHT,
        title=chart.title,
        desc=_description(chart),
        grid=grid,
        top=_TOP,
        foot=_TOP + _PLOT,
        plot=_PLOT,
        width=count * _CELL,
        drawing=drawing,
        marks=marks,
    )


def _description(chart: _Chart) -> str:
    """The chart in words, for those who do not see it."""
    first = datetime.fromtimestamp(chart.times[0] / 1000, UTC)
    last = datetime.fromtimestamp((chart.times[-1] + chart.step_ms) / 1000, UTC)
    parts = [f"From {first:%d %b %Y %H:%M} to {last:%d %b %Y %H:%M} UTC, in steps of {duration(chart.step_ms)}."]
    for each in chart.series:
        total = f"{exact_text(each.total, chart.kind)} in total, " if chart.kind == "number" else ""
        parts.append(f"{each.label}: {total}at most {exact_text(each.highest, chart.kind)}.")
    return " ".join(parts)


def _data(chart: _Chart) -> str:
    """What `plot.js` reads."""
    series = [
        {"label": each.label, "colour": _colour(chart, place), "values": list(each.values)}
        for place, each in enumerate(chart.series)
    ]
    found = {"times": list(chart.times), "step": chart.step_ms, "kind": chart.kind, "stacked": chart.stacked, "series": series}
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def _empty(title: str, lead: str) -> Markup:
    text = Markup('<p class="chart-lead">{}</p>').format(lead) if lead else ""
    return Markup(
        '<figure class="chart"><figcaption class="chart-caption"><h3>{}</h3>{}</figcaption>'
        '<p class="chart-nothing">Nothing to show for this time.</p></figure>'
    ).format(title, text)
