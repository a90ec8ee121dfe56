"""What an operator's machinery asks: is the process alive, does it take calls, what does it count."""

import hmac
from collections.abc import Awaitable, Callable, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.control.addresses import Network, client_of
from gateway.control.policy import public

_LOOPBACK = frozenset(("127.0.0.1", "::1", "::ffff:127.0.0.1"))
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def health_routes(
    *,
    problems: Callable[[], Awaitable[list[str]]],
    metrics: Callable[[], bytes],
    admin_token: str,
    trusted_proxies: Sequence[Network] = (),
) -> list[BaseRoute]:
    """`/livez`, `/readyz` and `/metrics`. `problems` names what keeps the gateway from taking calls, nothing if it does."""
    token = b"Bearer " + admin_token.encode()

    @public
    async def livez(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    @public
    async def readyz(_request: Request) -> Response:
        found = await problems()
        return JSONResponse({"status": "unavailable" if found else "ok", "problems": found}, 503 if found else 200)

    @public
    async def show_metrics(request: Request) -> Response:
        """Open to loopback; from elsewhere with the admin token."""
        client = client_of(request, trusted_proxies) or ""
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if client not in _LOOPBACK and not hmac.compare_digest(given, token):
            raise HTTPException(401, "The metrics are open to loopback; from elsewhere, send the admin token as a bearer token.")
        return Response(metrics(), media_type=_METRICS_TYPE)

    return [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", show_metrics, methods=["GET"]),
    ]
