"""Sessions: the secret in a browser's cookie, its digest in the database, and the person with the rights of this moment.

Each request reads the session and its person's roles anew, so that a session that was revoked, a person who was disabled and a
role that was taken count at once, in every process. A session ends some hours after it was last used, and some weeks after it
began whatever is done.
"""

import hmac
import secrets
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response

from gateway.control.context import Services
from gateway.domain import ids
from gateway.domain.roles import Identity
from gateway.storage.sql import members, sessions
from gateway.storage.sql.engine import AsyncConnection, StorageUnavailable, reading, writing
from gateway.storage.sql.sessions import SessionRow
from gateway.storage.sql.users import UserRow, UserStatus

SECURE_COOKIE = "__Host-gateway-session"
PLAIN_COOKIE = "gateway-session"
_LONGEST_AGENT = 200
_SEEN_EVERY_MS = 60_000


def digest(services: Services, secret: str) -> bytes:
    """What is stored of a session's secret, or of a link's."""
    return hmac.digest(services.pepper, b"console:" + secret.encode("utf-8", "surrogateescape"), "sha256")


def csrf_token(secret: str) -> str:
    """The token that pages of a session send along; it says nothing about the session's secret."""
    return hmac.digest(secret.encode("utf-8", "surrogateescape"), b"csrf", "sha256").hex()


def new_secret() -> str:
    """256 random bits, for a cookie or a link."""
    return secrets.token_urlsafe(32)


async def begin(conn: AsyncConnection, services: Services, user_id: str, client: str | None, agent: str | None) -> str:
    """A new session; answers the secret for its cookie. Always a new secret: one that was there before may be somebody else's."""
    now, secret = services.now_ms(), new_secret()
    shown = None if agent is None else agent[:_LONGEST_AGENT]
    row = SessionRow(ids.session_id(), user_id, now, now, client, shown)
    await sessions.delete_old(conn, **oldest(services))
    await sessions.insert(conn, row, digest(services, secret))
    return secret


def oldest(services: Services) -> dict[str, int]:
    """When the sessions that are still alive have begun, and have been used, at the earliest."""
    now, people = services.now_ms(), services.people
    return {"alive_since": now - people.session_ms, "seen_since": now - people.session_idle_ms}


async def find_session(services: Services, secret: str, *, used: bool = True) -> tuple[SessionRow, Identity] | None:
    """The session of a secret, with its person. None where it has ended, or the person is disabled. Raises StorageUnavailable.

    Unless it is `used`, the look does not count against the time after which an unused session ends.
    """
    async with reading(services.engine) as conn:
        found = await sessions.find(conn, digest(services, secret))
        if found is None:
            return None
        session, user = found
        bounds = oldest(services)
        ended = session.created_at <= bounds["alive_since"] or session.seen_at <= bounds["seen_since"]
        if ended or user.status is not UserStatus.ACTIVE:
            return None
        identity = await identity_of(conn, user)
    now = services.now_ms()
    if used and now - session.seen_at >= _SEEN_EVERY_MS:
        # Who only looks is not kept from it by a database that takes no changes just now; the next request tries again.
        with suppress(StorageUnavailable):
            async with writing(services.engine) as conn:
                await sessions.seen(conn, session.id, now)
    return session, identity


async def identity_of(conn: AsyncConnection, user: UserRow) -> Identity:
    return Identity(user.id, user.email, user.name or user.email, await members.of_user(conn, user.id))


def is_secure(services: Services, request: Request) -> bool:
    """Whether people reach the console over TLS: by the setting of its address, else by the request itself."""
    public = services.people.public_url
    return public.startswith("https://") if public is not None else request.url.scheme == "https"


def cookie_name(services: Services, request: Request) -> str:
    """The one cookie that counts: over TLS none without the prefix, which another host of the domain could have set."""
    return SECURE_COOKIE if is_secure(services, request) else PLAIN_COOKIE


def set_cookie(response: Response, services: Services, request: Request, secret: str) -> None:
    """Hand the secret to the browser: unreadable for scripts, for this host alone, and not sent along by other sites' requests.

    Over TLS it is marked Secure and has the prefix `__Host-` (RFC 6265bis, section 4.1.3.2), which keeps other hosts of the
    domain from setting one.
    """
    response.set_cookie(
        cookie_name(services, request),
        secret,
        max_age=services.people.session_ms // 1000,
        path="/",
        secure=is_secure(services, request),
        httponly=True,
        samesite="lax",
    )


def clear_cookies(response: Response) -> None:
    response.delete_cookie(SECURE_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    response.delete_cookie(PLAIN_COOKIE, path="/", httponly=True, samesite="lax")
