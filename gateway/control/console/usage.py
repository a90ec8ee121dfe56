"""`/console/w/{workspace_id}/usage`: what calls used, as numbers, as plots, and the same again as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from gateway.control.console import usage_plots
from gateway.control.console.render import duration
from gateway.control.console.scopes import Scope, address, place_of, scope_tabs, with_query
from gateway.control.console.view import PageView, View
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import Filter, when
from gateway.control.services import usage
from gateway.control.services.usage import Overview, Wanted
from gateway.domain.roles import Right
from gateway.storage.sql.usage import GroupBy, UsageRow, total

MOST_KEYS, MOST_ROWS = 1000, 100
_RIGHTS: Mapping[Scope, Right] = {"workspace": Right.READ_WORKSPACE, "account": Right.READ_ACCOUNT, "all": Right.READ_ACCOUNT}
_SCOPES: Mapping[Scope, str] = {"workspace": "this workspace", "account": "the whole account", "all": "all accounts"}
_RANGES = {"3h": "3 hours", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
_GROUPS: Mapping[GroupBy, str] = {"model": "Model", "workspace": "Workspace", "key": "API key"}
_LONGEST = 48

Range = Annotated[Literal["3h", "24h", "7d", "30d"], Query(alias="range")]

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the page shows, as its address says. The filters are empty where there are none."""

    range: str
    scope: Scope
    by: GroupBy
    model: str
    workspace: str
    key: str

    def filters(self) -> list[str]:
        return [each for each in (self.model, self.workspace, self.key) if each]

    def query(self, **changed: str) -> dict[str, str | None]:
        return asdict(self) | changed

    def wanted(self, view: View) -> Wanted:
        """Within its scope; a filter for another workspace than that of the scope finds nothing."""
        place = place_of(view, self.scope)
        return Wanted(
            group_by=self.by,
            account_id=place.account_id,
            workspace_id=place.workspace_id or self.workspace or None,
            key_id=self.key or None,
            model=self.model or None,
        )


@dataclass(frozen=True, slots=True)
class Group:
    """A row of the table. `url` looks closer, where there is something to look at; `is_known` is false for what is deleted."""

    name: str
    second: str
    numbers: UsageRow
    url: str = ""
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """What a filter offers, as pairs of value and label."""

    name: str
    label: str
    options: Sequence[tuple[str, str]] = field(default_factory=list)


@router.get("/usage")
@needs(Right.READ_WORKSPACE)
async def usage_page(
    *,
    view: PageView,
    range_: Range = "24h",
    scope: Scope = "workspace",
    by: GroupBy = "model",
    model: Filter = None,
    workspace: Filter = None,
    key: Filter = None,
) -> Response:
    view.caller.require(_RIGHTS[scope], place_of(view, scope))
    asked = Asked(
        range=range_,
        scope=scope,
        by=by,
        model=model or "",
        workspace="" if scope == "workspace" else workspace or "",
        key=key or "",
    )
    now = view.services.now_ms()
    span, wanted = usage.read_span(now, range_=range_, start=None, end=None), asked.wanted(view)
    found = await usage.overview(view.services, view.caller, span, usage.STEP_OF[range_], wanted, largest=usage_plots.MOST_APART)
    names = await usage.names_of(view.services, by, {*(row.group for row in found.rows[:MOST_ROWS]), *found.largest})
    minutes = found.span.minutes(now)
    by_text = _GROUPS[by] if by == "key" else by
    plots = usage_plots.plots(found, [label(by, group, names) for group in found.largest], by_text)
    return view.page(
        "usage.html",
        "Usage",
        asked=asked,
        group_label=_GROUPS[by],
        scope_text=_SCOPES[scope],
        by_text=by_text,
        range_label=_RANGES[range_],
        span_text=usage_plots.span_text(found.span, now),
        step_text=duration(found.step_ms),
        minutes=minutes,
        rate=usage_plots.rate,
        heads=usage_plots.HEADS,
        mean_heads=usage_plots.MEAN_HEADS,
        cells=usage_plots.cells,
        mean_cells=partial(usage_plots.mean_cells, minutes=minutes),
        tabs=_tabs(view, asked),
        choices=await _choices(view, asked),
        clear_url=address(view, asked.query(model="", workspace="", key="")),
        total=found.total,
        groups=_groups(view, asked, found, names),
        plots=plots,
        csv_urls=_csv_urls(wanted, found),
    )


