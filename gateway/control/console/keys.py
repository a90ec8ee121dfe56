"""`/console/w/{workspace_id}/keys`: a workspace's API keys, each shown once when it is made and masked from then on."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.console.view import PageView, View
from gateway.control.context import People
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import Cursor, Filter
from gateway.control.services import grants, keys, models
from gateway.domain.grants import KeyStatus
from gateway.domain.roles import Right
from gateway.storage.sql.keys import KeyRow

PAGE = 100
_MOST_MODELS = 1000
_DAY_MS = 24 * 3_600_000
_TAIL = 4
_EMBEDDING = "embed"

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A row. `old_days` and `unused_days` are set where the key is due for a look; `model` is one that it may call."""

    row: KeyRow
    old_days: int | None
    unused_days: int | None
    model: str

    @property
    def is_active(self) -> bool:
        return self.row.status is KeyStatus.ACTIVE

    @property
    def tail(self) -> str:
        """What is typed to delete the key."""
        return self.row.id[-_TAIL:]


@router.get("/keys")
@needs(Right.READ_WORKSPACE)
async def keys_page(*, view: PageView, q: Filter = None, cursor: Cursor = None) -> Response:
    search = (q or "").strip()
    page = await keys.find(view.services, view.caller, view.workspace.id, search=search or None, limit=PAGE, cursor=cursor)
    names = await _chat_models(view)
    now, people = view.services.now_ms(), view.services.people
    return view.page(
        "keys.html",
        "API keys",
        rows=[shown(row, now, people, names) for row in page.rows],
        query=search,
        cursor=cursor,
        next_cursor=page.next_cursor,
        count=await keys.count(view.services, view.caller, view.workspace.id),
        most=view.services.keys_per_workspace,
        people=people,
        model=names[0] if names else "",
    )


def shown(row: KeyRow, now_ms: int, people: People, names: Sequence[str]) -> ShownKey:
    """A key as the page shows it. `names` are the models that the workspace may call, the best for an example first.

    A reset makes a key's secret young again. A key that was never used counts as unused since it was made; a disabled one has
    no secret that works, so its age does not matter.
    """
    old = _days_over(people.rotate_after_days, row.reset_at or row.created_at, now_ms)
    unused = _days_over(people.unused_after_days, row.last_used_at or row.created_at, now_ms)
    usable = (name for name in names if row.models is None or name in row.models)
    return ShownKey(row, old if row.status is KeyStatus.ACTIVE else None, unused, next(usable, ""))


def _days_over(days: int | None, since_ms: int, now_ms: int) -> int | None:
    """How many whole days have gone by since, if that is at least `days`."""
    gone = (now_ms - since_ms) // _DAY_MS
    return gone if days is not None and gone >= days else None


async def _chat_models(view: View) -> list[str]:
    """Models that a key of the workspace may call for chat: first those that are said to be for it, of the rest first those whose
    name does not speak of embeddings.
    """
    catalogue = await models.find(view.services, view.caller, limit=_MOST_MODELS, cursor=None)
    found = {row.name: row.type for row in catalogue.rows if row.type in ("chat", None)}
    if not view.workspace.is_default:
        granted = await grants.find(view.services, view.caller, view.workspace.id, limit=_MOST_MODELS, cursor=None)
        found = {row.model: found[row.model] for row in granted.rows if row.model in found}
    return sorted(found, key=lambda name: (found[name] is None, _EMBEDDING in name.lower(), name))
