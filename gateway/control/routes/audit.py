"""`/admin/v1/audit`."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from gateway.control import csvs
from gateway.control import schemas_usage as schemas
from gateway.control.context import Caller, KnownCaller, Services, UsedServices
from gateway.control.paging import MAX_LIMIT, Page
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter, Limit, Listing, Moment, when
from gateway.control.services import audit
from gateway.control.services.usage import read_time
from gateway.domain.roles import Right
from gateway.storage.sql.audit import AuditRow, Wanted

router = APIRouter(prefix="/audit", tags=["audit"], route_class=GuardedRoute)

MOST_ROWS = 100_000
"""Of a CSV; where there are more, its last row says so."""

Format = Annotated[
    csvs.Format,
    Query(alias="format", description=f"`csv`: all rows that fit, at most {MOST_ROWS:,}, as a file."),
]
_COLUMNS = ("at", "actor", "action", "target", "account_id", "workspace_id", "before", "after", "client", "id")


def _shown(row: AuditRow) -> schemas.AuditEntry:
    return schemas.AuditEntry(
        id=row.id,
        at=when(row.at),
        actor=row.actor,
        action=row.action,
        target=row.target,
        account_id=row.account_id,
        workspace_id=row.workspace_id,
        before=None if row.before is None else dict(row.before),
        after=None if row.after is None else dict(row.after),
        client=row.client,
    )


def _json(values: Mapping[str, Any] | None) -> str | None:
    return None if values is None else json.dumps(dict(values), ensure_ascii=False, sort_keys=True)


def _cells(row: AuditRow) -> csvs.Row:
    """In the order of `_COLUMNS`."""
    place = (row.account_id, row.workspace_id)
    return (when(row.at), row.actor, row.action, row.target, *place, _json(row.before), _json(row.after), row.client, row.id)


async def _rows(services: Services, caller: Caller, wanted: Wanted, first: Page[AuditRow]) -> AsyncIterator[Iterable[csvs.Row]]:
    """All pages from the `first` one on. What is written meanwhile is newer than that one: it neither repeats nor hides a row."""
    page, count = first, 0
    while True:
        yield map(_cells, page.rows)
        count += len(page.rows)
        if page.next_cursor is None:
            return
        if count >= MOST_ROWS:
            yield [[f"Cut after {count:,} rows. For the older ones ask again, with cursor={page.next_cursor}"]]
            return
        page = await audit.find(services, caller, wanted, limit=MAX_LIMIT, cursor=page.next_cursor)


@router.get("", response_model=Listing[schemas.AuditEntry], responses=csvs.IN_OPENAPI)
@needs(Right.READ_AUDIT)
async def list_audit(
    *,
    services: UsedServices,
    caller: KnownCaller,
    action: Filter = None,
    target: Filter = None,
    actor: Filter = None,
    account_id: Filter = None,
    workspace_id: Filter = None,
    start: Moment = None,
    end: Moment = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
    format_: Format = "json",
) -> Listing[schemas.AuditEntry] | Response:
    """Who changed what, the newest first; `action` may be the first part of one, such as `key`."""
    wanted = Wanted(
        action=action,
        target=target,
        actor=actor,
        account_id=account_id,
        workspace_id=workspace_id,
        start_ms=None if start is None else read_time("start", start),
        end_ms=None if end is None else read_time("end", end),
    )
    if format_ == "csv":
        # The first page is read before the answer begins, so that whatever is wrong is still told as such.
        first = await audit.find(services, caller, wanted, limit=MAX_LIMIT, cursor=cursor)
        return csvs.stream("audit", _COLUMNS, _rows(services, caller, wanted, first))
    page = await audit.find(services, caller, wanted, limit=limit, cursor=cursor)
    return Listing(data=[_shown(row) for row in page.rows], next_cursor=page.next_cursor)
