"""`/console/w/{workspace_id}/upstreams`: the model servers, for operators. A credential is never on the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.console.view import PageView
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import Cursor, Filter
from gateway.control.services import upstreams
from gateway.control.services.upstreams import KnownUpstream
from gateway.domain.roles import Right

PAGE = 100
_SHOWN = 3
_STATES = {
    "healthy": ("Healthy", "ok", ""),
    "ejected": ("Ejected", "danger", "Gets no calls until a try goes well."),
    "disabled": ("Disabled", "muted", "Gets no calls."),
}
_SOURCES = {
    "database": ("Stored", ""),
    "config": ("Settings", "Set in gateway.toml or by GATEWAY_UPSTREAM_…, and changed there."),
    "demo": ("Demo", "Built in. Set GATEWAY_UPSTREAM_BASE_URL to replace it."),
}

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)


@dataclass(frozen=True, slots=True)
class ShownUpstream:
    """A row of the table."""

    known: KnownUpstream

    @property
    def models(self) -> Sequence[str]:
        return self.known.serves[:_SHOWN]

    @property
    def more_models(self) -> int:
        return max(0, len(self.known.serves) - _SHOWN)

    @property
    def state(self) -> tuple[str, str, str]:
        """The state in words, how bad it is (a kind of badge), and what follows from it."""
        return _STATES["disabled" if self.known.state is None else self.known.state.state]

    @property
    def last_error(self) -> str:
        return "" if self.known.state is None else self.known.state.last_error or ""

    @property
    def source(self) -> tuple[str, str]:
        """Where it comes from, and where it is changed if that is not here."""
        return _SOURCES[self.known.upstream.source]

    @property
    def is_stored(self) -> bool:
        return self.known.row is not None

    @property
    def fill(self) -> dict[str, Any]:
        """What the dialogs are filled with: everything but the credential."""
        upstream = self.known.upstream
        names = [public if public == own else f"{public}={own}" for public, own in upstream.models.items()]
        return {
            "id": upstream.id,
            "name": upstream.name,
            "base_url": upstream.base_url,
            "models": [*names, "*"] if upstream.lists_models else names,
            "weight": upstream.weight,
            "has_api_key": upstream.api_key is not None,
        }

    @property
    def brief(self) -> dict[str, Any]:
        """What the dialogs that change no field are filled with."""
        upstream = self.known.upstream
        return {"id": upstream.id, "name": upstream.name, "base_url": upstream.base_url}


@router.get("/upstreams")
@needs(Right.MANAGE_CATALOGUE)
async def upstreams_page(*, view: PageView, q: Filter = None, cursor: Cursor = None) -> Response:
    """Upstreams by name, all or those of which the name or the base URL has the text in it."""
    search = (q or "").strip()
    page = await upstreams.find(view.services, view.caller, limit=PAGE, cursor=cursor, search=search)
    return view.page(
        "upstreams.html",
        "Upstreams",
        rows=[ShownUpstream(known) for known in page.rows],
        query=search,
        cursor=cursor,
        next_cursor=page.next_cursor,
    )
