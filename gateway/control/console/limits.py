"""`/console/w/{workspace_id}/limits`: what the account is held to, temporary increases of it, and how full its buckets are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from gateway.control.console.view import PageView, View
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import Cursor, Filter
from gateway.control.services import increases, limits
from gateway.control.services.limits import Effective
from gateway.domain.grants import NO_LIMITS, Limits
from gateway.domain.roles import Right
from gateway.storage.sql.increases import IncreaseRow

PAGE = 100
_EVERY = 100_000
_MOST_OPEN = 1000

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)

Part = Annotated[Literal["limits", "increases", "live"], Query()]


@dataclass(frozen=True, slots=True)
class ShownLimits:
    """A model's row. `granted` is what the workspaces are granted together, and None where that is not for everybody to see;
    `increase` is the one that is open.
    """

    row: Effective
    granted: Limits | None
    increase: IncreaseRow | None

    def is_exceeded(self, name: str) -> bool:
        """Whether the workspaces are granted more than the account has."""
        together, base = getattr(self.granted or NO_LIMITS, name), getattr(self.row.base, name)
        return together is not None and base is not None and together > base


@router.get("/limits")
@needs(Right.SEE_ACCOUNT)
async def limits_page(*, view: PageView, show: Part = "limits", q: Filter = None, cursor: Cursor = None) -> Response:
    """One of three parts: limits by model, increases and their history, or how full the buckets are now."""
    manages = view.may_in_account(Right.MANAGE_LIMITS)
    raised = await increases.find(view.services, view.caller, view.account.id, is_open=True, limit=_MOST_OPEN, cursor=None)
    shared: dict[str, Any] = {
        "show": show,
        "raised": raised.rows,
        "cursor": cursor,
        "manages": manages,
        "known": await _known(view) if manages else [],
    }
    if show == "increases":
        return view.page("limits_increases.html", "Rate limits", **shared, **await _history(view, cursor))
    if show == "live":
        return view.page("limits_live.html", "Rate limits", **shared, sees_all=view.may_in_account(Right.READ_ACCOUNT))
    open_now = {row.model: row for row in raised.rows}
    return view.page("limits.html", "Rate limits", **shared, **await _table(view, open_now, (q or "").strip(), cursor))


async def _known(view: View) -> list[Effective]:
    """All models, for the dialog that raises one of them."""
    return list((await limits.find(view.services, view.caller, view.account.id, limit=_EVERY, cursor=None)).rows)


async def _table(view: View, raised: Mapping[str, IncreaseRow], search: str, cursor: str | None) -> dict[str, Any]:
    services, caller, account_id = view.services, view.caller, view.account.id
    page = await limits.find(services, caller, account_id, search=search or None, limit=PAGE, cursor=cursor)
    sees_all = view.may_in_account(Right.READ_ACCOUNT)
    together = await limits.granted(services, caller, account_id) if sees_all else {}
    rows = [
        ShownLimits(row, together.get(row.model, NO_LIMITS) if sees_all else None, raised.get(row.model)) for row in page.rows
    ]
    return {"rows": rows, "query": search, "next_cursor": page.next_cursor, "sees_all": sees_all}


async def _history(view: View, cursor: str | None) -> dict[str, Any]:
    page = await increases.find(view.services, view.caller, view.account.id, is_open=False, limit=PAGE, cursor=cursor)
    return {"rows": page.rows, "next_cursor": page.next_cursor}
