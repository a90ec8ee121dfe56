"""The admin REST API and the console as an ASGI application."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from gateway import __version__
from gateway.control import docs, handlers
from gateway.control.console.app import console_router
from gateway.control.context import Services
from gateway.control.policy import check_routes
from gateway.control.routes import (
    accounts,
    audit,
    grants,
    increases,
    keys,
    limits,
    live,
    me,
    members,
    models,
    upstreams,
    usage,
    users,
    workspaces,
)

PREFIX = "/admin/v1"
MAX_BODY_BYTES = 1 << 20

_ROUTERS = (accounts, limits, increases, live, workspaces, grants, keys, models, upstreams, usage, audit, me, members, users)


def create_control(services: Services, extra_routes: Sequence[BaseRoute] = ()) -> FastAPI:
    """The application that serves `/admin/v1`, `/console` and `extra_routes` (their endpoints declared by `policy.public`).

    Raises UndeclaredPolicy for a route that does not say who may use it, and ValueError without an admin token.
    """
    if not services.admin_token:
        raise ValueError("The admin token is empty; set GATEWAY_ADMIN_TOKEN.")
    app = FastAPI(
        title="Gateway admin API",
        description="Accounts, workspaces, grants, API keys, limits, models, upstreams, usage and the audit trail.",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # The framework's own telemetry could carry bodies, and with them secrets, out of the process.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False},
        routes=list(extra_routes),
        middleware=[Middleware(handlers.Envelope, now_ms=services.now_ms, max_body_bytes=MAX_BODY_BYTES)],
    )
    app.state.services = services
    handlers.install(app)
    for module in (*_ROUTERS, docs):
        app.include_router(module.router, prefix=PREFIX)
    app.include_router(console_router())
    check_routes(app)
    return app
