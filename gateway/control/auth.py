"""Who calls: whoever holds the admin token is an operator; a browser with the cookie of a session is the person who signed in.

A cookie goes along with whatever a browser sends, also when another site made it do so. So a request that changes something and
comes by cookie has to carry the session's CSRF token too, which only pages of the console hold, and must not say that it comes
from elsewhere (OWASP's CSRF Prevention Cheat Sheet: a token and the origin, for defence in depth).
"""

import hmac

from starlette.requests import Request

from gateway.control.addresses import client_of
from gateway.control.context import Caller, Services
from gateway.control.problems import BadCsrfToken, Unauthorized
from gateway.control.sessions import cookie_name, csrf_token, find_session
from gateway.control.streams import MEDIA_TYPE
from gateway.domain.roles import operator

TOKEN_ACTOR = "admin token"  # noqa: S105 — what the audit trail says, no secret
CSRF_HEADER = "x-csrf-token"
_SCHEME = "bearer "
_CHALLENGE = 'Bearer realm="gateway admin"'
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


async def authenticate(request: Request, services: Services) -> Caller:
    """The caller of a request. Raises Unauthorized, BadCsrfToken, StorageUnavailable."""
    if request.headers.getlist("authorization"):
        caller = _by_token(request, services.admin_token)
        caller.client = address(request, services)
        return caller
    if secret := request.cookies.get(cookie_name(services, request)):
        return await _by_session(request, services, secret)
    raise Unauthorized(headers={"www-authenticate": _CHALLENGE})


def _by_token(request: Request, admin_token: str) -> Caller:
    """Takes exactly one Authorization header (two would be read differently by different parties), compares in constant time."""
    sent = request.headers.getlist("authorization")
    token = sent[0][len(_SCHEME) :].strip() if sent[0][: len(_SCHEME)].lower() == _SCHEME else ""
    same = hmac.compare_digest(token.encode("utf-8", "surrogateescape"), admin_token.encode())
    if len(sent) > 1 or not token or not same:
        hint = "The admin token is wrong; it stands in GATEWAY_ADMIN_TOKEN, or in the data folder if the first start made it."
        if token.startswith(("sk-", "st-")):
            hint = "That is an API key; this address takes the admin token (GATEWAY_ADMIN_TOKEN)."
        raise Unauthorized(hint, headers={"www-authenticate": f'{_CHALLENGE}, error="invalid_token"'})
    return Caller(operator(TOKEN_ACTOR, TOKEN_ACTOR))


async def _by_session(request: Request, services: Services, secret: str) -> Caller:
    if request.method not in _SAFE:
        check_origin(request, services)
        given = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), csrf_token(secret).encode()):
            raise BadCsrfToken
    # A page that watches by itself is no sign of anybody in front of it.
    found = await find_session(services, secret, used=request.headers.get("accept") != MEDIA_TYPE)
    if found is None:
        raise Unauthorized("The session has ended; sign in again.")
    session, identity = found
    request.state.csrf = csrf_token(secret)
    return Caller(identity, address(request, services), session)


def check_origin(request: Request, services: Services) -> None:
    """Refuse what a browser says comes from another site. Raises BadCsrfToken.

    Browsers send Origin with every request that is no GET; what sends none is no browser, and carries nobody's cookies.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise BadCsrfToken
    origin = request.headers.get("origin")
    own = {services.people.public_url, f"{request.url.scheme}://{request.headers.get('host', '')}"}
    # Behind a proxy that ends TLS the scheme of the page is not that of the request.
    own.add(f"https://{request.headers.get('host', '')}")
    if origin is not None and origin not in own:
        raise BadCsrfToken


def address(request: Request, services: Services) -> str | None:
    """Where a request comes from, for the audit trail and for slowing down attempts to sign in."""
    return client_of(request, services.people.trusted_proxies)
