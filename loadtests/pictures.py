"""The figures as bars, in one picture."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.cases import CASES
from loadtests.findings import Findings
from loadtests.latency import Latency
from loadtests.load import Sample
from loadtests.report import key_cases, median

_OURS, _OTHERS = "#0b6b78", "#9aa5b1"
_Bar = tuple[str, float, float, float]  # its name, median, least and most


@dataclass
class _Panel:
    title: str
    bars: list[_Bar]
    tell: Callable[[float], str] = lambda value: f"{value:,.0f}"


def draw(found: Findings, stem: Path) -> None:
    """Write `stem`.png: a panel a table, bars of the medians with least and most. Nothing without matplotlib."""
    panels = [panel for panel in _panels(found) if panel.bars]
    try:
        import matplotlib as mpl  # noqa: PLC0415 — a figure can do without pictures
    except ImportError:
        print("no pictures: matplotlib is missing")
        return
    if not panels:
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 — after the choice of a back end

    heights = [0.7 + 0.28 * len(panel.bars) for panel in panels]
    figure, axes = plt.subplots(len(panels), 1, figsize=(9, 0.5 + sum(heights)), height_ratios=heights, squeeze=False)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        names, middles, least, most = zip(*panel.bars, strict=True)
        around = [[m - low for m, low in zip(middles, least, strict=True)], [h - m for m, h in zip(middles, most, strict=True)]]
        axis.barh(range(len(names)), middles, xerr=around, color=[_colour(name) for name in names], capsize=3)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.invert_yaxis()
        axis.set_title(panel.title, loc="left", fontsize=10)
        for place, (value, above) in enumerate(zip(middles, most, strict=True)):
            axis.text(above, place, f"  {panel.tell(value)}", va="center", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(f"{stem}.png", dpi=110)
    plt.close(figure)


def _colour(name: str) -> str:
    return _OURS if name.startswith(("embedded", "shared")) else _OTHERS


def _bar(name: str, row: Sequence[Sample | Latency], which: str = "calls") -> _Bar:
    values = [getattr(each, which) for each in row]
    return name, median(row, which), min(values), max(values)


def _panels(found: Findings) -> Iterator[_Panel]:
    for case in CASES:
        rows = found.samples.get(case.name, {})
        yield _Panel(f"{case.title}: calls a second", [_bar(name, row) for name, row in rows.items()])
    keys = [
        _bar(f"{name}, {told}", row)
        for name in ("embedded", "shared")
        for case, told in key_cases().items()
        for whose, row in found.samples.get(case, {}).items()
        if whose.startswith(name)
    ]
    yield _Panel("Keys in rotation: calls a second", keys)
    for which in ("p50", "p99"):
        bars = [_bar(name, row, which) for name, row in found.latencies.items()]
        yield _Panel(f"A call at {found.rate:,.0f} calls/s: {which} in milliseconds", bars, lambda value: f"{value:.2f}")
    for count in sorted({count for rows in found.streams.values() for count in rows}):
        held = {name: each for name, rows in found.streams.items() if not isinstance(each := rows.get(count, ""), str)}
        memory = {name: each.total_bytes / 2**20 for name, each in held.items() if name != "direct"}
        late = {name: each.p99 for name, each in held.items()}
        opened = next((each.opened for each in held.values()), count)
        yield _Panel(f"{opened:,} open streams: MiB in all", [(name, each, each, each) for name, each in memory.items()])
        title = f"{opened:,} open streams: events late, p99 in milliseconds"
        yield _Panel(title, [(name, each, each, each) for name, each in late.items()], lambda value: f"{value:.2f}")
    workers = found.samples.get("workers", {})
    yield _Panel("Workers, on both cores: calls a second", [_bar(name, row) for name, row in workers.items()])
