"""Where the ticks of a chart's axes stand, and what they say. Pure."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from gateway.control.console.render import compact, duration, number, percent

Kind = Literal["number", "ms", "percent"]
"""What a value is: a count, a time span in milliseconds, or a share from 0 to 1."""

MOST_TIME_TICKS = 8
_INTERVALS = 4
_NICE = (1, 2, 2.5, 5, 10)
_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_TIME_STEPS = (
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 5, 7, 14, 30, 60, 90, 365)),
)


def value_ticks(highest: float, kind: Kind) -> list[float]:
    """Round values from 0 up to one that is at least `highest`, two to five of them; counts have no halves."""
    if highest <= 0:
        return [0, 1]
    rough = max(highest / _INTERVALS, 0 if kind == "percent" else 1)
    size = 10 ** math.floor(math.log10(rough))
    steps = (nice * size for nice in _NICE)
    step: float = next(each for each in steps if each >= rough * (1 - 1e-9) and (kind == "percent" or float(each).is_integer()))
    count = math.ceil(highest / step * (1 - 1e-9))
    # Products of a power of ten below one carry noise: 3 * 0.05 is 0.15000000000000002.
    return [float(f"{step * n:.12g}") for n in range(count + 1)]


def value_text(value: float | None, kind: Kind) -> str:
    """A value in few characters."""
    match kind:
        case "ms":
            return duration(value)
        case "percent":
            return percent(value)
        case _:
            return compact(value)


def exact_text(value: float | None, kind: Kind) -> str:
    """A value as a table would show it."""
    return number(value) if kind == "number" else value_text(value, kind)


def time_ticks(times: Sequence[int], step_ms: int) -> list[tuple[int, str]]:
    """The buckets that have a tick, by index, each with its label in UTC: at most `MOST_TIME_TICKS`, on round times.

    `times` are the starts of buckets of `step_ms` each, in Unix milliseconds, rising.
    """
    if not times:
        return []
    span = times[-1] - times[0] + step_ms
    every = next((size for size in _TIME_STEPS if size >= step_ms and span / size <= MOST_TIME_TICKS), span)
    starts = [
        index
        for index, at in enumerate(times)
        if at % every < step_ms and (index == 0 or times[index - 1] // every != at // every)
    ]
    return [(index, _label(times[index], every)) for index in starts or [0]]


def _label(at: int, every: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    if every >= _DAY or at % _DAY == 0:
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}"
