"""What an operator's machinery asks: is the process alive, does it take calls, what does it count."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.control.addresses import Network, client_of, is_within
from gateway.control.policy import public
from gateway.control.problems import Forbidden, NoMetricsToken

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OF_PROXIES = ("x-forwarded-for", "forwarded", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read the metrics: this machine, `networks`, and whoever has one of `tokens`, of which empty ones count for nothing.

    A request that came through a proxy is never this machine's own. It counts as that of whoever the proxies say it is, if they
    are trusted, and is in no network otherwise.
    """

    tokens: tuple[str, ...] = field(repr=False)
    networks: Sequence[Network] = ()
    trusted_proxies: Sequence[Network] = ()

    def check(self, request: Request) -> None:
        """Raises NoMetricsToken for a wrong token or none, Forbidden where no token is set for this."""
        if self._by_address(request):
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        credential = given.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""
        if any(token and hmac.compare_digest(credential, token.encode()) for token in self.tokens):
            return
        if not self.tokens[-1]:
            raise Forbidden("They are open to this machine alone; set metrics.allow_networks, or metrics.token and send it.")
        raise NoMetricsToken(headers={"www-authenticate": "Bearer"})

    def _by_address(self, request: Request) -> bool:
        peer = request.client.host if request.client is not None else ""
        forwarded = any(name in request.headers for name in _OF_PROXIES)
        if forwarded and not is_within(peer, self.trusted_proxies):
            return False
        client = client_of(request, self.trusted_proxies) or ""
        return (not forwarded and _is_loopback(client)) or is_within(client, self.networks)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def health_routes(
    *, problems: Callable[[], Awaitable[list[str]]], metrics: Callable[[], bytes], access: Access
) -> list[BaseRoute]:
    """`/livez`, `/readyz` and `/metrics`. `problems` names what keeps the gateway from taking calls, nothing if it does."""

    @public
    async def livez(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    @public
    async def readyz(_request: Request) -> Response:
        found = await problems()
        return JSONResponse({"status": "unavailable" if found else "ok", "problems": found}, 503 if found else 200)

    @public
    async def show_metrics(request: Request) -> Response:
        access.check(request)
        return Response(metrics(), media_type=_METRICS_TYPE)

    return [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", show_metrics, methods=["GET"]),
    ]
