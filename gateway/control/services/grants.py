"""Grants: which models a sub-workspace may call, and up to which limits."""

from dataclasses import dataclass

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_name, cut
from gateway.control.problems import Conflict, NotFound
from gateway.control.services import limits as levels
from gateway.control.services import models, workspaces
from gateway.control.services.audit import record
from gateway.control.services.checks import refuse, shown
from gateway.domain.grants import Limits, check_grant
from gateway.domain.roles import Place, Right
from gateway.storage.sql import grants
from gateway.storage.sql.engine import reading
from gateway.storage.sql.grants import GrantRow
from gateway.storage.sql.workspaces import WorkspaceRow


@dataclass(frozen=True, slots=True)
class SetGrant:
    """A grant as it stands now; `is_new` where there was none before."""

    row: GrantRow
    is_new: bool
    warnings: list[str]


def _refuse_default(workspace: WorkspaceRow) -> None:
    if workspace.is_default:
        problems = check_grant(Limits(), Limits(), is_default=True)
        raise Conflict(" ".join(problem.message for problem in problems))


async def find(services: Services, caller: Caller, workspace_id: str, *, limit: int, cursor: str | None) -> Page[GrantRow]:
    """A workspace's grants, by model; none for a default workspace, which reaches every model. Raises NotFound, BadRequest."""
    after = after_name(cursor)
    async with reading(services.engine) as conn:
        await workspaces.require(conn, caller, workspace_id, Right.READ_WORKSPACE)
        rows = await grants.page(conn, workspace_id=workspace_id, limit=limit + 1, after=after)
    return cut(rows, limit, lambda row: row.model)


async def put(services: Services, caller: Caller, workspace_id: str, model: str, limits: Limits) -> SetGrant:
    """Grant a model, or change the limits of its grant. Raises NotFound, BadRequest; Conflict for a default workspace.

    Each limit is held to the account's; that the sum over workspaces is above the account's is allowed, and warned of.
    """
    workspace = await workspaces.get(services, caller, workspace_id, Right.MANAGE_GRANTS)
    _refuse_default(workspace)
    await models.require_known(services, model)
    account_id = workspace.account_id
    async with services.policy.change(account_id) as conn:
        account = await levels.effective(conn, services, account_id, model)
        refuse(check_grant(limits, account.limits, is_default=False))
        before = await grants.get(conn, workspace_id, model)
        now = services.now_ms()
        row = GrantRow(workspace_id, model, limits, now if before is None else before.created_at, now)
        await grants.put(conn, row)
        warnings = await levels.warnings(conn, account_id, account)
        await record(
            conn,
            services,
            caller,
            "grant.set",
            f"{workspace_id}/{model}",
            place=Place(account_id, workspace_id),
            before=None if before is None else shown(before.limits),
            after=shown(limits),
        )
    return SetGrant(row, before is None, warnings)


async def delete(services: Services, caller: Caller, workspace_id: str, model: str) -> None:
    """From now on the workspace may not call the model. Raises NotFound; Conflict for a default workspace."""
    workspace = await workspaces.get(services, caller, workspace_id, Right.MANAGE_GRANTS)
    _refuse_default(workspace)
    account_id = workspace.account_id
    async with services.policy.change(account_id) as conn:
        before = await grants.get(conn, workspace_id, model)
        if before is None:
            raise NotFound("The workspace is not granted this model.")
        await grants.delete(conn, workspace_id, model)
        target, place = f"{workspace_id}/{model}", Place(account_id, workspace_id)
        await record(conn, services, caller, "grant.delete", target, place=place, before=shown(before.limits))
