"""One-time links: invitations to a role, and what happens when a link is opened.

An invitation is handed over by whoever made it, since the gateway sends no e-mail; it lets in whoever has it, once. For an e-mail
address that already has a password here it takes that password: it never gives anybody another person's place. What the page of
a link shows does not tell whether the address is known.
"""

import unicodedata

from gateway.control import sessions as secrets
from gateway.control.context import Caller, Services
from gateway.control.problems import BadRequest, NotFound
from gateway.control.services import members as roles
from gateway.control.services.audit import record
from gateway.control.services.people import NewLink
from gateway.control.services.sign_in import Proven, begin_session, email_of, held, new_password, verified
from gateway.domain import ids
from gateway.domain.roles import INSTALLATION, Membership, Right, Role, may_give
from gateway.storage.sql import links, members, sessions, users
from gateway.storage.sql.engine import AsyncConnection, reading, writing
from gateway.storage.sql.links import LinkKind, LinkRow
from gateway.storage.sql.users import UserRow, UserStatus

_LONGEST_NAME = 120
GONE = "This link was used, withdrawn, or has expired; ask for a new one."
_WRONG = "There is a password for this e-mail address already, and this is not it."


async def invite(
    services: Services, caller: Caller, email: str, role: Role, *, account_id: str | None, workspace_id: str | None
) -> NewLink:
    """A link that gives a role. Raises NotFound, Forbidden, BadRequest."""
    address = email_of(email)
    async with writing(services.engine) as conn:
        place = await roles.place_of(conn, caller, account_id, workspace_id)
        roles.require_giving(caller, role, place)
        link = _new(services, caller, address, Membership(role, place))
        await links.delete_old(conn, services.now_ms())
        await links.insert(conn, link.row, secrets.digest(services, link.secret))
        after = {"email": address, "role": role.value}
        await record(conn, services, caller, "member.invite", link.row.id, place=place, after=after)
    return link


async def first_operator(services: Services, caller: Caller) -> NewLink | None:
    """A link for whoever becomes the first operator, by an e-mail address of their own; None once there is anybody."""
    caller.require(Right.MANAGE_PEOPLE)
    async with writing(services.engine) as conn:
        if await users.any_exist(conn):
            return None
        link = _new(services, caller, "", Membership(Role.OPERATOR, INSTALLATION))
        await links.insert(conn, link.row, secrets.digest(services, link.secret))
        await record(conn, services, caller, "member.invite", link.row.id, after={"role": Role.OPERATOR.value})
    return link


def _new(services: Services, caller: Caller, email: str, given: Membership) -> NewLink:
    now = services.now_ms()
    expires = now + services.people.invite_ms
    row = LinkRow(ids.link_id(), LinkKind.INVITE, email, caller.actor, now, expires, membership=given)
    return NewLink(row, secrets.new_secret())


async def find(services: Services, caller: Caller, *, account_id: str | None, workspace_id: str | None) -> list[LinkRow]:
    """The open invitations of a place and of everything within it, the newest first. Raises NotFound, Forbidden."""
    async with reading(services.engine) as conn:
        place = await roles.place_of(conn, caller, account_id, workspace_id)
        return await links.invitations(conn, place, services.now_ms())


async def withdraw(services: Services, caller: Caller, link_id: str) -> None:
    """Let an invitation open nothing any more. Raises NotFound, Forbidden."""
    async with writing(services.engine) as conn:
        row = await links.get(conn, link_id)
        held = None if row is None else row.membership
        if row is None or held is None:
            caller.require_signed_in()
            raise NotFound("There is no open invitation of this ID.")
        caller.require(Right.MANAGE_MEMBERS, held.place, missing="There is no open invitation of this ID.")
        await links.delete(conn, link_id)
        before = {"email": row.email, "role": held.role.value}
        await record(conn, services, caller, "member.withdraw", link_id, place=held.place, before=before)


async def look(services: Services, secret: str) -> LinkRow:
    """What a link is for; looking does not use it. Raises NotFound."""
    async with reading(services.engine) as conn:
        row = await links.find(conn, secrets.digest(services, secret), services.now_ms())
        if row is None or not await _founded(conn, row):
            raise NotFound(GONE)
    return row


