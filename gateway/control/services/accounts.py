"""Accounts."""

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_time, cut
from gateway.control.problems import NotFound
from gateway.control.services.audit import record
from gateway.domain import ids
from gateway.storage.sql import accounts, workspaces
from gateway.storage.sql.accounts import AccountRow
from gateway.storage.sql.engine import reading, writing
from gateway.storage.sql.workspaces import WorkspaceRow

DEFAULT_WORKSPACE_NAME = "default"


async def create(services: Services, caller: Caller, name: str) -> tuple[AccountRow, WorkspaceRow]:
    """A new account with its default workspace. No epoch is raised: nothing can have been read of it before."""
    now = services.now_ms()
    account = AccountRow(id=ids.account_id(), name=name, is_default=False, created_at=now)
    workspace = WorkspaceRow(
        id=ids.workspace_id(), account_id=account.id, name=DEFAULT_WORKSPACE_NAME, is_default=True, created_at=now
    )
    async with writing(services.engine) as conn:
        await accounts.insert(conn, account)
        await workspaces.insert(conn, workspace)
        after = {"name": name, "default_workspace_id": workspace.id}
        await record(conn, services, caller, "account.create", account.id, account_id=account.id, after=after)
    return account, workspace


async def get(services: Services, account_id: str) -> AccountRow:
    """Raises NotFound."""
    async with reading(services.engine) as conn:
        row = await accounts.get(conn, account_id)
    if row is None:
        raise NotFound("There is no account of this ID.")
    return row


async def get_default(services: Services) -> AccountRow:
    """The account that exists from the first start. Raises NotFound in a database that was never started."""
    async with reading(services.engine) as conn:
        row = await accounts.default(conn)
    if row is None:
        raise NotFound("There is no default account; start the gateway once, or name an account.")
    return row


async def find(services: Services, *, limit: int, cursor: str | None) -> Page[AccountRow]:
    """Accounts in the order they were made. Raises BadRequest for a wrong cursor."""
    after = after_time(cursor)
    async with reading(services.engine) as conn:
        rows = await accounts.page(conn, limit=limit + 1, after=after)
    return cut(rows, limit, lambda row: (row.created_at, row.id))
