"""What every request and every service is given."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from gateway.control.addresses import Network
from gateway.control.passwords import Passwords
from gateway.control.ports import Catalogue, Levels, NoLevels, Upstreams
from gateway.control.problems import Forbidden, NotFound
from gateway.control.streams import Shared, Streams
from gateway.domain.grants import NO_LIMITS, Limits
from gateway.domain.roles import INSTALLATION, Identity, Place, Right
from gateway.storage.sql.engine import AsyncEngine
from gateway.storage.sql.policy import Policy
from gateway.storage.sql.sessions import SessionRow

_ATTEMPTS_AT_ONCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Settings of sign-in, in milliseconds: a session ends so long after it was last used, and after it began; a one-time link
    expires. `public_url` is the address that people reach the gateway at, without a path; None where nobody said.
    `trusted_proxies` are believed when they say whom they were asked by.
    """

    session_idle_ms: int = 12 * 3_600_000
    session_ms: int = 30 * 24 * 3_600_000
    invite_ms: int = 7 * 24 * 3_600_000
    reset_ms: int = 24 * 3_600_000
    public_url: str | None = None
    trusted_proxies: tuple[Network, ...] = ()
    rotate_after_days: int | None = 90
    unused_after_days: int | None = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts and settings of the admin API, built by the composition root. `attempts` are the turns of attempts to sign in.

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
    people: People = People()
    passwords: Passwords = field(default_factory=Passwords)
    attempts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_ATTEMPTS_AT_ONCE))
    levels: Levels = field(default_factory=NoLevels)
    streams: Streams = field(default_factory=Streams)
    live: Shared = field(default_factory=Shared)

    @property
    def root_url(self) -> str:
        """The gateway's address, without a path."""
        return self.people.public_url or self.base_url.partition("/compatible-mode")[0]

    def __repr__(self) -> str:
        """Without the token and the pepper."""
        return f"Services(base_url={self.base_url!r})"


class UncheckedAccess(RuntimeError):  # noqa: N818 — says what is wrong
    """A fault of ours: a service gave, or changed, what it never asked about."""


@dataclass(slots=True)
class Caller:
    """Who asks: `identity` says what they may, `actor` goes into the audit trail, `client` is the address of the request.

    Access is denied by default: each service asks `require` before it reads or changes anything. What nobody asked it for is
    neither answered (`policy.GuardedRoute`) nor committed (`services.audit.record`).
    """

    identity: Identity
    client: str | None = None
    session: SessionRow | None = None
    checked: bool = False

    @property
    def actor(self) -> str:
        return self.identity.email[:120]

    def require(self, right: Right, place: Place = INSTALLATION, *, missing: str = "") -> None:
        """Raises Forbidden without the right in the place; NotFound with the text `missing` where not even the place is seen."""
        if not self.identity.may(right, place):
            sees = Right.READ_WORKSPACE if place.workspace_id else Right.SEE_ACCOUNT
            if missing and not self.identity.may(sees, place):
                raise NotFound(missing)
            raise Forbidden(f"This takes the right {right.value}, which {self.identity.email} does not have here.")
        self.checked = True

    def require_signed_in(self) -> None:
        """Whoever is known may go on; what they get is theirs, or filtered by what they see."""
        self.require(Right.SIGNED_IN)


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


UsedServices = Annotated[Services, Depends(services_of)]
KnownCaller = Annotated[Caller, Depends(caller_of)]
