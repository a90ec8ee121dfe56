"""Grants: which models a sub-workspace may call, and up to which limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.control.context import Caller, Services
from gateway.control.etags import UNCONDITIONAL, Conditions, TaggedPage, tag
from gateway.control.paging import after_name, cut
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


def etag(row: GrantRow) -> str:
    """The entity tag of a grant."""
    return tag("grant", *_values(row))


def list_etag(workspace_id: str, rows: Sequence[GrantRow]) -> str:
    """The entity tag of all grants of a workspace together, in the order of their models."""
    return tag("grants", workspace_id, *(_values(row) for row in rows))


def _values(row: GrantRow) -> list[str | int | None]:
    return [row.workspace_id, row.model, row.limits.rpm, row.limits.tpm, row.created_at, row.updated_at]


def refuse_default(workspace: WorkspaceRow) -> None:
    """Raises Conflict for a default workspace."""
    if workspace.is_default:
        problems = check_grant(Limits(), Limits(), is_default=True)
        raise Conflict(" ".join(problem.message for problem in problems))


async def find(services: Services, caller: Caller, workspace_id: str, *, limit: int, cursor: str | None) -> TaggedPage[GrantRow]:
    """A workspace's grants, by model; none for a default workspace, which reaches every model. Raises NotFound, BadRequest."""
    after = after_name(cursor)
    rows = await every(services, caller, workspace_id)
    page = cut([row for row in rows if after is None or row.model > after], limit, lambda row: row.model)
    return TaggedPage(page.rows, page.next_cursor, list_etag(workspace_id, rows))


async def every(services: Services, caller: Caller, workspace_id: str) -> list[GrantRow]:
    """All grants of a workspace, by model. Raises NotFound, Forbidden."""
    async with reading(services.engine) as conn:
        await workspaces.require(conn, caller, workspace_id, Right.READ_WORKSPACE)
        return await grants.of_workspace(conn, workspace_id)


async def get(services: Services, caller: Caller, workspace_id: str, model: str) -> GrantRow:
    """Raises NotFound, also where the model is not granted; Forbidden."""
    async with reading(services.engine) as conn:
        workspace = await workspaces.require(conn, caller, workspace_id, Right.READ_WORKSPACE)
        row = await grants.get(conn, workspace_id, model)
    if row is None:
        raise NotFound(
            "The default workspace has no grants; it reaches every model."
            if workspace.is_default
            else "The workspace is not granted this model."
        )
    return row


async def put(
    services: Services,
    caller: Caller,
    workspace_id: str,
    model: str,
    limits: Limits,
    *,
    conditions: Conditions = UNCONDITIONAL,
) -> SetGrant:
    """Grant a model, or change the limits of its grant.

    Raises NotFound, BadRequest, PreconditionFailed; Conflict for a default workspace.

    Each limit is held to the account's; that the sum over workspaces is above the account's is allowed, and warned of.
    """
    workspace = await workspaces.get(services, caller, workspace_id, Right.MANAGE_GRANTS)
    refuse_default(workspace)
    await models.require_known(services, model)
    account_id = workspace.account_id
    async with services.policy.change(account_id) as conn:
        before = await grants.get(conn, workspace_id, model)
        conditions.check(None if before is None else etag(before))
        account = await levels.effective(conn, services, account_id, model)
        refuse(check_grant(limits, account.limits, is_default=False))
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


async def delete(
    services: Services, caller: Caller, workspace_id: str, model: str, *, conditions: Conditions = UNCONDITIONAL
) -> None:
    """From now on the workspace may not call the model.

    Raises NotFound, PreconditionFailed; Conflict for a default workspace.
    """
    workspace = await workspaces.get(services, caller, workspace_id, Right.MANAGE_GRANTS)
    refuse_default(workspace)
    account_id = workspace.account_id
    async with services.policy.change(account_id) as conn:
        before = await grants.get(conn, workspace_id, model)
        if before is None:
            raise NotFound("The workspace is not granted this model.")
        conditions.check(etag(before))
        await grants.delete(conn, workspace_id, model)
        target, place = f"{workspace_id}/{model}", Place(account_id, workspace_id)
        await record(conn, services, caller, "grant.delete", target, place=place, before=shown(before.limits))
