"""`/admin/v1/usage`."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from gateway.control import schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import Filter, Moment, when
from gateway.control.services import usage
from gateway.domain.roles import Right
from gateway.storage.sql.usage import GroupBy, UsageRow

router = APIRouter(prefix="/usage", tags=["usage"], route_class=GuardedRoute)

Range = Annotated[
    Literal["3h", "24h", "7d", "30d"] | None, Query(alias="range", description="Up to now; 24h where nothing is said.")
]


def _numbers(row: UsageRow) -> dict[str, object]:
    return {
        "calls": row.calls,
        "failures": row.failures,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "total_tokens": row.input_tokens + row.output_tokens,
        "cached_tokens": row.cached_tokens,
        "estimated_calls": row.estimated_calls,
        "ttft_ms": None if row.ttft_ms is None else round(row.ttft_ms, 1),
        "duration_ms": round(row.duration_ms, 1),
    }


@router.get("")
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
) -> schemas.Usage:
    """What calls used in a span of time, by model, workspace or key, the most tokens first."""
    span = usage.read_span(services.now_ms(), range_=range_, start=start, end=end)
    found = await usage.find(
        services,
        caller,
        span,
        group_by=group_by,
        account_id=account_id,
        workspace_id=workspace_id,
        key_id=key_id,
        model=model,
    )
    return schemas.Usage(
        start=when(span.start_ms),
        end=when(span.end_ms),
        group_by=group_by,
        data=[schemas.UsageOfGroup.model_validate({"group": row.group, **_numbers(row)}) for row in found.rows],
        total=schemas.UsageNumbers.model_validate(_numbers(found.total)),
    )
