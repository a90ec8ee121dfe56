"""Signing in and out, and one's own password."""

import logging
from dataclasses import dataclass, field

from gateway.control import sessions as secrets
from gateway.control.context import Caller, Services
from gateway.control.passwords import Passwords, problem
from gateway.control.problems import BadRequest, Forbidden, Unauthorized
from gateway.control.services import throttling
from gateway.control.services.audit import record
from gateway.storage.sql import links, sessions, users
from gateway.storage.sql.engine import AsyncConnection, reading, writing
from gateway.storage.sql.users import UserRow, UserStatus

_log = logging.getLogger(__name__)
WRONG = "The e-mail address or the password is wrong."
_NOT_PRESENT = "This is not your present password."


def email_of(text: str) -> str:
    """An e-mail address in the form in which it is stored and looked for. Raises BadRequest."""
    email = text.strip().lower()
    local, _, host = email.rpartition("@")
    if not local or not host or len(email) > 120 or any(c.isspace() or not c.isprintable() for c in email):  # noqa: PLR2004 — the column's
        raise BadRequest.field("email", "Give an e-mail address of up to 120 characters, such as kim@example.com.")
    return email


def new_password(password: str, *, email: str, param: str = "password") -> str:
    """Raises BadRequest for one that will not do."""
    if wrong := problem(password, email=email):
        raise BadRequest.field(param, wrong)
    return password


@dataclass(frozen=True, slots=True)
class Proven:
    """Somebody who gave the right password; `stored` is the hash of it."""

    user_id: str
    stored: str = field(repr=False)


async def held(conn: AsyncConnection, proven: Proven) -> UserRow | None:
    """The person, held until the transaction ends; None where meanwhile they were disabled, or their password was changed.

    A hash takes a while, and longer where many wait: who changes a password must not find a session of the old one afterwards.
    """
    found = await users.hold(conn, proven.user_id)
    if found is None or found[1] != proven.stored or found[0].status is not UserStatus.ACTIVE:
        return None
    return found[0]


async def verified(services: Services, email: str, password: str, client: str | None) -> Proven | None:
    """The active person with this e-mail address and this password; None for anything else. Raises TooManyAttempts.

    Whether there is such a person cannot be told from how long it takes, nor from how attempts are slowed down.
    """
    attempt = await throttling.begin(services, email, client)
    async with reading(services.engine) as conn:
        found = await users.by_email(conn, email)
    user, stored = found if found is not None else (None, None)
    right = await services.passwords.verify(stored, password)
    if not right or user is None or stored is None or user.status is not UserStatus.ACTIVE:
        _log.info("a sign-in from %s failed", client)
        return None
    await throttling.succeeded(services, attempt)
    proven = Proven(user.id, stored)
    return await _renewed(services, proven, password) if Passwords.is_outdated(stored) else proven


async def _renewed(services: Services, proven: Proven, password: str) -> Proven:
    """Hash the password anew, unless it was changed meanwhile."""
    again = await services.passwords.hashed(password)
    async with writing(services.engine) as conn:
        if await held(conn, proven) is None:
            return proven
        await users.set_password(conn, proven.user_id, again)
    return Proven(proven.user_id, again)


async def sign_in(services: Services, email: str, password: str, *, client: str | None, agent: str | None) -> str:
    """Begin a session; answers the secret for its cookie. Raises Unauthorized, TooManyAttempts."""
    try:
        address = email_of(email)
    except BadRequest:
        raise Unauthorized(WRONG) from None
    proven = await verified(services, address, password, client)
    if proven is None:
        raise Unauthorized(WRONG)
    async with writing(services.engine) as conn:
        user = await held(conn, proven)
        if user is None:
            raise Unauthorized(WRONG)
        return await begin_session(conn, services, user, client=client, agent=agent)


async def begin_session(
    conn: AsyncConnection, services: Services, user: UserRow, *, client: str | None, agent: str | None
) -> str:
    """A session of somebody who has proved to be this person; answers the secret for its cookie."""
    caller = Caller(await secrets.identity_of(conn, user), client)
    caller.require_signed_in()
    await users.signed_in(conn, user.id, services.now_ms())
    await record(conn, services, caller, "user.sign_in", user.id)
    return await secrets.begin(conn, services, user.id, client, agent)


async def sign_out(services: Services, caller: Caller) -> None:
    """End the session that the caller came with."""
    caller.require_signed_in()
    if caller.session is not None:
        async with writing(services.engine) as conn:
            await sessions.delete(conn, caller.session.user_id, caller.session.id)
            await record(conn, services, caller, "user.sign_out", caller.identity.user_id)


def own_id(caller: Caller) -> str:
    """The ID of the person who calls. Raises Forbidden for the admin token, which is nobody."""
    caller.require_signed_in()
    if not caller.identity.user_id:
        raise Forbidden("This is about a person who signed in; the admin token is nobody.")
    return caller.identity.user_id


async def change_password(services: Services, caller: Caller, current: str, new: str) -> None:
    """Give oneself a new password; every other session ends. Raises BadRequest, TooManyAttempts."""
    user_id, email = own_id(caller), caller.identity.email
    new_password(new, email=email, param="new")
    proven = await verified(services, email, current, caller.client)
    if proven is None:
        raise BadRequest.field("current", _NOT_PRESENT)
    hashed = await services.passwords.hashed(new)
    async with writing(services.engine) as conn:
        if await held(conn, proven) is None:
            raise BadRequest.field("current", _NOT_PRESENT)
        await users.set_password(conn, user_id, hashed)
        await links.delete_resets(conn, user_id)
        await sessions.delete_of_user(conn, user_id, but=None if caller.session is None else caller.session.id)
        await record(conn, services, caller, "user.password", user_id)
