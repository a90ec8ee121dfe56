"""`/console/w/{workspace_id}/people`: everybody who can sign in, for operators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.console import places
from gateway.control.console.places import HeldRole
from gateway.control.console.scopes import address
from gateway.control.console.view import PageView
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter
from gateway.control.services import people
from gateway.control.services.people import Person
from gateway.domain.roles import Right
from gateway.storage.sql.users import UserRow, UserStatus

_MOST_SHOWN = 3

router = APIRouter(prefix="/console/w/{workspace_id}", route_class=GuardedRoute)


@dataclass(frozen=True, slots=True)
class ShownPerson:
    """A row: some of the person's roles, and how many more there are."""

    user: UserRow
    roles: Sequence[HeldRole]
    more: int
    is_me: bool

    @property
    def is_active(self) -> bool:
        return self.user.status is UserStatus.ACTIVE

    @property
    def fill(self) -> dict[str, str]:
        """What dialogs are filled with."""
        note = "This is you: you will be signed out at once." if self.is_me else ""
        return {"id": self.user.id, "who": self.user.name or self.user.email, "email": self.user.email, "note": note}


@router.get("/people")
@needs(Right.MANAGE_PEOPLE)
async def people_page(*, view: PageView, q: Filter = None, cursor: Cursor = None) -> Response:
    search = (q or "").strip()
    page = await people.find(view.services, view.caller, search=search or None, limit=PAGE, cursor=cursor)
    names = await places.names_of(view, [held for person in page.rows for held in person.memberships[:_MOST_SHOWN]])
    return view.page(
        "people.html",
        "People",
        rows=[_shown(person, names, view.caller.identity.user_id) for person in page.rows],
        query=search,
        cursor=cursor,
        first_url=address(view, {"q": search}) if cursor else None,
        next_url=address(view, {"q": search, "cursor": page.next_cursor}) if page.next_cursor else None,
    )


def _shown(person: Person, names: Mapping[str, str], me: str) -> ShownPerson:
    roles = [places.shown(held, names) for held in person.memberships[:_MOST_SHOWN]]
    return ShownPerson(person.user, roles, len(person.memberships) - len(roles), person.user.id == me)
