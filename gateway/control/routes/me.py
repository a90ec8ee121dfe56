"""`/admin/v1/me`: oneself."""

from fastapi import APIRouter

from gateway.control import schemas_people as schemas
from gateway.control.context import Caller, KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import Id, Listing, when
from gateway.control.services import people, sign_in
from gateway.domain.roles import Membership, Right
from gateway.storage.sql.sessions import SessionRow

router = APIRouter(prefix="/me", tags=["me"], route_class=GuardedRoute)


def held(memberships: tuple[Membership, ...]) -> list[schemas.HeldRole]:
    return [
        schemas.HeldRole(role=each.role.value, account_id=each.place.account_id, workspace_id=each.place.workspace_id)
        for each in memberships
    ]


def _shown(caller: Caller) -> schemas.Me:
    identity = caller.identity
    return schemas.Me(
        user_id=identity.user_id or None, email=identity.email, name=identity.name, roles=held(identity.memberships)
    )


@router.get("")
@needs(Right.SIGNED_IN)
async def get_me(*, caller: KnownCaller) -> schemas.Me:
    """Who calls, and with which roles."""
    caller.require_signed_in()
    return _shown(caller)


@router.patch("", status_code=204)
@needs(Right.SIGNED_IN)
async def rename_me(*, services: UsedServices, caller: KnownCaller, body: schemas.MePatch) -> None:
    """A new name for oneself, as others see it."""
    await people.rename_self(services, caller, body.name)


@router.post("/password", status_code=204)
@needs(Right.SIGNED_IN)
async def change_password(*, services: UsedServices, caller: KnownCaller, body: schemas.PasswordIn) -> None:
    """A new password for oneself; all other sessions end."""
    await sign_in.change_password(services, caller, body.current, body.new)


@router.get("/sessions")
@needs(Right.SIGNED_IN)
async def list_sessions(*, services: UsedServices, caller: KnownCaller) -> Listing[schemas.Session]:
    """One's own sessions that have not ended, the last used first."""
    rows = await people.own_sessions(services, caller)
    current = None if caller.session is None else caller.session.id
    return Listing(data=[_session(row, current) for row in rows])


def _session(row: SessionRow, current: str | None) -> schemas.Session:
    return schemas.Session(
        id=row.id,
        created_at=when(row.created_at),
        seen_at=when(row.seen_at),
        client=row.client,
        agent=row.agent,
        is_current=row.id == current,
    )


@router.delete("/sessions/{session_id}", status_code=204)
@needs(Right.SIGNED_IN)
async def end_session(*, services: UsedServices, caller: KnownCaller, session_id: Id) -> None:
    """Sign out in another browser, or in this one."""
    await people.end_own_session(services, caller, session_id)
