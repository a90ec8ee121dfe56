"""What every request and every service is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from gateway.control.ports import Catalogue, Upstreams
from gateway.domain.grants import NO_LIMITS, Limits
from gateway.storage.sql.engine import AsyncEngine
from gateway.storage.sql.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts and settings of the admin API, built by the composition root.

    `now_ms` answers Unix time in milliseconds; `default_limits` hold for a model that sets none of its own; `base_url` is the
    address of the data plane that is shown to people, such as `http://127.0.0.1:8080/compatible-mode/v1`.
    """

    engine: AsyncEngine
    policy: Policy
    catalogue: Catalogue
    upstreams: Upstreams
    admin_token: str
    pepper: bytes
    now_ms: Callable[[], int]
    base_url: str
    keys_per_workspace: int = 20
    workspaces_per_account: int = 20
    default_limits: Limits = NO_LIMITS

    def __repr__(self) -> str:
        """Without the token and the pepper."""
        return f"Services(base_url={self.base_url!r})"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a change: `actor` goes into the audit trail, `client` is the address the request came from."""

    actor: str
    client: str | None = None


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


UsedServices = Annotated[Services, Depends(services_of)]
KnownCaller = Annotated[Caller, Depends(caller_of)]
