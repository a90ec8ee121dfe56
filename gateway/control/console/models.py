"""`/console/w/{workspace_id}/models`: the catalogue, for operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from gateway.control.console.view import PageView, View
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import Cursor, Filter
from gateway.control.services import models
from gateway.control.services.models import KnownModel
from gateway.domain.grants import Limits
from gateway.domain.roles import Right

PAGE = 100
_SHOWN = 2

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)

# A form sends an empty field where nothing is chosen.
Type = Annotated[Literal["", "chat", "completion", "embedding", "none"], Query(alias="type")]


@dataclass(frozen=True, slots=True)
class ShownModel:
    """A row of the table. `limits` are those that hold where no account sets its own; `defaults` names those of the settings."""

    model: KnownModel
    limits: Limits
    defaults: frozenset[str]

    @property
    def served(self) -> tuple[str, str]:
        """Who serves it in words, and how bad that is (a kind of badge)."""
        count, healthy = len(self.model.served_by), self.model.healthy
        if count == 0:
            return "Nobody serves it", "warn"
        if count == 1:
            return ("1, healthy", "ok") if healthy else ("1, not healthy", "danger")
        if healthy == 0:
            return f"{count}, none healthy", "danger"
        return (f"{count}, {healthy} healthy", "warn") if healthy < count else (f"{count}, all healthy", "ok")

    @property
    def servers(self) -> Sequence[str]:
        return [state.upstream.name for state in self.model.served_by[:_SHOWN]]

    @property
    def more_servers(self) -> int:
        return max(0, len(self.model.served_by) - _SHOWN)

    @property
    def going(self) -> str:
        """What forgetting the model takes along, as a sentence."""
        count = self.model.grants or 0
        if count == 0:
            return "No workspace is granted it."
        if count == 1:
            return "1 workspace is granted it. The grant goes too: calls from there fail from then on."
        return f"{count:,} workspaces are granted it. These grants go too: calls from there fail from then on."

    @property
    def staying(self) -> str:
        """What is left of the model once it is forgotten."""
        if not self.model.served_by:
            return "No upstream serves it, so it leaves the catalogue."
        return "Upstreams serve it still, so it stays in the catalogue, without a type or limits of its own."


@router.get("/models")
@needs(Right.MANAGE_CATALOGUE)
async def models_page(
    *, view: PageView, q: Filter = None, vendor: Filter = None, kind: Type = "", cursor: Cursor = None
) -> Response:
    """Models by name, all or those that the filters let through."""
    view.caller.require(Right.MANAGE_CATALOGUE)
    search = (q or "").strip()
    page = await models.find(
        view.services, view.caller, limit=PAGE, cursor=cursor, search=search, vendor=vendor or None, kind=kind or None
    )
    return view.page(
        "models.html",
        "Models",
        rows=[shown(view, model) for model in page.rows],
        vendors=await models.vendors(view.services, view.caller),
        asked={"q": search, "vendor": vendor or "", "type": kind},
        cursor=cursor,
        next_cursor=page.next_cursor,
    )


def shown(view: View, model: KnownModel) -> ShownModel:
    limits, default = model.limits, view.services.default_limits
    inherited = [name for name in ("rpm", "tpm") if getattr(limits, name) is None and getattr(default, name) is not None]
    return ShownModel(model, limits.over(default), frozenset(inherited))
