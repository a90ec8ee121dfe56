"""`/admin/v1/members` and `/admin/v1/invitations`: who has which role where."""

from fastapi import APIRouter

from gateway.control import schemas_people as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.problems import NotFound
from gateway.control.routes.users import addresses
from gateway.control.schemas import PAGE, Cursor, Filter, Id, Limit, Listing, when
from gateway.control.services import invitations, members
from gateway.domain.roles import Right, Role
from gateway.storage.sql.links import LinkRow
from gateway.storage.sql.members import MemberRow

router = APIRouter(tags=["members"], route_class=GuardedRoute)


def _shown(row: MemberRow) -> schemas.Member:
    user, place = row.user, row.membership.place
    return schemas.Member(
        user_id=user.id,
        email=user.email,
        name=user.name,
        status=user.status.value,
        role=row.membership.role.value,
        account_id=place.account_id,
        workspace_id=place.workspace_id,
        created_at=when(row.created_at),
        last_sign_in_at=None if user.last_sign_in_at is None else when(user.last_sign_in_at),
    )


@router.get("/members")
@needs(Right.MANAGE_MEMBERS)
async def list_members(
    *,
    services: UsedServices,
    caller: KnownCaller,
    account_id: Filter = None,
    workspace_id: Filter = None,
    q: Filter = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Listing[schemas.Member]:
    """The roles in an account, a workspace, or (without either) the installation, and in all that belongs to it."""
    page = await members.find(
        services, caller, account_id=account_id, workspace_id=workspace_id, search=q, limit=limit, cursor=cursor
    )
    return Listing(data=[_shown(row) for row in page.rows], next_cursor=page.next_cursor)


@router.patch("/members/{user_id}")
@needs(Right.MANAGE_MEMBERS)
async def change_member(*, services: UsedServices, caller: KnownCaller, user_id: Id, body: schemas.MemberPatch) -> schemas.Member:
    """Another role for somebody who has one in the place."""
    row = await members.set_role(
        services, caller, user_id, Role(body.role), account_id=body.account_id, workspace_id=body.workspace_id
    )
    return _shown(row)


@router.delete("/members/{user_id}", status_code=204)
@needs(Right.MANAGE_MEMBERS)
async def remove_member(
    *, services: UsedServices, caller: KnownCaller, user_id: Id, account_id: Filter = None, workspace_id: Filter = None
) -> None:
    """Take somebody's role in the place."""
    await members.remove(services, caller, user_id, account_id=account_id, workspace_id=workspace_id)


def _invitation(row: LinkRow) -> dict[str, object]:
    if row.membership is None:
        raise NotFound
    return {
        "id": row.id,
        "email": row.email,
        "role": row.membership.role.value,
        "account_id": row.membership.place.account_id,
        "workspace_id": row.membership.place.workspace_id,
        "created_by": row.created_by,
        "created_at": when(row.created_at),
        "expires_at": when(row.expires_at),
    }


@router.get("/invitations")
@needs(Right.MANAGE_MEMBERS)
async def list_invitations(
    *, services: UsedServices, caller: KnownCaller, account_id: Filter = None, workspace_id: Filter = None
) -> Listing[schemas.Invitation]:
    """The invitations that were not used yet, the newest first, without their links."""
    rows = await invitations.find(services, caller, account_id=account_id, workspace_id=workspace_id)
    return Listing(data=[schemas.Invitation.model_validate(_invitation(row)) for row in rows])


@router.post("/invitations", status_code=201)
@needs(Right.MANAGE_MEMBERS)
async def invite(*, services: UsedServices, caller: KnownCaller, body: schemas.InvitationIn) -> schemas.NewInvitation:
    """A one-time link that gives a role; `url` is shown in this answer and never again. Hand it over yourself."""
    link = await invitations.invite(
        services, caller, body.email, Role(body.role), account_id=body.account_id, workspace_id=body.workspace_id
    )
    return schemas.NewInvitation.model_validate({**_invitation(link.row), **addresses(services, link)})


@router.delete("/invitations/{link_id}", status_code=204)
@needs(Right.MANAGE_MEMBERS)
async def withdraw_invitation(*, services: UsedServices, caller: KnownCaller, link_id: Id) -> None:
    """The link opens nothing any more."""
    await invitations.withdraw(services, caller, link_id)
