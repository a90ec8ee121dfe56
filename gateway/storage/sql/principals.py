"""What keys resolve to, read for the data plane.

One statement reads everything that a principal holds, and so one snapshot on either database: the epoch belongs to the grants and
limits that it came with (admission.md, Epochs, rule 2). All digests of a turn are asked for together, of whichever accounts: each
is found by the unique index alone, so that naming its account as well would only make more statements of it.

A process may hold a hundred thousand principals and more. Those of one workspace share what they hold in common, whenever they
were read: the identifiers, the grants, the account's limits.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import NO_LIMITS, KeyStatus, Limits, Principal
from gateway.storage.sql.engine import read
from gateway.storage.sql.tables import account_limits, accounts, api_keys, catalogue, grants, limit_increases, workspaces

_KEY, _GRANT, _LIMIT, _INCREASE = 0, 1, 2, 3
_DIGEST = 5
_MOST_DIGESTS = 500
_NOTHING: Mapping[str, Limits] = MappingProxyType({})


def _query(wanted: sa.ColumnElement[bool]) -> sa.CompoundSelect[Any]:
    """The `wanted` keys, then what their workspaces and their accounts hold, told apart by `part`.

    `owner` is the workspace of a key or a grant, and the account of an account's limits and of their open increases.
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
        .where(wanted)
        .cte("found")
    )
    version = sa.select(catalogue.c.version).where(catalogue.c.id == sa.literal_column("1")).scalar_subquery()
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
        _owned(_INCREASE, limit_increases, limit_increases.c.account_id, found.c.account_id).where(
            limit_increases.c.ended_at.is_(None)
        ),
    )


def _owned(part: int, table: sa.Table, owner: sa.ColumnElement[Any], owners: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """The limits in `table` of those `owners` that were found, in the columns of `_query`."""
    of_a_key = [sa.null() for _ in range(9)]
    return sa.select(sa.literal_column(str(part)), owner, table.c.model, table.c.rpm, table.c.tpm, *of_a_key).where(
        owner.in_(sa.select(owners))
    )


# PostgreSQL takes all digests as one array, so that there is one statement to prepare and to plan, however many there are.
BY_ARRAY = _query(api_keys.c.digest == sa.any_(sa.bindparam("digests", type_=ARRAY(sa.LargeBinary))))
_BY_LIST = _query(api_keys.c.digest.in_(sa.bindparam("digests", expanding=True)))


class _Held(dict[str, Limits]):
    """The limits that a workspace's grants or an account hold, by model. Never changed once it is shared."""

    __slots__ = ("__weakref__",)


_Shared = WeakValueDictionary[tuple[int, str], _Held]


class SqlKeyStore:
    """Implements the data plane's `KeyStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._shared: _Shared = WeakValueDictionary()

    async def principals(self, digests: Sequence[bytes]) -> dict[bytes, Principal]:
        """The principals of those digests that exist, each read in one statement with its account's epoch.

        Raises KeyStoreUnavailable.
        """

        async def work(connection: AsyncConnection) -> dict[bytes, Principal]:
            found: dict[bytes, Principal] = {}
            for start in range(0, len(digests), _MOST_DIGESTS):
                rows = await read_rows(connection, digests[start : start + _MOST_DIGESTS])
                found.update(_principals(rows, self._shared))
            return found

        return await read(self._engine, work)


async def read_rows(connection: AsyncConnection, digests: Sequence[bytes]) -> Sequence[tuple[Any, ...]]:
    """What the database holds of at least one digest, at most 500, as `_query` has it."""
    if connection.dialect.name == "postgresql":
        found = await connection.execute(BY_ARRAY, {"digests": list(digests)})
    else:
        found = await connection.execute(_BY_LIST, {"digests": _padded(digests)})
    rows: Sequence[tuple[Any, ...]] = found.all()
    return rows


def _padded(digests: Sequence[bytes]) -> list[bytes]:
    """The digests, the first repeated up to a power of two: so there are ten statements to prepare, not 500."""
    size = 1 << (len(digests) - 1).bit_length()
    return [*digests, *[digests[0]] * (size - len(digests))]


def _principals(rows: Iterable[tuple[Any, ...]], shared: _Shared) -> dict[bytes, Principal]:
    keys: list[tuple[Any, ...]] = []
    held: dict[tuple[int, str], _Held] = {}
    for row in rows:
        part, owner, model, rpm, tpm, *_ = row
        if part == _KEY:
            keys.append(row)
        else:
            held.setdefault((part, owner), _Held())[sys.intern(model)] = Limits(rpm, tpm)
    _increase(held)
    for place, new in held.items():
        known = shared.get(place)
        if known == new:
            held[place] = known
        else:
            shared[place] = new
    return {row[_DIGEST]: _principal(row, held) for row in keys}


def _increase(held: dict[tuple[int, str], _Held]) -> None:
    """Put the increases over the accounts' own limits, whichever of them the rows had first."""
    for place in [place for place in held if place[0] == _INCREASE]:
        own = held.setdefault((_LIMIT, place[1]), _Held())
        for model, increase in held.pop(place).items():
            own[model] = increase.over(own.get(model, NO_LIMITS))


def _principal(row: tuple[Any, ...], held: Mapping[tuple[int, str], _Held]) -> Principal:
    _, workspace, _, _, _, _, key_id, kind, status, models, account, is_default, epoch, version = row
    return Principal(
        key_id=key_id,
        kind=KeyKind(kind),
        status=KeyStatus(status),
        workspace_id=sys.intern(workspace),
        account_id=sys.intern(account),
        is_default=is_default,
        epoch=epoch,
        catalogue_version=version,
        grants=held.get((_GRANT, workspace), _NOTHING),
        account_limits=held.get((_LIMIT, account), _NOTHING),
        key_models=None if models is None else frozenset(models),
    )
