"""The figures as a table and as plots."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from load import Sample, Streams

_AGAINST = ("Envoy", "nginx", "direct")


def _median(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.calls for sample in samples)


def markdown(
    titles: Mapping[str, str],
    found: Mapping[str, Mapping[str, Sequence[Sample]]],
    held: Mapping[str, Mapping[int, Streams]],
    facts: Mapping[str, Any],
) -> str:
    """A table a case: the median of calls a second with least and most, the ratio to the others, times, and the core's use."""
    lines = [
        f"{facts['cores']} cores ({facts['machine']}), Python {facts['python']}; medians of {facts['rounds']} runs of "
        f"{facts['seconds']:g} s, in turn; each server on one core, load and upstream on the other.",
        "",
    ]
    for case, title in titles.items():
        rows = {name: samples for name, samples in found[case].items() if samples}
        medians = {name: _median(samples) for name, samples in rows.items()}
        against = [name for name in _AGAINST if name in medians]
        lines += [f"### {title}", "", "| | calls/s | least–most | " + " | ".join(f"to {name}" for name in against) + " | p50 ms | p99 ms | core | wrong |"]
        lines.append("|---" * (7 + len(against)) + "|")
        for name, samples in rows.items():
            calls = [sample.calls for sample in samples]
            ratios = " | ".join(f"{medians[name] / medians[other]:.2f} ×" for other in against)
            wrong = sum(sample.broken for sample in samples) + (0 if case == "refused" else sum(sample.refused for sample in samples))
            lines.append(
                f"| {name} | {medians[name]:,.0f} | {min(calls):,.0f}–{max(calls):,.0f} | {ratios} | "
                f"{statistics.median(sample.p50 for sample in samples):.2f} | {statistics.median(sample.p99 for sample in samples):.2f} | "
                f"{statistics.median(sample.cpu for sample in samples):.0%} | {wrong} |"
            )
        lines.append("")
    if held:
        lines += ["### Open slow streams, an event a second each", "", "| | streams | a stream | in all | events late, p50 | p99 |", "|---" * 6 + "|"]
        for name, counts in held.items():
            for count, streams in counts.items():
                lines.append(
                    f"| {name} | {count:,} | {streams.bytes_a_stream / 1024:.1f} KiB | {streams.total_bytes / 2**20:.0f} MiB | "
                    f"{streams.p50:.1f} ms | {streams.p99:.1f} ms |"
                )
        lines.append("")
    return "\n".join(lines)


def plots(titles: Mapping[str, str], found: Mapping[str, Mapping[str, Sequence[Sample]]], stem: Path) -> None:
    """A picture a case: bars of the medians, with least and most; nothing without matplotlib."""
    try:
        import matplotlib  # noqa: PLC0415 — a figure can do without pictures
    except ImportError:
        print("no pictures: matplotlib is missing")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415 — after the choice of a back end

    figure, axes = pyplot.subplots(len(titles), 1, figsize=(9, 1.1 + 2.1 * len(titles)), squeeze=False)
    for axis, (case, title) in zip(axes[:, 0], titles.items(), strict=True):
        rows = {name: samples for name, samples in found[case].items() if samples}
        names, medians = list(rows), [_median(samples) for samples in rows.values()]
        least = [median - min(sample.calls for sample in samples) for median, samples in zip(medians, rows.values(), strict=True)]
        most = [max(sample.calls for sample in samples) - median for median, samples in zip(medians, rows.values(), strict=True)]
        colours = ["#0b6b78" if name.startswith(("embedded", "shared")) else "#9aa5b1" for name in names]
        axis.barh(names, medians, xerr=[least, most], color=colours, capsize=3)
        axis.invert_yaxis()
        axis.set_title(f"{title}: calls a second", loc="left", fontsize=10)
        for place, median in enumerate(medians):
            axis.text(median, place, f" {median:,.0f}", va="center", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(f"{stem}.png", dpi=110)
    pyplot.close(figure)
