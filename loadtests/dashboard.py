"""Pictures of the dashboard's panels from a real Prometheus while a gateway meets troubles: `python -m loadtests.dashboard`.

Writes a picture for each row of the dashboard into docs/images, the troubles shaded, and says which panels showed nothing. It
takes some three minutes, needs what the benchmark and the tests need, and Debian's Prometheus.
"""

import argparse
import asyncio
import math
import time
from pathlib import Path
from typing import Any

from loadtests.trouble import Phases, Trouble, scenes, trouble
from tests.support.dashboards import Panel, dashboards, panels
from tests.support.processes import ROOT
from tests.support.prometheus import PrometheusServer, Series

_STEP, _RATES = 1.0, "8s"
_COLOURS = ("#f2c9c9", "#f5deb0", "#cfd8f0")
_COLUMNS = 3
_MOST_SERIES = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images", help="where the pictures go")
    parser.add_argument("--scale", type=float, default=1.0, help="how long the troubles take, 1 is the usual time")
    given = parser.parse_args()
    usual = Phases()
    phases = Phases(usual.calm * given.scale, usual.refused * given.scale, usual.redis_away, usual.slow * given.scale)
    return asyncio.run(_show(given.folder, phases))


async def _show(folder: Path, phases: Phases) -> int:
    async with trouble() as ran:
        with PrometheusServer({"gateway": [f"127.0.0.1:{ran.gateway.port}"]}) as prometheus:
            print(f"the gateway runs at {ran.gateway.address}; the troubles take {_seconds(phases):.0f} s ...", flush=True)
            await ran.run(phases)
            empty = await asyncio.to_thread(_draw_all, prometheus, ran, folder)
    for title in empty:
        print(f"showed nothing: {title}")
    return 0


def _seconds(phases: Phases) -> float:
    return 4 * phases.calm + phases.refused + phases.redis_away + phases.slow


def _draw_all(prometheus: PrometheusServer, ran: Trouble, folder: Path) -> list[str]:
    import matplotlib as mpl  # noqa: PLC0415 — only the benchmark's environment has it

    mpl.use("Agg")
    empty: list[str] = []
    for file, dashboard in dashboards().items():
        rows: dict[str, list[Panel]] = {}
        for panel in panels(dashboard):
            rows.setdefault(panel.row, []).append(panel)
        for row, shown in rows.items():
            name = f"dashboard-{Path(file).stem}-{row.lower().replace(' ', '-').replace(',', '')}.png"
            empty += _draw_row(prometheus, ran, folder / name, row, shown)
            print(f"wrote {folder / name}", flush=True)
    return empty


def _draw_row(prometheus: PrometheusServer, ran: Trouble, file: Path, row: str, shown: list[Panel]) -> list[str]:
    from matplotlib import pyplot as plt  # noqa: PLC0415 — after the choice of a back end

    lines = math.ceil(len(shown) / _COLUMNS)
    figure, axes = plt.subplots(lines, _COLUMNS, figsize=(16, 0.6 + 3.1 * lines), squeeze=False)
    figure.suptitle(
        f"{row}: " + ", ".join(f"{name} ({begun:.0f}-{ended:.0f} s)" for name, begun, ended in scenes(ran)), fontsize=11
    )
    empty = [panel.title for panel, axis in zip(shown, axes.flat, strict=False) if not _draw(prometheus, ran, axis, panel)]
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=70)
    plt.close(figure)
    return empty


def _draw(prometheus: PrometheusServer, ran: Trouble, axis: Any, panel: Panel) -> bool:
    """One panel. Returns whether there was anything to see."""
    found: list[tuple[str, Series]] = []
    for query in panel.queries:
        series = prometheus.over(query.ready(_RATES), ran.begun, time.time(), _STEP)
        found += [(query.called(labels) or query.legend, (labels, points)) for labels, points in series]
    axis.set_title(f"{panel.title} [{panel.unit}]", loc="left", fontsize=9)
    for (_, begun, ended), colour in zip(scenes(ran), _COLOURS, strict=True):
        axis.axvspan(begun, ended, color=colour, lw=0)
    found.sort(key=lambda each: -max((value for _, value in each[1][1] if not math.isnan(value)), default=0.0))
    for name, (_, points) in found[:_MOST_SERIES]:
        axis.plot([at - ran.begun for at, _ in points], [value for _, value in points], lw=1.2, label=name)
    if found:
        axis.legend(fontsize=6, loc="upper left", framealpha=0.6)
    axis.tick_params(labelsize=7)
    axis.set_xlim(0, time.time() - ran.begun)
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    axis.spines[["top", "right"]].set_visible(False)
    return any(not math.isnan(value) for _, (_, points) in found for _, value in points)


if __name__ == "__main__":
    raise SystemExit(main())