def label(by: GroupBy, group: str, names: Mapping[str, str]) -> str:
    """A group in one short line."""
    if not group:
        return "Unknown model"
    return cut(names.get(group) or (f"{group} (deleted)" if by == "key" else group))


def cut(text: str) -> str:
    """The beginning and the end of a long text."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 12]}…{text[-11:]}"


def _groups(view: View, asked: Asked, found: Overview, names: Mapping[str, str]) -> list[Group]:
    """The rows of the table, and those that are too many for it as one."""
    groups = [_group(view, asked, row, names) for row in found.rows[:MOST_ROWS]]
    if rest := found.rows[MOST_ROWS:]:
        groups.append(Group(f"{len(rest)} others", "In the CSV each has a row of its own.", total(rest)))
    return groups


def _group(view: View, asked: Asked, row: UsageRow, names: Mapping[str, str]) -> Group:
    if not row.group:
        return Group("Unknown model", "Refused: no model of the catalogue has the name that was sent.", row)
    known = row.group in names
    match asked.by:
        case "model":
            return Group(cut(row.group), "", row, address(view, asked.query(model=row.group, by="key")))
        case "workspace":
            # A look at one workspace is a page of its own.
            query = asked.query(scope="workspace", workspace="", by="key")
            return Group(names.get(row.group, row.group), row.group, row, with_query(view.url("usage", row.group), query))
        case "key":
            masked, _, description = names.get(row.group, "").partition(" ")
            url = address(view, asked.query(key=row.group, by="model"))
            return Group(masked or row.group, cut(description) if known else "Deleted", row, url, known)


def _tabs(view: View, asked: Asked) -> dict[str, list[dict[str, object]]]:
    short = {"3h": "3 h", "24h": "24 h", "7d": "7 d", "30d": "30 d"}
    groups = [by for by in _GROUPS if by != "workspace" or asked.scope != "workspace" or asked.by == "workspace"]
    return {
        "range": [
            {"label": text, "url": address(view, asked.query(range=name)), "current": name == asked.range}
            for name, text in short.items()
        ],
        "by": [{"label": _GROUPS[by], "url": address(view, asked.query(by=by)), "current": by == asked.by} for by in groups],
        "scope": scope_tabs(view, _RIGHTS, asked.scope, asked.query(workspace="", key="")),
    }


async def _choices(view: View, asked: Asked) -> list[Choice]:
    """The filters that there are, each with what is chosen now, also where that is no longer there."""
    found = [Choice("model", "Model", [(name, name) for name in sorted(m.name for m, _ in view.services.catalogue.models())])]
    if asked.scope != "workspace":
        seen = [row for row in view.workspaces if asked.scope == "all" or row.account_id == view.account.id]
        found.append(Choice("workspace", "Workspace", [(row.id, row.name) for row in seen]))
    place = asked.wanted(view)
    if place.account_id or place.workspace_id:
        keys = await usage.keys_to_choose(
            view.services, view.caller, account_id=place.account_id, workspace_id=place.workspace_id, limit=MOST_KEYS
        )
        found.append(Choice("key", "API key", [(key.id, cut(usage.key_text(key))) for key in keys]))
    return [_with_chosen(choice, getattr(asked, choice.name)) for choice in found]


def _with_chosen(choice: Choice, chosen: str) -> Choice:
    known = any(value == chosen for value, _ in choice.options)
    return Choice(choice.name, choice.label, [("", "All"), *choice.options, *([] if known or not chosen else [(chosen, chosen)])])


def _csv_urls(wanted: Wanted, found: Overview) -> dict[str, str]:
    """The same numbers of the admin API, of exactly the span that is shown."""
    query = {**asdict(wanted), "start": when(found.span.start_ms), "end": when(found.span.end_ms), "format": "csv"}
    over_time = {**query, "step": str(found.step_ms // 1000)}
    return {"groups": with_query("/admin/v1/usage", query), "steps": with_query("/admin/v1/usage/series", over_time)}
