"""Usage: what calls used in a span of time, all in all or step by step."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.control.context import Caller, Services
from gateway.control.problems import BadRequest
from gateway.storage.sql import names, usage, usage_series, usage_steps
from gateway.storage.sql.engine import reading
from gateway.storage.sql.names import KeyName
from gateway.storage.sql.usage import Filters, GroupBy, UsageRow
from gateway.storage.sql.usage_series import STEPS, UsagePoint
from gateway.storage.sql.usage_steps import Steps, UsageStep

_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
RANGES = {"3h": 3 * _HOUR_MS, "24h": 24 * _HOUR_MS, "7d": 7 * 24 * _HOUR_MS, "30d": 30 * 24 * _HOUR_MS}
STEP_OF = dict(zip(RANGES, STEPS, strict=True))
"""The step, in milliseconds, that shows a range well."""

DEFAULT_RANGE = "24h"
MOST_STEPS = 1000
MOST_APART = 100
"""So many groups are told apart over time where nothing else is said."""

_LONGEST_NUMBER = 15
_LAST_MS = 253_402_300_800_000  # the year 10000, in which RFC 3339 ends


@dataclass(frozen=True, slots=True)
class Span:
    """From `start_ms` on and before `end_ms`, in Unix milliseconds."""

    start_ms: int
    end_ms: int

    def minutes(self, now_ms: int) -> float:
        """How long it was until now, or as a whole where it is past; never nothing, so that it can be divided by."""
        return max(min(self.end_ms, now_ms) - self.start_ms, 1) / _MINUTE_MS

    def steps(self, step_ms: int) -> int:
        """How many steps it has, a last one that is cut off included."""
        return -(-(self.end_ms - self.start_ms) // step_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which calls, and by what they are summed; None is no condition."""

    group_by: GroupBy = "model"
    account_id: str | None = None
    workspace_id: str | None = None
    key_id: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage by group, most tokens first, and all of it as one row."""

    span: Span
    rows: Sequence[UsageRow]
    total: UsageRow


@dataclass(frozen=True, slots=True)
class Series:
    """Usage by step and group. `others` counts the groups that are not told apart, whose points have no group."""

    span: Span
    step_ms: int
    points: Sequence[UsagePoint]
    others: int

    @property
    def groups(self) -> list[str]:
        """Those that are told apart, by name."""
        return sorted({point.group for point in self.points if point.group is not None})


@dataclass(frozen=True, slots=True)
class Overview:
    """Usage as a page shows it: by group, most tokens first; by step; and by step the calls of the `largest` groups.

    `steps` are all of the span, one for each of `times`; all numbers are of one state of the database.
    """

    span: Span
    step_ms: int
    rows: Sequence[UsageRow]
    largest: Sequence[str]
    steps: Sequence[UsageStep]

    @property
    def times(self) -> list[int]:
        return [step.at for step in self.steps]

    @property
    def total(self) -> UsageRow:
        return usage.total(self.rows)


def read_span(now_ms: int, *, range_: str | None, start: str | None, end: str | None) -> Span:
    """The span that is asked for: a range up to now, or from `start` to `end` (left out: now). Raises BadRequest."""
    if range_ is not None and (start is not None or end is not None):
        raise BadRequest.field("range", "Send either range, or start and end.")
    if start is None:
        if end is not None:
            raise BadRequest.field("start", "Send start as well, or range alone.")
        # One more, so that a call of this very millisecond counts.
        return Span(now_ms - RANGES[range_ or DEFAULT_RANGE], now_ms + 1)
    span = Span(read_time("start", start), now_ms + 1 if end is None else read_time("end", end))
    if span.start_ms >= span.end_ms:
        raise BadRequest.field("end", "The end has to be later than the start.")
    return span


def read_time(param: str, text: str) -> int:
    """A moment from 1970 on, in Unix milliseconds. Raises BadRequest."""
    wrong = BadRequest.field(param, "Give a time as RFC 3339 with its zone, such as 2026-01-31T12:00:00Z, or as Unix seconds.")
    if text.isascii() and text.isdecimal():
        if len(text) > _LONGEST_NUMBER or int(text) * 1000 >= _LAST_MS:
            raise wrong
        return int(text) * 1000
    try:
        # In a query, the plus sign of a zone arrives as a space unless it was encoded.
        at = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise wrong from error
    if at.tzinfo is None:
        raise wrong
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    found = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    if not 0 <= found < _LAST_MS:
        raise wrong
    return found


def read_step(span: Span, step: int | None) -> int:
    """The step, in milliseconds, for `step` seconds; None takes the one that shows the span well. Raises BadRequest."""
    length = span.end_ms - 1 - span.start_ms
    if step is None:
        wide = [name for name in RANGES if RANGES[name] >= length]
        step_ms = STEP_OF[wide[0]] if wide else STEPS[-1]
    else:
        step_ms = step * 1000
        if step_ms not in STEPS:
            raise BadRequest.field("step", f"Steps are {', '.join(str(each // 1000) for each in STEPS)} seconds.")
    if length // step_ms >= MOST_STEPS:
        raise BadRequest.field("step", f"These are over {MOST_STEPS:,} steps; send a longer step, or a shorter span.")
    return step_ms


def aligned(span: Span, step_ms: int) -> Span:
    """The whole steps that hold the span; the last of the calendar may lack its end."""
    return Span(span.start_ms // step_ms * step_ms, min(-(-span.end_ms // step_ms) * step_ms, _LAST_MS - 1))


async def find(services: Services, caller: Caller, span: Span, wanted: Wanted) -> Usage:
    """Usage of the calls that the caller may see, started within the span, and fit every filter that is given."""
    caller.require_signed_in()
    rows = await usage.usage(
        services.engine,
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        group_by=wanted.group_by,
        visible=caller.identity.visible(),
        account_id=wanted.account_id,
        workspace_id=wanted.workspace_id,
        key_id=wanted.key_id,
        model=wanted.model,
    )
    return Usage(span, rows, usage.total(rows))


async def over_time(
    services: Services, caller: Caller, span: Span, step_ms: int, wanted: Wanted, *, most: int = MOST_APART
) -> Series:
    """The same by steps: those that hold the span. The `most` groups with the most tokens are told apart.

    A first look only says which groups these are, and all numbers are of one read: sums over them agree with each other.
    """
    whole = aligned(span, step_ms)
    ranked = [row.group for row in (await find(services, caller, whole, wanted)).rows]
    points = await usage_series.series(
        services.engine,
        start_ms=whole.start_ms,
        end_ms=whole.end_ms,
        step_ms=step_ms,
        group_by=wanted.group_by,
        visible=caller.identity.visible(),
        account_id=wanted.account_id,
        workspace_id=wanted.workspace_id,
        key_id=wanted.key_id,
        model=wanted.model,
        apart=ranked[:most] if len(ranked) > most else None,
    )
    return Series(whole, step_ms, points, max(0, len(ranked) - most))


async def overview(services: Services, caller: Caller, span: Span, step_ms: int, wanted: Wanted, *, largest: int) -> Overview:
    """Usage by group and by step, of the steps that hold the span."""
    caller.require_signed_in()
    whole = aligned(span, step_ms)
    filters = Filters(wanted.account_id, wanted.workspace_id, wanted.key_id, wanted.model, caller.identity.visible())
    asked = Steps(start_ms=whole.start_ms, end_ms=whole.end_ms, step_ms=step_ms, group_by=wanted.group_by, filters=filters)
    found = await usage_steps.overview(services.engine, asked, largest=largest)
    known = {step.at: step for step in found.steps}
    nothing = usage.total([])
    steps = [
        known.get(at) or UsageStep(at, nothing, [0] * len(found.largest)) for at in range(whole.start_ms, whole.end_ms, step_ms)
    ]
    return Overview(whole, step_ms, found.rows, found.largest, steps)


def together(points: Sequence[UsagePoint]) -> UsageRow:
    """Points as one row, whose group is the empty text."""
    calls, timed = sum(each.calls for each in points), sum(each.timed_calls for each in points)
    return UsageRow(
        group="",
        calls=calls,
        failures=sum(each.failures for each in points),
        input_tokens=sum(each.input_tokens for each in points),
        output_tokens=sum(each.output_tokens for each in points),
        cached_tokens=sum(each.cached_tokens for each in points),
        estimated_calls=sum(each.estimated_calls for each in points),
        timed_calls=timed,
        ttft_ms=sum(each.ttft_ms for each in points) / timed if timed else None,
        duration_ms=sum(each.duration_ms for each in points) / calls if calls else 0.0,
        refused=sum(each.refused for each in points),
    )


async def names_of(services: Services, group_by: GroupBy, groups: Collection[str]) -> dict[str, str]:
    """What people call the groups, by group: a model as itself, a workspace by its name, a key by its masked form and its
    description. Those that are deleted are not in it. For groups that the caller has been given by this module.
    """
    if group_by == "model":
        return {group: group for group in groups}
    async with reading(services.engine) as conn:
        if group_by == "workspace":
            return await names.of_workspaces(conn, groups)
        return {key_id: key_text(name) for key_id, name in (await names.of_keys(conn, groups)).items()}


def key_text(name: KeyName) -> str:
    """A key in one line."""
    return f"{name.masked} {name.description}" if name.description else name.masked


async def keys_to_choose(
    services: Services, caller: Caller, *, account_id: str | None, workspace_id: str | None, limit: int
) -> list[KeyName]:
    """The oldest `limit` keys, of those that the caller may see, of an account or a workspace."""
    caller.require_signed_in()
    async with reading(services.engine) as conn:
        return await names.keys_within(
            conn, visible=caller.identity.visible(), account_id=account_id, workspace_id=workspace_id, limit=limit
        )
