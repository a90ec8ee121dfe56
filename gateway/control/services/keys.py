"""API keys. A key's plaintext exists in the value that `create` and `reset` return, and nowhere else."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from gateway.control.context import Caller, Services
from gateway.control.paging import Page, after_time, cut
from gateway.control.problems import Conflict, LimitReached, NotFound
from gateway.control.services import idempotency, workspaces
from gateway.control.services.audit import record
from gateway.domain import ids
from gateway.domain.credentials import KeyKind, generate
from gateway.domain.grants import KeyStatus
from gateway.domain.roles import Place, Right
from gateway.storage.sql import keys
from gateway.storage.sql.engine import AsyncConnection, reading
from gateway.storage.sql.keys import KeyRow


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key and, this once, its plaintext; `text` is None where an earlier request with the same Idempotency-Key made the key."""

    row: KeyRow
    text: str | None = field(repr=False)


_MISSING = "There is no API key of this ID; it may have been deleted."
_GONE = "The API key that was made with this Idempotency-Key is deleted; take a new Idempotency-Key to make another one."


async def _require(conn: AsyncConnection, caller: Caller, key_id: str, right: Right) -> KeyRow:
    row = await keys.get(conn, key_id)
    if row is None:
        caller.require_signed_in()
        raise NotFound(_MISSING)
    caller.require(right, Place(row.account_id, row.workspace_id), missing=_MISSING)
    return row


@asynccontextmanager
async def _changing(services: Services, caller: Caller, key_id: str) -> AsyncIterator[tuple[AsyncConnection, KeyRow]]:
    """A transaction that changes a key, and the key as it is in it. Raises NotFound, Forbidden."""
    account_id = (await get(services, caller, key_id, Right.MANAGE_KEYS)).account_id
    async with services.policy.change(account_id) as conn:
        yield conn, await _require(conn, caller, key_id, Right.MANAGE_KEYS)


async def create(
    services: Services,
    caller: Caller,
    workspace_id: str,
    *,
    description: str = "",
    models: Sequence[str] | None = None,
    kind: KeyKind = KeyKind.STANDARD,
    idempotency_key: str | None = None,
) -> IssuedKey:
    """A new key of a workspace. Raises NotFound, Forbidden, LimitReached.

    The account's row is locked while the workspace's keys are counted, so that the limit holds for calls that arrive together.
    With an `idempotency_key` that made a key before, it is that key without its text, and nothing is made; raises Conflict if
    that key is deleted, IdempotencyKeyReused if something else was asked for.
    """
    account_id = (await workspaces.get(services, caller, workspace_id, Right.MANAGE_KEYS)).account_id
    secret = generate(kind, services.pepper)
    row = KeyRow(
        id=ids.key_id(),
        account_id=account_id,
        workspace_id=workspace_id,
        masked=secret.masked,
        kind=kind,
        status=KeyStatus.ACTIVE,
        description=description,
        models=None if models is None else tuple(sorted(set(models))),
        created_at=services.now_ms(),
    )
    async with services.policy.change(account_id) as conn:
        # A repeat is a change too, if an empty one: so it is answered only once the key is in force.
        if idempotency_key is not None and (made := await _made_before(conn, services, caller, idempotency_key, row)):
            return IssuedKey(made, None)
        count = await keys.count(conn, workspace_id)
        if count >= services.keys_per_workspace:
            raise LimitReached(
                f"The workspace has {count} of at most {services.keys_per_workspace} API keys; delete one that is no longer "
                "needed, or use another workspace."
            )
        await keys.insert(conn, row, secret.digest)
        after = {"workspace_id": workspace_id, "masked": row.masked, "description": description, "models": _shown(row.models)}
        await record(conn, services, caller, "key.create", row.id, place=_place(row), after=after)
    return IssuedKey(row, secret.text)


