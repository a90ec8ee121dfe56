"""The figures as tables."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadtests.cases import CASES, COLD, KEYS, REFUSALS
from loadtests.findings import Findings
from loadtests.latency import CONNECTIONS, Latency
from loadtests.load import Sample
from loadtests.streams import SECONDS, Streams
from loadtests.upstream import EVENTS

_AGAINST = ("Envoy", "nginx", "direct", "Portkey", "LiteLLM")
_LAST = ("p50 ms", "p99 ms", "core", "other core", "wrong")
_AT_ONCE = 0.3  # seconds
_BUSY = 0.85  # from here on the load's core may be what holds a server back
_ABOUT_KEYS = (
    f"The database has {KEYS[-1]:,} keys of 1,000 accounts. They are remembered from their first call on, which is over before "
    f"the measuring begins (the process may remember {2 * KEYS[-1]:,}); where they are never remembered, it may remember one "
    "(GATEWAY_CACHE_MAX_KEYS), so that each call asks the database for its key."
)
_ABOUT_WORKERS = (
    "Here the gateway may use both cores, and so may load, upstream, Redis and PostgreSQL, which all share them with it: what a "
    "second worker gains with a core of its own is more than this. “core” is of one core."
)
_ABOUT_LATENCY = (
    f"A call is sent when it is time, over {CONNECTIONS} kept connections, and its time counts from then on, whatever hindered "
    "it. “added” is the difference to “direct”, of medians of runs."
)
_ABOUT_STREAMS = (
    "Servers are fresh ones. “each” is what the server's processes have grown by, a stream; “in all” what they have. Events of "
    f"{SECONDS:g} s; how late they are counts from the upstream's writing to the client's reading."
)


def median(samples: Sequence[Sample | Latency], name: str = "calls") -> float:
    return float(statistics.median(getattr(sample, name) for sample in samples))


def markdown(found: Findings, facts: Mapping[str, Any]) -> str:
    """A table a case: the median of calls a second with least and most, the ratio to the others, times, and the cores' use."""
    load = ", ".join(f"{each:.2f}" for each in facts["load"])
    said = (
        f"{facts['cores']} cores ({facts['machine']}), Python {facts['python']}, load averages at the beginning {load}. Medians "
        f"of {facts['rounds']} runs of {facts['seconds']:g} s each, in turn, with least and most. Each server is on one core; "
        "load, upstream, Redis and PostgreSQL are on the other. “core” is what the server's processes used of theirs, “other "
        "core” how busy the other one was with everything on it, “wrong” the answers that should not have been."
    )
    parts = [[said], _proof(found)]
    parts += [[f"### {case.title}", "", *_table(found, case.name)] for case in CASES if found.samples.get(case.name)]
    parts += [_keys(found), _latencies(found), _streams(found), _workers(found)]
    parts += [[f"- {note}" for note in (*found.notes, *_afterwards(found))], [noise(found)]]
    return "\n".join("\n".join([*part, ""]) for part in parts if part)


def noise(found: Findings) -> str:
    """How far apart the runs of the upstream itself were, which is the machine's doing."""
    spreads = {
        case.title: (max(calls) - min(calls)) / statistics.median(calls)
        for case in CASES
        if len(calls := [sample.calls for sample in found.samples.get(case.name, {}).get("direct", [])]) > 1
    }
    if not spreads:
        return "Noise: not known, since no case was run with “direct” more than once."
    told = ", ".join(f"{title} {spread:.0%}" for title, spread in spreads.items())
    return f"Noise: the least and the most of “direct” are apart by these parts of its median: {told}."


def _afterwards(found: Findings) -> Iterator[str]:
    """Who put off some of the work of its runs, in words. The next turn waited for that."""
    for name, waits in found.afterwards.items():
        if (usual := statistics.median(waits)) > _AT_ONCE:
            yield f"{name} went on working for {usual:.1f} s after a run (median; at most {max(waits):.1f} s)."


def _proof(found: Findings) -> list[str]:
    """That the upstream is not what holds the others back, in words."""
    lines = []
    for case in CASES:
        rows = dict(found.samples.get(case.name, {}))
        alone = rows.pop("direct", None)
        if not alone or not rows:
            continue
        fastest = max(rows, key=lambda name: median(rows[name]))
        times, busy = median(alone) / median(rows[fastest]), median(rows[fastest], "other_cpu")
        full = "which it shares with the load, so that this one might do more" if busy >= _BUSY else "so that it held nobody back"
        lines.append(
            f"- {case.title}: the upstream alone answers {median(alone):,.0f} calls/s, {times:.1f} times what the fastest server "
            f"before it does ({fastest}, {median(rows[fastest]):,.0f}); its core was {busy:.0%} busy then, {full}."
        )
    return lines


