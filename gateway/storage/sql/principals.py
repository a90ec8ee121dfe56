"""What keys resolve to, read for the data plane.

One statement reads everything that a principal holds, and so one snapshot on either database: the epoch belongs to the grants and
limits that it came with (admission.md, Epochs, rule 2).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus, Limits, Principal
from gateway.storage.sql.engine import reading
from gateway.storage.sql.tables import account_limits, accounts, api_keys, catalogue, grants, workspaces

_KEY, _GRANT, _LIMIT = 0, 1, 2
_MOST_DIGESTS = 500


def _query() -> sa.CompoundSelect[Any]:
    """The keys of `digests`, then what their workspaces and their accounts hold, told apart by `part`.

    `owner` is the workspace of a key or a grant, and the account of an account's limits.
    """
    found = (
        sa.select(
            api_keys.c.digest,
            api_keys.c.id,
            api_keys.c.kind,
            api_keys.c.status,
            api_keys.c.models,
            api_keys.c.workspace_id,
            api_keys.c.account_id,
            workspaces.c.is_default,
            accounts.c.epoch,
        )
        .join(workspaces, workspaces.c.id == api_keys.c.workspace_id)
        .join(accounts, accounts.c.id == api_keys.c.account_id)
        .where(api_keys.c.digest.in_(sa.bindparam("digests", expanding=True)))
        .cte("found")
    )
    version = sa.select(catalogue.c.version).where(catalogue.c.id == 1).scalar_subquery()
    nothing = sa.null()
    keys = sa.select(
        sa.literal_column(str(_KEY), sa.Integer).label("part"),
        found.c.workspace_id.label("owner"),
        nothing.label("model"),
        nothing.label("rpm"),
        nothing.label("tpm"),
        found.c.digest,
        found.c.id.label("key_id"),
        found.c.kind,
        found.c.status,
        found.c.models.label("key_models"),
        found.c.account_id,
        found.c.is_default,
        found.c.epoch,
        version.label("version"),
    )
    return keys.union_all(
        _owned(_GRANT, grants, grants.c.workspace_id, found.c.workspace_id),
        _owned(_LIMIT, account_limits, account_limits.c.account_id, found.c.account_id),
    )


def _owned(part: int, table: sa.Table, owner: sa.ColumnElement[Any], owners: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """The limits in `table` of those `owners` that were found, in the columns of `_query`."""
    of_a_key = [sa.null() for _ in range(9)]
    return sa.select(sa.literal_column(str(part)), owner, table.c.model, table.c.rpm, table.c.tpm, *of_a_key).where(
        owner.in_(sa.select(owners))
    )


_QUERY = _query()


class SqlKeyStore:
    """Implements the data plane's `KeyStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def principals(self, digests: Sequence[bytes]) -> dict[bytes, Principal]:
        """The principals of those digests that exist, each read in one statement with its account's epoch.

        Raises KeyStoreUnavailable.
        """
        found: dict[bytes, Principal] = {}
        async with reading(self._engine) as connection:
            for start in range(0, len(digests), _MOST_DIGESTS):
                asked = {"digests": _padded(digests[start : start + _MOST_DIGESTS])}
                found.update(_principals((await connection.execute(_QUERY, asked)).all()))
        return found


def _padded(digests: Sequence[bytes]) -> list[bytes]:
    """The digests, the first repeated up to a power of two: so there are ten statements for the database to prepare, not 500."""
    size = 1 << (len(digests) - 1).bit_length()
    return [*digests, *[digests[0]] * (size - len(digests))]


def _principals(rows: Iterable[sa.Row[Any]]) -> dict[bytes, Principal]:
    keys: list[sa.Row[Any]] = []
    held: dict[tuple[int, str], dict[str, Limits]] = {}
    for row in rows:
        if row.part == _KEY:
            keys.append(row)
        else:
            held.setdefault((row.part, row.owner), {})[row.model] = Limits(rpm=row.rpm, tpm=row.tpm)
    return {
        row.digest: Principal(
            key_id=row.key_id,
            kind=KeyKind(row.kind),
            status=KeyStatus(row.status),
            workspace_id=row.owner,
            account_id=row.account_id,
            is_default=row.is_default,
            epoch=row.epoch,
            catalogue_version=row.version,
            grants=held.get((_GRANT, row.owner), {}),
            account_limits=held.get((_LIMIT, row.account_id), {}),
            key_models=None if row.key_models is None else frozenset(row.key_models),
        )
        for row in keys
    }
