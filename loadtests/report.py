"""The figures as a table and as plots."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtests.load import Sample, Streams

_AGAINST = ("Envoy", "nginx", "direct", "Portkey", "LiteLLM")


def _median(samples: Sequence[Sample]) -> float:
    return float(statistics.median(sample.calls for sample in samples))


def markdown(
    titles: Mapping[str, str],
    found: Mapping[str, Mapping[str, Sequence[Sample]]],
    held: Mapping[str, Mapping[int, Streams | str]],
    facts: Mapping[str, Any],
) -> str:
    """A table a case: the median of calls a second with least and most, the ratio to the others, times, and the core's use."""
    said = (
        f"{facts['cores']} cores ({facts['machine']}), Python {facts['python']}; medians of {facts['rounds']} runs of "
        f"{facts['seconds']:g} s, in turn; each server on one core, load and upstream on the other."
    )
    lines = [said, ""]
    for case, title in titles.items():
        lines += [f"### {title}", "", *_table({name: samples for name, samples in found[case].items() if samples}, case), ""]
    if held:
        head = "| | streams | a stream | in all | events late, p50 | p99 |"
        lines += ["### Open slow streams, an event a second each", "", head, "|---" * 6 + "|"]
        lines += [_stream_row(name, count, streams) for name, counts in held.items() for count, streams in counts.items()]
        lines.append("")
    if facts.get("notes"):
        lines += [*(f"- {note}" for note in facts["notes"]), ""]
    return "\n".join(lines)


def _table(rows: Mapping[str, Sequence[Sample]], case: str) -> Iterator[str]:
    medians = {name: _median(samples) for name, samples in rows.items()}
    against = [name for name in _AGAINST if name in medians]
    yield "| | calls/s | least to most | " + "".join(f"to {name} | " for name in against) + "p50 ms | p99 ms | core | wrong |"
    yield "|---" * (7 + len(against)) + "|"
    for name, samples in rows.items():
        calls = [sample.calls for sample in samples]
        ratios = "".join(f"{_ratio(medians[name], medians[other])} | " for other in against)
        refused = 0 if case == "refused" else sum(sample.refused for sample in samples)
        p50, p99, core = (statistics.median(getattr(sample, field) for sample in samples) for field in ("p50", "p99", "cpu"))
        wrong = sum(sample.broken for sample in samples) + refused
        spread = f"{medians[name]:,.0f} | {min(calls):,.0f} to {max(calls):,.0f}"
        yield f"| {name} | {spread} | {ratios}{p50:.2f} | {p99:.2f} | {core:.0%} | {wrong} |"


def _ratio(mine: float, others: float) -> str:
    """To two or three digits; none where the other one got nothing done."""
    if not others:
        return "-"
    ratio = mine / others
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def _stream_row(name: str, count: int, streams: Streams | str) -> str:
    if isinstance(streams, str):
        return f"| {name} | {count:,} | not held: {streams} | | | |"
    each, whole = streams.bytes_a_stream / 1024, streams.total_bytes / 2**20
    return f"| {name} | {count:,} | {each:.1f} KiB | {whole:.0f} MiB | {streams.p50:.1f} ms | {streams.p99:.1f} ms |"


def plots(titles: Mapping[str, str], found: Mapping[str, Mapping[str, Sequence[Sample]]], stem: Path) -> None:
    """A picture a case: bars of the medians, with least and most; nothing without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 — a figure can do without pictures
    except ImportError:
        print("no pictures: matplotlib is missing")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 — after the choice of a back end

    figure, axes = plt.subplots(len(titles), 1, figsize=(9, 1.1 + 2.1 * len(titles)), squeeze=False)
    for axis, (case, title) in zip(axes[:, 0], titles.items(), strict=True):
        rows = {name: samples for name, samples in found[case].items() if samples}
        names, medians = list(rows), [_median(samples) for samples in rows.values()]
        least = [median - min(sample.calls for sample in samples) for median, samples in zip(medians, rows.values(), strict=True)]
        most = [max(sample.calls for sample in samples) - median for median, samples in zip(medians, rows.values(), strict=True)]
        colours = ["#0b6b78" if name.startswith(("embedded", "shared")) else "#9aa5b1" for name in names]
        axis.barh(names, medians, xerr=[least, most], color=colours, capsize=3)
        axis.invert_yaxis()
        axis.set_title(f"{title}: calls a second", loc="left", fontsize=10)
        for place, (median, above) in enumerate(zip(medians, most, strict=True)):
            axis.text(median + above, place, f"  {median:,.0f}", va="center", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(f"{stem}.png", dpi=110)
    plt.close(figure)