async def _made_before(
    conn: AsyncConnection, services: Services, caller: Caller, idempotency_key: str, wanted: KeyRow
) -> KeyRow | None:
    request = {"description": wanted.description, "models": _shown(wanted.models), "kind": wanted.kind.value}
    key_id = await idempotency.made_before(
        conn, services, caller, idempotency_key, scope=wanted.workspace_id, request=request, target=wanted.id
    )
    if key_id is None:
        return None
    row = await keys.get(conn, key_id)
    if row is None:
        raise Conflict(_GONE)
    return row


def _place(row: KeyRow) -> Place:
    return Place(row.account_id, row.workspace_id)


def _shown(models: tuple[str, ...] | None) -> list[str] | None:
    return None if models is None else list(models)


async def get(services: Services, caller: Caller, key_id: str, right: Right = Right.READ_WORKSPACE) -> KeyRow:
    """Raises NotFound, Forbidden."""
    async with reading(services.engine) as conn:
        return await _require(conn, caller, key_id, right)


async def count(services: Services, caller: Caller, workspace_id: str) -> int:
    """How many keys a workspace has. Raises NotFound."""
    async with reading(services.engine) as conn:
        await workspaces.require(conn, caller, workspace_id, Right.READ_WORKSPACE)
        return await keys.count(conn, workspace_id)


async def find(
    services: Services, caller: Caller, workspace_id: str, *, search: str | None, limit: int, cursor: str | None
) -> Page[KeyRow]:
    """A workspace's keys in the order they were made; `search` is a part of the ID. Raises NotFound, BadRequest."""
    after = after_time(cursor)
    async with reading(services.engine) as conn:
        await workspaces.require(conn, caller, workspace_id, Right.READ_WORKSPACE)
        rows = await keys.page(conn, workspace_id=workspace_id, search=search, limit=limit + 1, after=after)
    return cut(rows, limit, lambda row: (row.created_at, row.id))


async def describe(services: Services, caller: Caller, key_id: str, description: str) -> KeyRow:
    """Raises NotFound, Forbidden."""
    async with _changing(services, caller, key_id) as (conn, row):
        await keys.set_description(conn, row.account_id, key_id, description)
        before, after = {"description": row.description}, {"description": description}
        await record(conn, services, caller, "key.update", key_id, place=_place(row), before=before, after=after)
    return replace(row, description=description)


async def set_status(services: Services, caller: Caller, key_id: str, status: KeyStatus) -> KeyRow:
    """Disable a key, or enable it again. Doing it twice is harmless. Raises NotFound, Forbidden."""
    action = "key.enable" if status is KeyStatus.ACTIVE else "key.disable"
    async with _changing(services, caller, key_id) as (conn, row):
        if row.status is not status:
            await keys.set_status(conn, row.account_id, key_id, status)
            before, after = {"status": row.status.value}, {"status": status.value}
            await record(conn, services, caller, action, key_id, place=_place(row), before=before, after=after)
    return replace(row, status=status)


async def reset(services: Services, caller: Caller, key_id: str) -> IssuedKey:
    """A new secret under the same ID; the old one is dead when this returns. Raises NotFound, Forbidden."""
    async with _changing(services, caller, key_id) as (conn, row):
        secret, now = generate(row.kind, services.pepper), services.now_ms()
        await keys.replace_secret(conn, row.account_id, key_id, digest=secret.digest, masked=secret.masked, now_ms=now)
        before, after = {"masked": row.masked}, {"masked": secret.masked}
        await record(conn, services, caller, "key.reset", key_id, place=_place(row), before=before, after=after)
    return IssuedKey(replace(row, masked=secret.masked, reset_at=now), secret.text)


async def delete(services: Services, caller: Caller, key_id: str) -> None:
    """Final, and in force when this returns. Raises NotFound, Forbidden."""
    async with _changing(services, caller, key_id) as (conn, row):
        await keys.delete(conn, row.account_id, key_id)
        before = {"workspace_id": row.workspace_id, "masked": row.masked, "description": row.description}
        await record(conn, services, caller, "key.delete", key_id, place=_place(row), before=before)
