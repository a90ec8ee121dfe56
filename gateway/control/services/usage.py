"""Usage: what calls used in a span of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.control.context import Caller, Services
from gateway.control.problems import BadRequest
from gateway.storage.sql import usage
from gateway.storage.sql.usage import GroupBy, UsageRow

_HOUR_MS = 3_600_000
RANGES = {"3h": 3 * _HOUR_MS, "24h": 24 * _HOUR_MS, "7d": 7 * 24 * _HOUR_MS, "30d": 30 * 24 * _HOUR_MS}
DEFAULT_RANGE = "24h"
_LONGEST_NUMBER = 15
_LAST_MS = 253_402_300_800_000  # the year 10000, in which RFC 3339 ends


@dataclass(frozen=True, slots=True)
class Span:
    """From `start_ms` on and before `end_ms`, in Unix milliseconds."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage by group, most tokens first, and all of it as one row."""

    span: Span
    rows: Sequence[UsageRow]
    total: UsageRow


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
    """A moment in Unix milliseconds. Raises BadRequest."""
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
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


async def find(
    services: Services,
    caller: Caller,
    span: Span,
    *,
    group_by: GroupBy,
    account_id: str | None,
    workspace_id: str | None,
    key_id: str | None,
    model: str | None,
) -> Usage:
    """Usage of the calls that the caller may see, started within the span, and fit every filter that is given."""
    caller.require_signed_in()
    rows = await usage.usage(
        services.engine,
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        group_by=group_by,
        visible=caller.identity.visible(),
        account_id=account_id,
        workspace_id=workspace_id,
        key_id=key_id,
        model=model,
    )
    return Usage(span, rows, usage.total(rows))