async def _founded(conn: AsyncConnection, row: LinkRow) -> bool:
    """Whether an invitation gives what its author may still give. Losing a role withdraws what was given by it; this is for one
    that was being made meanwhile. The admin token and the first start, which are no e-mail addresses, may give everything; but
    the first start's own link, which takes any address, makes a first operator and no second one.
    """
    if row.membership is None or "@" not in row.created_by:
        return row.membership is None or bool(row.email) or not await members.any_operator(conn)
    found = await users.by_email(conn, row.created_by)
    if found is None or found[0].status is not UserStatus.ACTIVE:
        return False
    return may_give(await secrets.identity_of(conn, found[0]), row.membership.role, row.membership.place)


async def open_link(
    services: Services, secret: str, *, email: str, name: str, password: str, client: str | None, agent: str | None
) -> str:
    """Use a link, and sign in; answers the secret for the session's cookie. `email` counts where the link names none.

    Raises NotFound for a link that is gone, BadRequest for what cannot be taken (then the link stays), TooManyAttempts.
    """
    row = await look(services, secret)
    if row.kind is LinkKind.RESET:
        return await _reset(services, secret, row, password, client=client, agent=agent)
    address = row.email or email_of(email)
    async with reading(services.engine) as conn:
        known = await users.by_email(conn, address)
    proven: Proven | None = None
    if known is not None:
        proven = await verified(services, address, password, client)
        if proven is None:
            raise BadRequest.field("password", _WRONG)
    else:
        user = UserRow(ids.user_id(), address, _name(name), UserStatus.ACTIVE, services.now_ms())
        hashed = await services.passwords.hashed(new_password(password, email=address))
    async with writing(services.engine) as conn:
        # The person before the link, as everywhere, so that two transactions cannot block each other.
        if proven is None:
            joins = user if await users.insert(conn, user, hashed) else None
        else:
            joins = await held(conn, proven)
        taken = await links.use(conn, secrets.digest(services, secret), services.now_ms())
        if taken is None or taken.membership is None or not await _founded(conn, taken):
            raise NotFound(GONE)
        if joins is None:
            raise BadRequest.field("password", _WRONG)  # somebody came first, by another link, or the password was changed
        await _join(conn, services, joins, taken.membership, client)
        return await begin_session(conn, services, joins, client=client, agent=agent)


def _name(text: str) -> str:
    """A person's name. Raises BadRequest."""
    name = text.strip()
    if not name:
        raise BadRequest.field("name", "Give your name, as others will see it.")
    if len(name) > _LONGEST_NAME or any(unicodedata.category(each) == "Cc" for each in name):
        raise BadRequest.field("name", f"Use at most {_LONGEST_NAME} characters, and no control characters.")
    return name


async def _join(conn: AsyncConnection, services: Services, user: UserRow, given: Membership, client: str | None) -> None:
    before = await members.get(conn, user.id, given.place.scope)
    if before is not None and before.rights >= given.rights:
        return
    await members.put(conn, user.id, given, services.now_ms())
    caller = Caller(await secrets.identity_of(conn, user), client)
    caller.require_signed_in()
    await record(
        conn,
        services,
        caller,
        "member.join",
        user.id,
        place=given.place,
        before=None if before is None else {"role": before.role.value},
        after={"email": user.email, "role": given.role.value},
    )


async def _reset(services: Services, secret: str, row: LinkRow, password: str, *, client: str | None, agent: str | None) -> str:
    """A new password by a link; every session ends, and one begins."""
    hashed = await services.passwords.hashed(new_password(password, email=row.email))
    async with writing(services.engine) as conn:
        found = None if row.user_id is None else await users.hold(conn, row.user_id)
        taken = await links.use(conn, secrets.digest(services, secret), services.now_ms())
        if taken is None or found is None or found[0].status is not UserStatus.ACTIVE:
            raise NotFound(GONE)
        user = found[0]
        await users.set_password(conn, user.id, hashed)
        await links.delete_resets(conn, user.id)
        await sessions.delete_of_user(conn, user.id)
        caller = Caller(await secrets.identity_of(conn, user), client)
        caller.require_signed_in()
        await record(conn, services, caller, "user.password", user.id, after={"by": "link"})
        return await begin_session(conn, services, user, client=client, agent=agent)
