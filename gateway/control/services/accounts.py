"""Accounts."""

from collections.abc import Collection

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_time, cut
from gateway.control.problems import NotFound
from gateway.control.services.audit import record
from gateway.domain import ids
from gateway.domain.roles import Place, Right
from gateway.storage.sql import accounts, workspaces
from gateway.storage.sql.accounts import AccountRow
from gateway.storage.sql.engine import AsyncConnection, reading, writing
from gateway.storage.sql.workspaces import OfAccount, WorkspaceRow

DEFAULT_WORKSPACE_NAME = "default"
MISSING = "There is no account of this ID."


async def create(services: Services, caller: Caller, name: str) -> tuple[AccountRow, WorkspaceRow]:
    """A new account with its default workspace. No epoch is raised: nothing can have been read of it before."""
    caller.require(Right.MANAGE_ACCOUNTS)
    now = services.now_ms()
    account = AccountRow(id=ids.account_id(), name=name, is_default=False, created_at=now)
    workspace = WorkspaceRow(
        id=ids.workspace_id(), account_id=account.id, name=DEFAULT_WORKSPACE_NAME, is_default=True, created_at=now
    )
    async with writing(services.engine) as conn:
        await accounts.insert(conn, account)
        await workspaces.insert(conn, workspace)
        after = {"name": name, "default_workspace_id": workspace.id}
        await record(conn, services, caller, "account.create", account.id, place=Place(account.id), after=after)
    return account, workspace


async def get(services: Services, caller: Caller, account_id: str, right: Right = Right.SEE_ACCOUNT) -> AccountRow:
    """Raises NotFound, Forbidden."""
    async with reading(services.engine) as conn:
        return await require(conn, caller, account_id, right)


async def require(conn: AsyncConnection, caller: Caller, account_id: str, right: Right) -> AccountRow:
    """Raises NotFound, Forbidden."""
    row = await accounts.get(conn, account_id)
    if row is None:
        caller.require_signed_in()
        raise NotFound(MISSING)
    caller.require(right, Place(account_id), missing=MISSING)
    return row


async def default_id(services: Services) -> str:
    """The account that exists from the first start. Raises NotFound in a database that was never started."""
    async with reading(services.engine) as conn:
        row = await accounts.default(conn)
    if row is None:
        raise NotFound("There is no default account; start the gateway once, or name an account.")
    return row.id


async def find(
    services: Services, caller: Caller, *, search: str | None = None, limit: int, cursor: str | None
) -> Page[AccountRow]:
    """The accounts that the caller sees, in the order they were made. Raises BadRequest for a wrong cursor."""
    caller.require_signed_in()
    after = after_time(cursor)
    async with reading(services.engine) as conn:
        rows = await accounts.page(conn, only=caller.identity.accounts(), search=search, limit=limit + 1, after=after)
    return cut(rows, limit, lambda row: (row.created_at, row.id))


async def workspaces_of(services: Services, caller: Caller, account_ids: Collection[str]) -> dict[str, OfAccount]:
    """What workspaces these accounts have, by account. Raises Forbidden."""
    caller.require(Right.MANAGE_ACCOUNTS)
    async with reading(services.engine) as conn:
        return await workspaces.of_accounts(conn, account_ids)
