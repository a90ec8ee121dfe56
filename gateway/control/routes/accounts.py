"""`/admin/v1/accounts`."""

from fastapi import APIRouter

from gateway.control import schemas_workspaces as schemas
from gateway.control.context import KnownCaller, UsedServices
from gateway.control.policy import GuardedRoute, needs
from gateway.control.schemas import PAGE, Cursor, Filter, Id, Limit, Listing, when
from gateway.control.services import accounts
from gateway.domain.roles import Right
from gateway.storage.sql.accounts import AccountRow

router = APIRouter(prefix="/accounts", tags=["accounts"], route_class=GuardedRoute)


def _shown(row: AccountRow) -> dict[str, object]:
    return {"id": row.id, "name": row.name, "is_default": row.is_default, "created_at": when(row.created_at)}


@router.get("")
@needs(Right.SIGNED_IN)
async def list_accounts(
    *, services: UsedServices, caller: KnownCaller, q: Filter = None, limit: Limit = PAGE, cursor: Cursor = None
) -> Listing[schemas.Account]:
    """Accounts, in the order they were made; `q` is a part of the name or of the ID."""
    page = await accounts.find(services, caller, search=q, limit=limit, cursor=cursor)
    return Listing(data=[schemas.Account.model_validate(_shown(row)) for row in page.rows], next_cursor=page.next_cursor)


@router.post("", status_code=201)
@needs(Right.MANAGE_ACCOUNTS)
async def create_account(*, services: UsedServices, caller: KnownCaller, body: schemas.AccountIn) -> schemas.NewAccount:
    """A new account, with its default workspace."""
    row, workspace = await accounts.create(services, caller, body.name)
    return schemas.NewAccount.model_validate({**_shown(row), "default_workspace_id": workspace.id})


@router.get("/{account_id}")
@needs(Right.SEE_ACCOUNT)
async def get_account(*, services: UsedServices, caller: KnownCaller, account_id: Id) -> schemas.Account:
    return schemas.Account.model_validate(_shown(await accounts.get(services, caller, account_id)))
