"""People: the operator's view of all who can sign in, and everybody's of themselves."""

from dataclasses import dataclass, replace

from gateway.control import sessions as secrets
from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_time, cut
from gateway.control.problems import Conflict, NotFound
from gateway.control.services.audit import record
from gateway.control.services.sign_in import own_id
from gateway.domain import ids
from gateway.domain.roles import Membership, Right
from gateway.storage.sql import links, members, sessions, users
from gateway.storage.sql.engine import AsyncConnection, reading, writing
from gateway.storage.sql.links import LinkKind, LinkRow
from gateway.storage.sql.sessions import SessionRow
from gateway.storage.sql.users import UserRow, UserStatus

_MISSING = "There is no person of this ID."


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in, with all of their roles."""

    user: UserRow
    memberships: tuple[Membership, ...]


@dataclass(frozen=True, slots=True)
class NewLink:
    """A one-time link; its secret is here, this once, and nowhere else."""

    row: LinkRow
    secret: str

    def __repr__(self) -> str:
        return f"NewLink({self.row.id})"


async def _require(conn: AsyncConnection, user_id: str) -> UserRow:
    user = await users.get(conn, user_id)
    if user is None:
        raise NotFound(_MISSING)
    return user


async def find(services: Services, caller: Caller, *, search: str | None, limit: int, cursor: str | None) -> Page[Person]:
    """People in the order they came. Raises Forbidden, BadRequest for a wrong cursor."""
    caller.require(Right.MANAGE_PEOPLE)
    after = after_time(cursor)
    async with reading(services.engine) as conn:
        rows = await users.page(conn, search=search, limit=limit + 1, after=after)
        page = cut(rows, limit, lambda row: (row.created_at, row.id))
        held = await members.of_users(conn, [user.id for user in page.rows])
    return Page([Person(user, held[user.id]) for user in page.rows], page.next_cursor)


async def get(services: Services, caller: Caller, user_id: str) -> Person:
    """Raises Forbidden, NotFound."""
    caller.require(Right.MANAGE_PEOPLE)
    async with reading(services.engine) as conn:
        return Person(await _require(conn, user_id), await members.of_user(conn, user_id))


async def keep_an_operator(conn: AsyncConnection, user_id: str) -> None:
    """Raises Conflict if without this person nobody who can sign in would be an operator."""
    if list(await members.active_operators(conn)) == [user_id]:
        raise Conflict("This is the last operator who can sign in; make somebody else one first.")


async def set_status(services: Services, caller: Caller, user_id: str, status: UserStatus) -> Person:
    """Keep somebody out, or let them in again. All sessions end, and what they invited to is withdrawn.

    Raises Forbidden, NotFound; Conflict for the last operator.
    """
    caller.require(Right.MANAGE_PEOPLE)
    async with writing(services.engine) as conn:
        user = await _require(conn, user_id)
        if user.status is not status:
            if status is UserStatus.DISABLED:
                await keep_an_operator(conn, user_id)
            # Before anything ends: so whoever is signing in just now has either begun the session that ends here, or begins none.
            await users.set_status(conn, user_id, status)
            if status is UserStatus.DISABLED:
                await shut_out(conn, user)
            before, after = {"status": user.status.value}, {"status": status.value}
            action = "user.disable" if status is UserStatus.DISABLED else "user.enable"
            await record(conn, services, caller, action, user_id, before=before, after={"email": user.email, **after})
        return Person(replace(user, status=status), await members.of_user(conn, user_id))


async def shut_out(conn: AsyncConnection, user: UserRow) -> None:
    """End all that somebody has open: sessions, links to a new password, invitations that they made."""
    await sessions.delete_of_user(conn, user.id)
    await links.delete_resets(conn, user.id)
    await links.delete_of_author(conn, user.email)


async def reset_link(services: Services, caller: Caller, user_id: str) -> NewLink:
    """A link with which somebody gives themselves a new password, once; earlier ones open nothing any more.

    Raises Forbidden, NotFound; Conflict for somebody who is disabled.
    """
    caller.require(Right.MANAGE_PEOPLE)
    now, secret = services.now_ms(), secrets.new_secret()
    async with writing(services.engine) as conn:
        user = await _require(conn, user_id)
        if user.status is not UserStatus.ACTIVE:
            raise Conflict("This person is disabled; enable them first.")
        expires = now + services.people.reset_ms
        row = LinkRow(ids.link_id(), LinkKind.RESET, user.email, caller.actor, now, expires, user_id=user.id)
        await links.delete_resets(conn, user_id)
        await links.delete_old(conn, now)
        await links.insert(conn, row, secrets.digest(services, secret))
        await record(conn, services, caller, "user.reset_link", user_id, after={"email": user.email})
    return NewLink(row, secret)


async def end_sessions(services: Services, caller: Caller, user_id: str) -> int:
    """Sign somebody out everywhere; answers how many sessions ended. Raises Forbidden, NotFound."""
    caller.require(Right.MANAGE_PEOPLE)
    async with writing(services.engine) as conn:
        user = await _require(conn, user_id)
        ended = await sessions.delete_of_user(conn, user_id)
        await record(conn, services, caller, "user.end_sessions", user_id, after={"email": user.email, "sessions": ended})
    return ended


async def rename_self(services: Services, caller: Caller, name: str) -> None:
    user_id = own_id(caller)
    async with writing(services.engine) as conn:
        user = await _require(conn, user_id)
        await users.set_name(conn, user_id, name)
        await record(conn, services, caller, "user.rename", user_id, before={"name": user.name}, after={"name": name})


async def own_sessions(services: Services, caller: Caller) -> list[SessionRow]:
    """The sessions of the person who calls that have not ended, the last used first."""
    user_id = own_id(caller)
    async with reading(services.engine) as conn:
        return await sessions.of_user(conn, user_id, **secrets.oldest(services))


async def end_own_session(services: Services, caller: Caller, session_id: str) -> None:
    """Raises NotFound."""
    user_id = own_id(caller)
    async with writing(services.engine) as conn:
        if not await sessions.delete(conn, user_id, session_id):
            raise NotFound("There is no session of this ID; it may have ended.")
        await record(conn, services, caller, "user.end_session", user_id, after={"session": session_id})
