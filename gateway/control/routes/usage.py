"""`/admin/v1/usage`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from gateway.control import csvs
from gateway.control import schemas_usage as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import Filter, Moment, when
from gateway.control.services import usage
from gateway.control.services.usage import Series, Span, Wanted
from gateway.domain.roles import Right
from gateway.storage.sql.usage import GroupBy, UsageRow

router = APIRouter(prefix="/usage", tags=["usage"], route_class=GuardedRoute)

MOST_ROWS = 100_000
"""Of a CSV over time: beyond it, fewer groups are told apart."""

Range = Annotated[
    Literal["3h", "24h", "7d", "30d"] | None, Query(alias="range", description="Up to now; 24h where nothing is said.")
]
Step = Annotated[
    int | None,
    Query(
        description="Seconds: 300 (for the last day, of which single calls are known), 3600, 21600 or 86400 (days of UTC). "
        "Left out: what shows the span well.",
        examples=[3600],
    ),
]
Format = Annotated[
    csvs.Format, Query(alias="format", description="`csv`: all groups as a file, with failure rates and means per minute.")
]

_NUMBERS = (
    "calls",
    "failures",
    "failure_rate",
    "refused",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "estimated_calls",
    "ttft_ms",
    "duration_ms",
    "calls_per_minute",
    "tokens_per_minute",
)


def _numbers(row: UsageRow) -> dict[str, float | None]:
    return {
        "calls": row.calls,
        "failures": row.failures,
        "refused": row.refused,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "total_tokens": row.input_tokens + row.output_tokens,
        "cached_tokens": row.cached_tokens,
        "estimated_calls": row.estimated_calls,
        "ttft_ms": None if row.ttft_ms is None else round(row.ttft_ms, 1),
        "duration_ms": round(row.duration_ms, 1),
    }


def _cells(row: UsageRow, minutes: float) -> list[csvs.Cell]:
    """The numbers of a row of CSV, in the order of `_NUMBERS`."""
    known = _numbers(row)
    known["failure_rate"] = round(row.failures / row.calls, 6) if row.calls else None
    known["calls_per_minute"] = round(row.calls / minutes, 4)
    known["tokens_per_minute"] = round((row.input_tokens + row.output_tokens) / minutes, 4)
    return [known[name] for name in _NUMBERS]


def _rows(found: Series, names: Mapping[str, str], now_ms: int) -> Iterator[csvs.Row]:
    for point in found.points:
        minutes = Span(point.at, point.at + found.step_ms).minutes(now_ms)
        name = f"{found.others} others" if point.group is None else names.get(point.group)
        yield [when(point.at), point.group, name, *_cells(usage.together([point]), minutes)]


def _file(what: str, wanted: Wanted, span: Span) -> str:
    start, end = (when(at).replace("-", "").replace(":", "")[:13] for at in (span.start_ms, span.end_ms))
    return f"{what}-by-{wanted.group_by}-{start}Z-{end}Z"


@router.get("", response_model=schemas.Usage, responses=csvs.IN_OPENAPI)
@needs(Right.READ_WORKSPACE)
async def get_usage(
    *,
    services: UsedServices,
    caller: KnownCaller,
    range_: Range = None,
    start: Moment = None,
    end: Moment = None,
    group_by: GroupBy = "model",
    account_id: Filter = None,
    workspace_id: Filter = None,
    key_id: Filter = None,
    model: Filter = None,
    format_: Format = "json",
) -> schemas.Usage | Response:
    """What calls used in a span of time, by model, workspace or key, the most tokens first."""
    now = services.now_ms()
    span = usage.read_span(now, range_=range_, start=start, end=end)
    wanted = Wanted(group_by=group_by, account_id=account_id, workspace_id=workspace_id, key_id=key_id, model=model)
    found = await usage.find(services, caller, span, wanted)
    names = await usage.names_of(services, group_by, [row.group for row in found.rows])
    if format_ == "csv":
        minutes = span.minutes(now)
        rows = [[row.group, names.get(row.group), *_cells(row, minutes)] for row in found.rows]
        return csvs.answer(_file("usage", wanted, span), [group_by, "name", *_NUMBERS], rows)
    return schemas.Usage(
        start=when(span.start_ms),
        end=when(span.end_ms),
        group_by=group_by,
        data=[
            schemas.UsageOfGroup.model_validate({"group": row.group, "name": names.get(row.group), **_numbers(row)})
            for row in found.rows
        ],
        total=schemas.UsageNumbers.model_validate(_numbers(found.total)),
    )


@router.get("/series", response_model=schemas.UsageSeries, responses=csvs.IN_OPENAPI)
@needs(Right.READ_WORKSPACE)
async def get_usage_over_time(
    *,
    services: UsedServices,
    caller: KnownCaller,
    range_: Range = None,
    start: Moment = None,
    end: Moment = None,
    step: Step = None,
    group_by: GroupBy = "model",
    account_id: Filter = None,
    workspace_id: Filter = None,
    key_id: Filter = None,
    model: Filter = None,
    format_: Format = "json",
) -> schemas.UsageSeries | Response:
    """The same step by step: `start` and `end` are taken to the edges of the steps that hold them."""
    now = services.now_ms()
    span = usage.read_span(now, range_=range_, start=start, end=end)
    step_ms = usage.read_step(span, step)
    wanted = Wanted(group_by=group_by, account_id=account_id, workspace_id=workspace_id, key_id=key_id, model=model)
    if format_ == "csv":
        most = max(1, MOST_ROWS // usage.aligned(span, step_ms).steps(step_ms))
        found = await usage.over_time(services, caller, span, step_ms, wanted, most=most)
        names = await usage.names_of(services, group_by, found.groups)
        name = _file("usage-over-time", wanted, found.span)
        return csvs.answer(name, ["at", group_by, "name", *_NUMBERS], _rows(found, names, now))
    found = await usage.over_time(services, caller, span, step_ms, wanted)
    return schemas.UsageSeries(
        start=when(found.span.start_ms),
        end=when(found.span.end_ms),
        step=step_ms // 1000,
        group_by=group_by,
        data=[
            schemas.UsageOfStep.model_validate({"at": when(point.at), "group": point.group, **_numbers(usage.together([point]))})
            for point in found.points
        ],
    )
