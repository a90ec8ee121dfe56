"""Members: who has which role in an account, a workspace, or the installation."""

from collections.abc import Iterable

from gateway.control import sessions
from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_time, cut
from gateway.control.problems import BadRequest, Forbidden, NotFound
from gateway.control.services import accounts, people, workspaces
from gateway.control.services.audit import record
from gateway.domain.roles import INSTALLATION, PLACES, Membership, Place, Right, Role, may_give
from gateway.storage.sql import links, members, names, users
from gateway.storage.sql.engine import AsyncConnection, reading, writing
from gateway.storage.sql.members import MemberRow
from gateway.storage.sql.users import UserRow

_MISSING = "This person has no role here."


async def place_of(
    conn: AsyncConnection, caller: Caller, account_id: str | None, workspace_id: str | None, right: Right = Right.MANAGE_MEMBERS
) -> Place:
    """The place that two IDs name, where the caller has the right. Raises NotFound, Forbidden; BadRequest where they disagree."""
    if workspace_id is not None:
        row = await workspaces.require(conn, caller, workspace_id, right)
        if account_id not in (None, row.account_id):
            raise BadRequest.field("account_id", "The workspace belongs to another account; leave this out.")
        return Place(row.account_id, row.id)
    if account_id is not None:
        await accounts.require(conn, caller, account_id, right)
        return Place(account_id)
    caller.require(right)
    return INSTALLATION


async def find(
    services: Services,
    caller: Caller,
    *,
    account_id: str | None,
    workspace_id: str | None,
    search: str | None,
    limit: int,
    cursor: str | None,
) -> Page[MemberRow]:
    """The roles that are held in a place and in everything within it. Raises NotFound, Forbidden, BadRequest."""
    after = after_time(cursor)
    async with reading(services.engine) as conn:
        place = await place_of(conn, caller, account_id, workspace_id)
        rows = await members.page(conn, place, search=search, limit=limit + 1, after=after)
    return cut(rows, limit, lambda row: (row.created_at, row.user.id + row.membership.place.scope))


async def place_names(services: Services, caller: Caller, places: Iterable[Place]) -> dict[str, str]:
    """The names of the accounts and workspaces of places, by ID, of those that the caller sees."""
    caller.require_signed_in()
    seen = {place for place in places if place.account_id and caller.identity.may(Right.SEE_ACCOUNT, place)}
    seen = {place for place in seen if not place.workspace_id or caller.identity.may(Right.READ_WORKSPACE, place)}
    async with reading(services.engine) as conn:
        found = await names.of_accounts(conn, {place.account_id for place in seen if place.account_id})
        return found | await names.of_workspaces(conn, {place.workspace_id for place in seen if place.workspace_id})


def require_giving(caller: Caller, role: Role, place: Place) -> None:
    """Raises Forbidden where the caller may not give or take this role here; BadRequest where nobody can hold it."""
    if place.kind not in PLACES[role]:
        where = " or ".join(f"{'an' if kind[0] in 'ai' else 'a'} {kind}" for kind in sorted(PLACES[role]))
        raise BadRequest.field("role", f"The role {role.value} is held in {where}, not in {_a(place.kind)}.")
    if not may_give(caller.identity, role, place):
        raise Forbidden(f"You may not give or take the role {role.value} here.")


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'ai' else 'a'} {kind}"


async def set_role(
    services: Services, caller: Caller, user_id: str, role: Role, *, account_id: str | None, workspace_id: str | None
) -> MemberRow:
    """Give somebody who has a role in a place another one there. Raises NotFound, Forbidden, BadRequest, Conflict."""
    async with writing(services.engine) as conn:
        place = await place_of(conn, caller, account_id, workspace_id)
        user, held = await _held(conn, caller, user_id, place)
        require_giving(caller, role, place)
        if held.role is not role:
            await _keep_an_operator(conn, user_id, held)
            await members.put(conn, user_id, Membership(role, place), services.now_ms())
            await withdraw_unfounded(conn, user)
            before, after = {"role": held.role.value}, {"role": role.value, "email": user.email}
            await record(conn, services, caller, "member.set", user_id, place=place, before=before, after=after)
        given = await members.given_at(conn, user_id, place.scope)
    return MemberRow(user, Membership(role, place), services.now_ms() if given is None else given)


async def remove(services: Services, caller: Caller, user_id: str, *, account_id: str | None, workspace_id: str | None) -> None:
    """Take somebody's role in a place; it counts no more from their next request on. Raises NotFound, Forbidden, Conflict."""
    async with writing(services.engine) as conn:
        place = await place_of(conn, caller, account_id, workspace_id)
        user, held = await _held(conn, caller, user_id, place)
        await _keep_an_operator(conn, user_id, held)
        await members.delete(conn, user_id, place.scope)
        await withdraw_unfounded(conn, user)
        before = {"role": held.role.value, "email": user.email}
        await record(conn, services, caller, "member.remove", user_id, place=place, before=before)


async def _held(conn: AsyncConnection, caller: Caller, user_id: str, place: Place) -> tuple[UserRow, Membership]:
    user, held = await users.get(conn, user_id), await members.get(conn, user_id, place.scope)
    if user is None or held is None:
        raise NotFound(_MISSING)
    require_giving(caller, held.role, place)
    return user, held


async def _keep_an_operator(conn: AsyncConnection, user_id: str, held: Membership) -> None:
    if held.role is Role.OPERATOR:
        await people.keep_an_operator(conn, user_id)


async def withdraw_unfounded(conn: AsyncConnection, author: UserRow) -> None:
    """Withdraw the invitations that somebody has made and could not make any more."""
    identity = await sessions.identity_of(conn, author)
    for row in await links.of_author(conn, author.email):
        if row.membership is None or not may_give(identity, row.membership.role, row.membership.place):
            await links.delete(conn, row.id)
