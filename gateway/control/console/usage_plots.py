"""Usage over time as plots, and the numbers in them as rows of tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from gateway.control.console.charts import MOST_SERIES, OTHER, line_chart, stacked_bars
from gateway.control.console.charts import Series as Plotted
from gateway.control.services.usage import Series, Span
from gateway.storage.sql.usage import UsageRow

_DAY_MS = 86_400_000
_LEAST, _WHOLE = 0.01, 10


@dataclass(frozen=True, slots=True)
class Plots:
    """`calls` are those of each group, as the first plot shows them; `steps` are of all groups together."""

    drawn: Sequence[Markup]
    times: Sequence[str]
    calls: Sequence[Plotted]
    steps: Sequence[UsageRow]


def plots(found: Series, labels: Mapping[str, str], group: str) -> Plots:
    """The plots of what was found; `group` says by what the calls are told apart."""
    times, steps, calls = list(found.times), found.by_step(), calls_by_group(found, labels)

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


def calls_by_group(found: Series, labels: Mapping[str, str]) -> list[Plotted]:
    """Calls over time of the groups that have the most; all beyond the seventh, where there are more than eight, as one."""
    at = {start: index for index, start in enumerate(found.times)}
    values: dict[str | None, list[float | None]] = {}
    for point in found.points:
        values.setdefault(point.group, [0] * len(at))[at[point.at]] = point.calls
    rest = values.pop(None, None)
    ranked = sorted(values, key=lambda name: (-sum(each or 0 for each in values[name]), name or ""))
    most = MOST_SERIES if rest is None and len(ranked) <= MOST_SERIES else MOST_SERIES - 1
    shown = [Plotted(labels[name or ""], values[name]) for name in ranked[:most] if any(values[name])]
    merged = [values[name] for name in ranked[most:]] + ([] if rest is None else [rest])
    if merged:
        sums = [sum(each or 0 for each in column) for column in zip(*merged, strict=True)]
        shown.append(Plotted(f"{OTHER} ({len(ranked) - most + found.others})", sums))
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