def _table(found: Findings, case: str) -> Iterator[str]:
    rows = found.samples[case]
    against = {name: rows[name] for name in _AGAINST if name in rows}
    passed = found.samples.get("small", {}) if case in REFUSALS else {}
    names = [
        *(["events/s"] if case == "events" else []),
        *(f"to {name}" for name in against),
        *(["to small JSON"] if passed else []),
    ]
    yield from _head("", "calls/s", "least to most", *names, *_LAST)
    for name, row in rows.items():
        cells = [f"{median(row) * EVENTS:,.0f}"] if case == "events" else []
        cells += [_ratio(median(row), median(other)) for other in against.values()]
        if passed:
            cells.append(_ratio(median(row), median(passed[name])) if name in passed else "-")
        yield _row(name, *_calls(row), *cells, *_last(row, refused=case in REFUSALS))


def _head(*names: str) -> list[str]:
    return [_row(*names), "|---" * len(names) + "|"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _calls(row: Sequence[Sample]) -> tuple[str, str]:
    calls = [sample.calls for sample in row]
    return f"{median(row):,.0f}", f"{min(calls):,.0f} to {max(calls):,.0f}"


def _last(row: Sequence[Sample], *, refused: bool = False) -> list[str]:
    """The last columns; where calls are to be refused, those are wrong that were not."""
    wrong = sum(sample.broken + (sample.answered - sample.refused if refused else sample.refused) for sample in row)
    shares = [f"{median(row, name):.0%}" for name in ("cpu", "other_cpu")]
    return [f"{median(row, 'p50'):.2f}", f"{median(row, 'p99'):.2f}", *shares, f"{wrong:,}"]


def _ratio(mine: float, others: float) -> str:
    """To two or three digits; none where the other one got nothing done."""
    if not others:
        return "-"
    ratio = mine / others
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def key_cases() -> dict[str, str]:
    """The cases of the keys, each with what its row is called."""
    return {f"keys-{count}": f"{count:,}" for count in KEYS} | {"cold": f"{COLD:,}, never remembered"}


def _keys(found: Findings) -> list[str]:
    cases = {case: told for case, told in key_cases().items() if case in found.samples}
    if not cases:
        return []
    lines = [
        "### Keys in rotation, small JSON",
        "",
        _ABOUT_KEYS,
        "",
        *_head("", "keys", "calls/s", "least to most", "to 1 key", *_LAST),
    ]
    for name in found.samples[next(iter(cases))]:
        one = found.samples.get("keys-1", {}).get(name)
        for case, told in cases.items():
            if row := found.samples[case].get(name):
                ratio = _ratio(median(row), median(one)) if one else "-"
                lines.append(_row(name, told, *_calls(row), ratio, *_last(row)))
    return lines


def _workers(found: Findings) -> list[str]:
    rows = found.samples.get("workers")
    if not rows:
        return []
    one = next(iter(rows.values()))
    lines = [
        "### Workers, small JSON on both cores",
        "",
        _ABOUT_WORKERS,
        "",
        *_head("", "calls/s", "least to most", "to 1 worker", "p50 ms", "p99 ms", "core", "both cores", "wrong"),
    ]
    return [*lines, *(_row(name, *_calls(row), _ratio(median(row), median(one)), *_last(row)) for name, row in rows.items())]


def _latencies(found: Findings) -> list[str]:
    if not found.latencies:
        return []
    base = found.latencies.get("direct")
    lines = [
        f"### Added latency, small JSON at {found.rate:,.0f} calls/s",
        "",
        _ABOUT_LATENCY,
        "",
        *_head("", "p50 ms", "least to most", "added", "p99 ms", "least to most", "added", "longest ms", "core", "other core"),
    ]
    for name, row in found.latencies.items():
        cells = []
        for which in ("p50", "p99"):
            each = [getattr(latency, which) for latency in row]
            added = f"{median(row, which) - median(base, which):+.3f}" if base and name != "direct" else "-"
            cells += [f"{median(row, which):.3f}", f"{min(each):.3f} to {max(each):.3f}", added]
        longest = f"{max(latency.most for latency in row):.1f}"
        lines.append(_row(name, *cells, longest, *(f"{median(row, share):.0%}" for share in ("cpu", "other_cpu"))))
    return lines


def _streams(found: Findings) -> list[str]:
    if not found.streams:
        return []
    lines = [
        "### Open streams, with an event now and then",
        "",
        _ABOUT_STREAMS,
        "",
        *_head("", "streams", "each", "in all", "events/s", "late p50 ms", "p99 ms", "longest ms", "core", "other core"),
    ]
    counts = sorted({count for rows in found.streams.values() for count in rows})
    lines += [_stream(name, rows[count]) for count in counts for name, rows in found.streams.items() if count in rows]
    return lines


def _stream(name: str, streams: Streams | str) -> str:
    if isinstance(streams, str):
        return _row(name, f"not held: {streams}", *("-" * 8))
    memory = ["-", "-"]
    if name != "direct":
        memory = [f"{streams.bytes_a_stream / 1024:.1f} KiB", f"{streams.total_bytes / 2**20:.0f} MiB"]
    late, shares = (
        [f"{streams.p50:.2f}", f"{streams.p99:.2f}", f"{streams.most:.1f}"],
        [f"{streams.cpu:.0%}", f"{streams.other_cpu:.0%}"],
    )
    return _row(name, f"{streams.opened:,}", *memory, f"{streams.events:,.0f}", *late, *shares)
