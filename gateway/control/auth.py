"""Who calls the admin API: whoever holds the admin token is the operator."""

import hmac

from starlette.requests import Request

from gateway.control.context import Caller
from gateway.control.problems import Unauthorized

_SCHEME = "bearer "
_CHALLENGE = 'Bearer realm="gateway admin"'


def authenticate(request: Request, admin_token: str) -> Caller:
    """The caller of a request. Raises Unauthorized.

    Takes exactly one Authorization header (two would be read differently by different parties) and compares in constant time.
    """
    sent = request.headers.getlist("authorization")
    if not sent:
        raise Unauthorized(headers={"www-authenticate": _CHALLENGE})
    token = sent[0][len(_SCHEME) :].strip() if sent[0][: len(_SCHEME)].lower() == _SCHEME else ""
    same = hmac.compare_digest(token.encode("utf-8", "surrogateescape"), admin_token.encode())
    if len(sent) > 1 or not token or not same:
        hint = "The admin token is wrong; it stands in GATEWAY_ADMIN_TOKEN, or in the data folder if the first start made it."
        if token.startswith(("sk-", "st-")):
            hint = "That is an API key; this address takes the admin token (GATEWAY_ADMIN_TOKEN)."
        raise Unauthorized(hint, headers={"www-authenticate": f'{_CHALLENGE}, error="invalid_token"'})
    return Caller(actor="admin token", client=None if request.client is None else request.client.host[:64])
