"""All grants of a workspace at once: one change from the set there is to the set that is wanted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.control.context import Caller, Services
from gateway.control.etags import UNCONDITIONAL, Conditions
from gateway.control.problems import BadRequest, FieldError
from gateway.control.services import grants as each
from gateway.control.services import limits as levels
from gateway.control.services import models, workspaces
from gateway.control.services.audit import Change, record_all
from gateway.control.services.checks import shown
from gateway.domain.grants import Limits, check_grant
from gateway.domain.roles import Place, Right
from gateway.storage.sql import grants
from gateway.storage.sql.engine import AsyncConnection, reading
from gateway.storage.sql.grants import GrantRow

_MOST_ERRORS = 100

Wanted = Sequence[tuple[str, Limits]]
"""Models, and their limits, in the order in which they were sent."""


@dataclass(frozen=True, slots=True)
class SetGrants:
    """A workspace's grants as they stand now, by model; how many are new, have other limits, or are gone; and warnings."""

    rows: list[GrantRow]
    etag: str
    added: int
    changed: int
    removed: int
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class _Difference:
    added: list[GrantRow]
    changed: list[GrantRow]
    removed: list[GrantRow]
    kept: list[GrantRow]

    @property
    def rows(self) -> list[GrantRow]:
        return sorted([*self.added, *self.changed, *self.kept], key=lambda row: row.model)


async def put(
    services: Services, caller: Caller, workspace_id: str, wanted: Wanted, *, conditions: Conditions = UNCONDITIONAL
) -> SetGrants:
    """Grant exactly what is wanted: in one transaction, with one raise of the epoch, and told model by model.

    What stays as it is is not checked again: an account's limit that was lowered below it since, or a model that nobody serves
    any more, do not stand in the way of other changes. Raises NotFound, PreconditionFailed, Conflict for a default workspace,
    and BadRequest that names each wrong field by its place, such as `grants.3.rpm`.
    """
    workspace = await workspaces.get(services, caller, workspace_id, Right.MANAGE_GRANTS)
    each.refuse_default(workspace)
    _refuse_repeated(wanted)
    known = await models.known_among(services, [model for model, _limits in wanted])
    account_id = workspace.account_id
    async with services.policy.change(account_id) as conn:
        before = {row.model: row for row in await grants.of_workspace(conn, workspace_id)}
        conditions.check(each.list_etag(workspace_id, list(before.values())))
        account = await levels.bases(conn, services, account_id, [model for model, _limits in wanted])
        _refuse(_problems(wanted, before, known, account))
        found = _difference(workspace_id, wanted, before, services.now_ms())
        await _write(conn, workspace_id, found)
        place = Place(account_id, workspace_id)
        await record_all(conn, services, caller, list(_told(found, before)), place=place)
        together = await grants.totals(conn, account_id)
        rows = found.rows
        warnings = [
            said for row in rows for said in levels.excess(row.model, together.get(row.model, Limits()), account[row.model])
        ]
    tag = each.list_etag(workspace_id, rows)
    return SetGrants(rows, tag, len(found.added), len(found.changed), len(found.removed), warnings)


async def of_others(services: Services, caller: Caller, workspace_id: str) -> dict[str, Limits]:
    """What the account's other workspaces are granted together, by model. Raises NotFound, Forbidden."""
    async with reading(services.engine) as conn:
        workspace = await workspaces.require(conn, caller, workspace_id, Right.MANAGE_GRANTS)
        return await grants.totals(conn, workspace.account_id, without=workspace_id)


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        raise BadRequest(" ".join(error.message for error in errors[:5]), errors=errors[:_MOST_ERRORS])


def _refuse_repeated(wanted: Wanted) -> None:
    first: dict[str, int] = {}
    errors = [
        FieldError(f"grants.{place}.model", f"The same model stands at place {first[model]} already; name it once.")
        for place, (model, _limits) in enumerate(wanted)
        if first.setdefault(model, place) != place
    ]
    _refuse(errors)


def _problems(
    wanted: Wanted, before: Mapping[str, GrantRow], known: frozenset[str], account: Mapping[str, Limits]
) -> list[FieldError]:
    errors = []
    for place, (model, limits) in enumerate(wanted):
        row = before.get(model)
        if row is None and model not in known:
            errors.append(FieldError(f"grants.{place}.model", "The catalogue has no such model, and no upstream lists it."))
        elif row is None or row.limits != limits:
            found = check_grant(limits, account[model], is_default=False)
            errors += [FieldError(f"grants.{place}.{problem.param}", problem.message) for problem in found]
    return errors


def _difference(workspace_id: str, wanted: Wanted, before: Mapping[str, GrantRow], now: int) -> _Difference:
    found = _Difference([], [], [], [])
    for model, limits in wanted:
        row = before.get(model)
        if row is None:
            found.added.append(GrantRow(workspace_id, model, limits, now, now))
        elif row.limits != limits:
            found.changed.append(replace(row, limits=limits, updated_at=now))
        else:
            found.kept.append(row)
    names = {model for model, _limits in wanted}
    found.removed.extend(row for model, row in before.items() if model not in names)
    return found


async def _write(conn: AsyncConnection, workspace_id: str, found: _Difference) -> None:
    await grants.delete_all(conn, workspace_id, [row.model for row in found.removed])
    await grants.update_all(conn, found.changed)
    await grants.insert_all(conn, found.added)


def _told(found: _Difference, before: Mapping[str, GrantRow]) -> Iterator[Change]:
    for row in (*found.added, *found.changed):
        old = before.get(row.model)
        target = f"{row.workspace_id}/{row.model}"
        yield Change(
            action="grant.set", target=target, before=None if old is None else shown(old.limits), after=shown(row.limits)
        )
    for row in found.removed:
        yield Change(action="grant.delete", target=f"{row.workspace_id}/{row.model}", before=shown(row.limits))
