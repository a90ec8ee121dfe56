"""Workspaces. None is ever deleted, as in the reference service: its ID stands in the ledger and in the audit trail."""

from dataclasses import replace

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_time, cut
from gateway.control.problems import Conflict, LimitReached, NotFound
from gateway.control.services import accounts
from gateway.control.services.audit import record
from gateway.domain import ids
from gateway.domain.roles import Place, Right
from gateway.storage.sql import workspaces
from gateway.storage.sql.engine import AsyncConnection, reading
from gateway.storage.sql.workspaces import WorkspaceRow

MISSING = "There is no workspace of this ID."


async def require(conn: AsyncConnection, caller: Caller, workspace_id: str, right: Right) -> WorkspaceRow:
    """Raises NotFound, also for a workspace that the caller does not see; Forbidden."""
    row = await workspaces.get(conn, workspace_id)
    if row is None:
        caller.require_signed_in()
        raise NotFound(MISSING)
    caller.require(right, Place(row.account_id, row.id), missing=MISSING)
    return row


async def create(services: Services, caller: Caller, name: str, account_id: str | None = None) -> WorkspaceRow:
    """A new sub-workspace; without `account_id` the default account's. Raises LimitReached, NotFound, Forbidden.

    The account's row is locked while its workspaces are counted, so that the limit holds for calls that arrive together.
    """
    owner = account_id or await accounts.default_id(services)
    await accounts.get(services, caller, owner, Right.MANAGE_WORKSPACES)
    row = WorkspaceRow(id=ids.workspace_id(), account_id=owner, name=name, is_default=False, created_at=services.now_ms())
    async with services.policy.change(owner) as conn:
        count = await workspaces.count(conn, owner)
        if count >= services.workspaces_per_account:
            raise LimitReached(
                f"The account has {count} of at most {services.workspaces_per_account} workspaces; rename one that is no longer "
                "needed, or raise the setting limits.workspaces_per_account."
            )
        await workspaces.insert(conn, row)
        await record(conn, services, caller, "workspace.create", row.id, place=Place(owner, row.id), after={"name": name})
    return row


async def count(services: Services, caller: Caller, account_id: str) -> int:
    """How many workspaces the account has. Raises NotFound, Forbidden."""
    async with reading(services.engine) as conn:
        await accounts.require(conn, caller, account_id, Right.MANAGE_WORKSPACES)
        return await workspaces.count(conn, account_id)


async def get(services: Services, caller: Caller, workspace_id: str, right: Right = Right.READ_WORKSPACE) -> WorkspaceRow:
    """Raises NotFound, Forbidden."""
    async with reading(services.engine) as conn:
        return await require(conn, caller, workspace_id, right)


async def rename(services: Services, caller: Caller, workspace_id: str, name: str) -> WorkspaceRow:
    """Raises NotFound, Forbidden; Conflict for a default workspace."""
    found = await get(services, caller, workspace_id, Right.MANAGE_WORKSPACES)
    async with services.policy.change(found.account_id) as conn:
        row = await require(conn, caller, workspace_id, Right.MANAGE_WORKSPACES)
        if row.is_default:
            raise Conflict("The default workspace cannot be modified; create a workspace of the name you want.")
        await workspaces.rename(conn, row.account_id, row.id, name)
        before, after = {"name": row.name}, {"name": name}
        place = Place(row.account_id, row.id)
        await record(conn, services, caller, "workspace.rename", row.id, place=place, before=before, after=after)
    return replace(row, name=name)


async def find(
    services: Services,
    caller: Caller,
    *,
    account_id: str | None,
    search: str | None,
    limit: int,
    cursor: str | None,
    counted: bool = False,
) -> Page[WorkspaceRow]:
    """The workspaces that the caller sees, in the order they were made; `counted` says whether what each has is counted.

    Raises BadRequest for a wrong cursor.
    """
    caller.require_signed_in()
    after = after_time(cursor)
    visible = caller.identity.visible()
    async with reading(services.engine) as conn:
        rows = await workspaces.page(
            conn, visible=visible, account_id=account_id, search=search, limit=limit + 1, after=after, counted=counted
        )
    return cut(rows, limit, lambda row: (row.created_at, row.id))
