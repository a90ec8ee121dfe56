"""`/console/w/{workspace_id}/audit`: who changed what, and how it was before."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from gateway.control.console import audit_words
from gateway.control.console.audit_words import Changed
from gateway.control.console.scopes import LABELS, Scope, address, open_scopes, place_of, scope_tabs, with_query
from gateway.control.console.view import PageView, View
from gateway.control.policy import GuardedRoute, needs
from gateway.control.problems import BadRequest
from gateway.control.schemas import PAGE, Cursor, Filter, when
from gateway.control.services import audit
from gateway.domain.roles import Right
from gateway.storage.sql.audit import AuditRow, Wanted

_RIGHTS: Mapping[Scope, Right] = dict.fromkeys(("workspace", "account", "all"), Right.READ_AUDIT)

Day = Annotated[str | None, Query(pattern=r"^(\d{4}-\d{2}-\d{2})?$")]
From = Annotated[Day, Query(alias="from")]
To = Annotated[Day, Query(alias="to")]

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the page shows, as its address says; the filters are empty where there are none. Days are of UTC, both included."""

    scope: Scope
    action: str
    actor: str
    target: str
    first: str
    last: str

    @property
    def is_filtered(self) -> bool:
        return any((self.action, self.actor, self.target, self.first, self.last))

    def query(self, **changed: str | None) -> dict[str, str | None]:
        found: dict[str, str | None] = {**asdict(self), **changed}
        return {{"first": "from", "last": "to"}.get(name, name): value for name, value in found.items()}

    def wanted(self, view: View) -> Wanted:
        """Raises BadRequest for what is no day."""
        place = place_of(view, self.scope)
        return Wanted(
            action=self.action or None,
            target=self.target or None,
            actor=self.actor or None,
            account_id=None if place.workspace_id else place.account_id,
            workspace_id=place.workspace_id,
            start_ms=_start("from", self.first) if self.first else None,
            end_ms=_start("to", self.last, days=1) if self.last else None,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """A change as it is shown. `url` leads to its target, where there is a page of it."""

    row: AuditRow
    clock: str
    words: str
    changes: Sequence[Changed]
    brief: str
    url: str
    workspace: str
    account: str

    @property
    def stamp(self) -> str:
        return when(self.row.at)


@router.get("/audit")
@needs(Right.READ_AUDIT)
async def audit_page(
    *,
    view: PageView,
    scope: Scope | None = None,
    action: Filter = None,
    actor: Filter = None,
    target: Filter = None,
    first: From = None,
    last: To = None,
    cursor: Cursor = None,
) -> Response:
    known = open_scopes(view, _RIGHTS)
    # What concerns the account is what most who may see it come for.
    chosen: Scope = scope or ("account" if "account" in known else "workspace")
    view.caller.require(Right.READ_AUDIT, place_of(view, chosen))
    asked = Asked(
        scope=chosen,
        action=action or "",
        actor=(actor or "").strip(),
        target=(target or "").strip(),
        first=first or "",
        last=last or "",
    )
    wanted = asked.wanted(view)
    page = await audit.find(view.services, view.caller, wanted, limit=PAGE, cursor=cursor)
    events = [_event(view, row) for row in page.rows]
    return view.page(
        "audit.html",
        "Audit",
        asked=asked,
        tabs=scope_tabs(view, _RIGHTS, chosen, asked.query(), {**LABELS, "all": "Everything"}),
        groups=[("", "All"), *audit_words.GROUPS.items()],
        actors=sorted({event.row.actor for event in events}),
        days=[(day, list(rows)) for day, rows in groupby(events, key=lambda event: _day(event.row.at))],
        count=len(events),
        clear_url=address(view, {"scope": chosen}),
        first_url=address(view, asked.query()) if cursor else None,
        next_url=address(view, asked.query(cursor=page.next_cursor)) if page.next_cursor else None,
        csv_url=_csv_url(wanted),
    )


def _start(param: str, day: str, *, days: int = 0) -> int:
    """When a day begins, or one so many days later. Raises BadRequest."""
    try:
        begin = datetime.combine(date.fromisoformat(day) + timedelta(days=days), datetime.min.time(), UTC)
    except (ValueError, OverflowError) as error:
        raise BadRequest.field(param, "There is no such day; give one as 2026-01-31.") from error
    return max(0, round(begin.timestamp())) * 1000


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)


def _day(at: int) -> str:
    return f"{_moment(at):%A, %d %B %Y}".replace(", 0", ", ")


def _event(view: View, row: AuditRow) -> Event:
    found = audit_words.changes(row.before, row.after)
    return Event(
        row=row,
        clock=f"{_moment(row.at):%H:%M:%S}",
        words=audit_words.words(row.action),
        changes=found,
        brief=audit_words.brief(found),
        url=_url(view, row),
        workspace=next((each.name for each in view.workspaces if each.id == row.workspace_id), ""),
        account=view.account_names.get(row.account_id or "", ""),
    )


def _url(view: View, row: AuditRow) -> str:
    """Where the target is looked after; empty where it is gone, or where whoever looks may not go."""
    group, _, verb = row.action.partition(".")
    at = row.workspace_id or next((each.id for each in view.workspaces if each.account_id == row.account_id), "")
    found = {
        "key": (at and view.url("keys", at), row.target, verb != "delete"),
        "workspace": (view.url("edit", row.target), "", True),
        "grant": (at and view.url("edit", at), "", True),
        "limits": (at and view.url("limits", at), row.target.partition("/")[2], True),
        "member": (at and view.url("members", at), "", view.may(Right.MANAGE_MEMBERS)),
        "user": (view.url("people"), "", view.may(Right.MANAGE_PEOPLE)),
        "model": (view.url("models"), row.target, view.may(Right.MANAGE_CATALOGUE) and verb != "delete"),
        "upstream": (view.url("upstreams"), "", view.may(Right.MANAGE_CATALOGUE) and verb != "delete"),
        "account": (view.url("accounts"), "", view.may(Right.MANAGE_ACCOUNTS)),
    }.get(group)
    if found is None or not found[0] or not found[2]:
        return ""
    return with_query(found[0], {"q": found[1]})


def _csv_url(wanted: Wanted) -> str:
    """The same rows, and those of all further pages, of the admin API."""
    query = asdict(wanted)
    for name, param in (("start_ms", "start"), ("end_ms", "end")):
        at = query.pop(name)
        query[param] = None if at is None else when(at)
    return with_query("/admin/v1/audit", {**query, "format": "csv"})
