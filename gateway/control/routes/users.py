"""`/admin/v1/users`: everybody who can sign in."""

from fastapi import APIRouter

from gateway.control import schemas_people as schemas
from gateway.control.context import KnownCaller, Services, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.routes.me import held
from gateway.control.schemas import PAGE, Cursor, Filter, Id, Limit, Listing, when
from gateway.control.services import people
from gateway.control.services.people import NewLink, Person
from gateway.domain.roles import Right
from gateway.storage.sql.users import UserStatus

LINK_PATH = "/console/link/"

router = APIRouter(prefix="/users", tags=["people"], route_class=GuardedRoute)


def _shown(person: Person) -> schemas.User:
    user = person.user
    return schemas.User(
        id=user.id,
        email=user.email,
        name=user.name,
        status=user.status.value,
        created_at=when(user.created_at),
        last_sign_in_at=None if user.last_sign_in_at is None else when(user.last_sign_in_at),
        roles=held(person.memberships),
    )


def addresses(services: Services, link: NewLink) -> dict[str, str]:
    """Where a one-time link is opened."""
    path = LINK_PATH + link.secret
    return {"url": services.root_url + path, "path": path}


@router.get("")
@needs(Right.MANAGE_PEOPLE)
async def list_users(
    *, services: UsedServices, caller: KnownCaller, q: Filter = None, limit: Limit = PAGE, cursor: Cursor = None
) -> Listing[schemas.User]:
    """People, in the order they came; `q` is a part of the name or of the e-mail address."""
    page = await people.find(services, caller, search=q, limit=limit, cursor=cursor)
    return Listing(data=[_shown(person) for person in page.rows], next_cursor=page.next_cursor)


@router.get("/{user_id}")
@needs(Right.MANAGE_PEOPLE)
async def get_user(*, services: UsedServices, caller: KnownCaller, user_id: Id) -> schemas.User:
    return _shown(await people.get(services, caller, user_id))


@router.patch("/{user_id}")
@needs(Right.MANAGE_PEOPLE)
async def change_user(*, services: UsedServices, caller: KnownCaller, user_id: Id, body: schemas.UserPatch) -> schemas.User:
    """Keep somebody out, from their next request on, or let them in again."""
    return _shown(await people.set_status(services, caller, user_id, UserStatus(body.status)))


@router.post("/{user_id}/reset-link", status_code=201)
@needs(Right.MANAGE_PEOPLE)
async def make_reset_link(*, services: UsedServices, caller: KnownCaller, user_id: Id) -> schemas.Link:
    """A link with which somebody gives themselves a new password, once; earlier ones open nothing any more."""
    link = await people.reset_link(services, caller, user_id)
    return schemas.Link(id=link.row.id, expires_at=when(link.row.expires_at), **addresses(services, link))


@router.delete("/{user_id}/sessions")
@needs(Right.MANAGE_PEOPLE)
async def end_sessions(*, services: UsedServices, caller: KnownCaller, user_id: Id) -> schemas.EndedSessions:
    """Sign somebody out everywhere."""
    return schemas.EndedSessions(ended=await people.end_sessions(services, caller, user_id))
