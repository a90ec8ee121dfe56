"""Usage over time as plots, and the numbers in them as rows of tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from gateway.control.console.charts import MOST_SERIES, OTHER, line_chart, stacked_bars
from gateway.control.console.charts import Series as Plotted
from gateway.control.console.render import duration, number, percent
from gateway.control.services.usage import Overview, Span
from gateway.storage.sql.usage import UsageRow, total

MOST_APART = MOST_SERIES - 1
"""So many groups have a colour of their own; the last is for all others."""

_DAY_MS = 86_400_000
_LEAST, _WHOLE = 0.01, 10


Head = dict[str, object]
"""A column of numbers, for `ui.table`."""


@dataclass(frozen=True, slots=True)
class Plots:
    """`calls` are those of each group, as the first plot shows them; `steps` are of all groups together."""

    drawn: Sequence[Markup]
    times: Sequence[str]
    calls: Sequence[Plotted]
    steps: Sequence[UsageRow]

    @property
    def heads(self) -> list[Head]:
        """Of the table of `calls`."""
        return [head(each.label) for each in self.calls]


def plots(found: Overview, labels: Sequence[str], group: str) -> Plots:
    """The plots of what was found; `group` says by what the calls are told apart, `labels` are those of the largest groups."""
    times, steps = found.times, [step.total for step in found.steps]
    calls = calls_by_group(found, labels)

    def values(label: str, of: Callable[[UsageRow], float | None]) -> Plotted:
        return Plotted(label, [of(row) for row in steps])

    step_ms = found.step_ms
    tokens = [values("In", lambda row: row.input_tokens), values("Out", lambda row: row.output_tokens)]
    lost = [values("Refused", lambda row: row.refused), values("Failures", lambda row: row.failures)]
    waits = [
        values("Latency", lambda row: row.duration_ms if row.calls else None),
        values("Time to first token", lambda row: row.ttft_ms),
    ]
    drawn = [
        stacked_bars(f"Calls by {group}", times, calls, step_ms=step_ms, ranked=False),
        stacked_bars("Tokens", times, tokens, step_ms=step_ms, ranked=False),
        stacked_bars("Failures and refused calls", times, lost, step_ms=step_ms, ranked=False),
        line_chart("Mean times", times, waits, step_ms=step_ms, kind="ms"),
    ]
    return Plots(drawn, [step_label(at, found.step_ms) for at in times], calls, steps)


def calls_by_group(found: Overview, labels: Sequence[str]) -> list[Plotted]:
    """Calls over time of the largest groups, and of all others as one."""
    shown = [Plotted(label, [step.calls[place] for step in found.steps]) for place, label in enumerate(labels)]
    others = sum(1 for row in found.rows if row.calls) - len(labels)
    if others:
        shown.append(Plotted(f"{OTHER} ({others})", [step.total.calls - sum(step.calls) for step in found.steps]))
    return shown


def step_label(at: int, step_ms: int) -> str:
    """When a step begins, in UTC."""
    return _day(at) if step_ms >= _DAY_MS else _minute(at)


def span_text(span: Span, now_ms: int) -> str:
    """A span that ends now, in UTC."""
    return f"{_minute(span.start_ms)} to now, {_minute(now_ms)}"


def _day(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return f"{moment.day} {moment:%b}"


def _minute(at: int) -> str:
    return f"{_day(at)} {datetime.fromtimestamp(at / 1000, UTC):%H:%M}"


def rate(value: float) -> str:
    """A number a minute: two digits of a small one, whole where it is large."""
    if 0 < value < _LEAST:
        return f"<{_LEAST}"
    return f"{value:,.0f}" if value >= _WHOLE or value == 0 else f"{value:.2g}"


def head(label: str) -> Head:
    return {"label": label, "num": True}


def cells(row: UsageRow) -> Sequence[tuple[str, str]]:
    """A row of numbers as text, each with its column's name."""
    return (
        ("Calls", number(row.calls)),
        ("Failures", number(row.failures)),
        ("Failure rate", percent(row.failures / row.calls if row.calls else None)),
        ("Refused", number(row.refused)),
        ("Tokens in", number(row.input_tokens)),
        ("Tokens out", number(row.output_tokens)),
        ("Cached", number(row.cached_tokens)),
        ("First token", duration(row.ttft_ms)),
        ("Latency", duration(row.duration_ms if row.calls else None)),
    )


def mean_cells(row: UsageRow, minutes: float) -> Sequence[tuple[str, str]]:
    """The same of means over the time."""
    tokens = row.input_tokens + row.output_tokens
    return (("Calls / min", rate(row.calls / minutes)), ("Tokens / min", rate(tokens / minutes)))


HEADS = [head(label) for label, _ in cells(total([]))]
MEAN_HEADS = [head(label) for label, _ in mean_cells(total([]), 1)]
