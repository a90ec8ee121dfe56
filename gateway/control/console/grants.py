"""`/console/w/{id}/edit`: a workspace's name, and the models that it may call."""

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.console.view import PageView, View
from gateway.control.policy import GuardedRoute, needs
from gateway.control.services import grant_sets, grants, limits, models
from gateway.domain.grants import MAX_LIMIT, NO_LIMITS, Limits
from gateway.domain.roles import Right

_EVERY = 100_000

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)


@dataclass(frozen=True, slots=True)
class Row:
    """A model as the picker shows it. `account` is what a grant is held to, `others` what the account's other workspaces are
    granted together; `is_gone` says that it is granted, and in the catalogue no more.
    """

    model: str
    vendor: str | None
    type: str | None
    granted: Limits | None
    account: Limits
    others: Limits
    is_gone: bool

    @property
    def attributes(self) -> dict[str, int | str]:
        """What grants.js reads of it, besides the names."""
        levels = {"base-": self.account, "others-": self.others, "": self.granted or NO_LIMITS}
        found: dict[str, int | str] = {}
        for level, limits_there in levels.items():
            for name, value in (("rpm", limits_there.rpm), ("tpm", limits_there.tpm)):
                if value is not None:
                    found[f"data-{level}{name}"] = value
        if self.granted is not None:
            found["data-granted"] = ""
        if self.is_gone:
            found["data-gone"] = ""
        return found


@router.get("/edit")
@needs(Right.READ_WORKSPACE)
async def edit(*, view: PageView) -> Response:
    """The picker for who may use it; for others what is granted; for a default workspace, all that it reaches."""
    is_default = view.workspace.is_default
    may_edit = view.may(Right.MANAGE_GRANTS) and not is_default
    held = await grants.every(view.services, view.caller, view.workspace.id)
    rows = await _rows(view, {row.model: row.limits for row in held}, may_edit=may_edit)
    return view.page(
        "edit.html",
        "Edit workspace",
        rows=rows if may_edit or is_default else [row for row in rows if row.granted is not None],
        may_edit=may_edit,
        granted=len(held),
        known=len(rows),
        vendors=sorted({row.vendor for row in rows if row.vendor}, key=str.casefold),
        types=sorted({row.type for row in rows if row.type}),
        etag=grants.list_etag(view.workspace.id, held),
        read_at=view.services.now_ms(),
        max_limit=MAX_LIMIT,
    )


async def _rows(view: View, granted: dict[str, Limits], *, may_edit: bool) -> list[Row]:
    """All models, those that are granted first."""
    services, caller = view.services, view.caller
    known = {row.name: row for row in (await models.find(services, caller, limit=_EVERY, cursor=None)).rows}
    held_to = await limits.find(services, caller, view.account.id, limit=_EVERY, cursor=None)
    account = {row.model: row.base for row in held_to.rows}
    others = await grant_sets.of_others(services, caller, view.workspace.id) if may_edit else {}
    return [
        Row(
            model=name,
            vendor=known[name].vendor if name in known else None,
            type=known[name].type if name in known else None,
            granted=granted.get(name),
            account=account.get(name, services.default_limits),
            others=others.get(name, NO_LIMITS),
            is_gone=name not in known,
        )
        for name in sorted(known.keys() | granted.keys(), key=lambda name: (name not in granted, name))
    ]
