"""`/console/w/{workspace_id}/members`: who has which role in the workspace, the account or the installation, and invitations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.console import places
from gateway.control.console.places import HeldRole
from gateway.control.console.scopes import LABELS, Scope, address, place_of, scope_tabs
from gateway.control.console.view import PageView, View
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter
from gateway.control.services import invitations, members
from gateway.domain.roles import Membership, Place, Right, may_give
from gateway.storage.sql.links import LinkRow
from gateway.storage.sql.members import MemberRow

_RIGHTS: Mapping[Scope, Right] = dict.fromkeys(("workspace", "account", "all"), Right.MANAGE_MEMBERS)
_TABS: Mapping[Scope, str] = {**LABELS, "all": "Everybody"}

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)


@dataclass(frozen=True, slots=True)
class Member:
    """A row; `dialog` names the kind of place of the dialogs that change it, and is empty where one may not."""

    row: MemberRow
    held: HeldRole
    dialog: str
    is_me: bool

    @property
    def fill(self) -> dict[str, str]:
        """What dialogs are filled with."""
        place = self.row.membership.place
        found = {
            "user_id": self.row.user.id,
            "who": self.row.user.name or self.row.user.email,
            "email": self.row.user.email,
            "role": self.row.membership.role.value,
            "role_label": self.held.label,
            "where": self.held.where.name,
            "note": "This is you: without this role you may not see this page any more." if self.is_me else "",
        }
        return found | {f"{place.kind}_id": place.scope}


@dataclass(frozen=True, slots=True)
class Invitation:
    """An open invitation."""

    row: LinkRow
    held: HeldRole
    withdrawable: bool


@dataclass(frozen=True, slots=True)
class Given:
    """A kind of place where roles can be changed: its dialogs, and the roles that can be given."""

    kind: str
    roles: Sequence[tuple[str, str, str]]


@router.get("/members")
@needs(Right.MANAGE_MEMBERS)
async def members_page(*, view: PageView, scope: Scope = "workspace", q: Filter = None, cursor: Cursor = None) -> Response:
    search = (q or "").strip()
    place = place_of(view, scope)
    services, caller = view.services, view.caller
    ids = {"account_id": place.account_id, "workspace_id": place.workspace_id}
    page = await members.find(services, caller, **ids, search=search or None, limit=PAGE, cursor=cursor)
    # Invitations stand on the first page, and a search looks through them too.
    found = [] if cursor else await invitations.find(services, caller, **ids)
    links = [row for row in found if row.membership is not None and search.casefold() in row.email]
    names = await places.names_of(
        view, [row.membership for row in page.rows] + [row.membership for row in links if row.membership]
    )
    rows = [_member(view, row, names) for row in page.rows]
    query = {"scope": scope, "q": search}
    return view.page(
        "members.html",
        "Members",
        scope=scope,
        tabs=scope_tabs(view, _RIGHTS, scope, query, _TABS),
        rows=rows,
        invitations=[_invitation(view, row, row.membership, names) for row in links if row.membership is not None],
        where=places.where(place, names | {view.account.id: view.account.name, view.workspace.id: view.workspace.name}),
        place_ids={key: value for key, value in ids.items() if value is not None and (key, scope) != ("account_id", "workspace")},
        roles=places.roles_to_give(view, place),
        given=_given(view, rows),
        query=search,
        cursor=cursor,
        first_url=address(view, query) if cursor else None,
        next_url=address(view, {**query, "cursor": page.next_cursor}) if page.next_cursor else None,
        all_url=address(view, {"scope": scope}),
    )


def _member(view: View, row: MemberRow, names: Mapping[str, str]) -> Member:
    held, identity = row.membership, view.caller.identity
    mine = may_give(identity, held.role, held.place)
    return Member(row, places.shown(held, names), held.place.kind if mine else "", row.user.id == identity.user_id)


def _invitation(view: View, row: LinkRow, held: Membership, names: Mapping[str, str]) -> Invitation:
    return Invitation(row, places.shown(held, names), view.caller.identity.may(Right.MANAGE_MEMBERS, held.place))


def _given(view: View, rows: Sequence[Member]) -> list[Given]:
    """One for each kind of place among the rows: the roles are the same in every place of a kind, for who may change them."""
    found: dict[str, Place] = {each.dialog: each.row.membership.place for each in rows if each.dialog}
    return [Given(kind, places.roles_to_give(view, place)) for kind, place in sorted(found.items())]
