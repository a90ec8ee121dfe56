"""Changes of policy: committed with a raised epoch, in force everywhere, then acknowledged (admission.md, Epochs, rule 1).

The database is the authority. A change begins its transaction by raising the account's epoch; the row's lock orders changes. Once
committed, the epoch is raised in the store of limits, which every admission compares with, and then marked as raised. What a
crash leaves between commit and mark, `sweep` finishes.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.ops.histograms import FINE, LONG, Histograms
from gateway.storage.sql.engine import StorageUnavailable, reading, transaction, writing
from gateway.storage.sql.tables import accounts, catalogue

_RAISE_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Epochs(Protocol):
    """The store of limits, as far as it holds epochs."""

    async def raise_epochs(self, epochs: Mapping[str, int]) -> None:
        """Raise each account's epoch to the one given, never lower it; whatever is raised on return is in force everywhere."""


class UnknownAccount(Exception):  # noqa: N818 — says what is unknown
    """There is no such account."""


class NotYetInForce(Exception):  # noqa: N818 — a state of the change, which is saved
    """A change is saved, but could not be put in force everywhere; the sweeper goes on trying, and repeating it is safe."""


_RAISE = (
    sa.update(accounts)
    .where(accounts.c.id == sa.bindparam("account"))
    .values(epoch=accounts.c.epoch + 1)
    .returning(accounts.c.id, accounts.c.epoch)
)
_RAISE_ALL = sa.update(accounts).values(epoch=accounts.c.epoch + 1).returning(accounts.c.id, accounts.c.epoch)
_MARK = (
    sa.update(accounts)
    .where(accounts.c.id == sa.bindparam("account"), accounts.c.raised_epoch < sa.bindparam("raised"))
    .values(raised_epoch=sa.bindparam("raised"))
)


class Policy:
    """The way to change what admission depends on: keys, grants, limits, workspaces, and the catalogue.

    `raise_seconds` bounds how long a change waits to be in force; beyond, it is NotYetInForce. `held` tells how long changes of
    this process took from their commit until they were in force everywhere, also those that were not in time; `reached` whether
    the database answered the last sweep.
    """

    def __init__(self, engine: AsyncEngine, epochs: Epochs, *, raise_seconds: float = _RAISE_SECONDS) -> None:
        self._engine = engine
        self._epochs = epochs
        self._raise_seconds = raise_seconds
        self.reached = True
        self._late: dict[str, float] = {}  # when changes were committed that are not in force yet, by account
        self.held = Histograms("gateway_policy_change_seconds", "From a change's commit until it is in force.", FINE + LONG[-5:])

    @asynccontextmanager
    async def change(self, account_id: str) -> AsyncIterator[AsyncConnection]:
        """A transaction that changes one account's policy; leaving the block means that the change is in force.

        Nothing is saved if the block raises. Raises UnknownAccount, StorageUnavailable (on PostgreSQL, should the connection
        break in the very commit, the change may be saved all the same, and the sweeper then puts it in force), NotYetInForce.
        """
        async with transaction(self._engine) as connection:
            raised = await _raised(connection, _RAISE, {"account": account_id})
            if not raised:
                raise UnknownAccount(account_id)
            yield connection
            await _to_the_end(self._finish(connection, raised))

    @asynccontextmanager
    async def change_catalogue(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that changes the catalogue, and with it every account's policy.

        Raises StorageUnavailable and NotYetInForce, as `change` does.
        """
        async with transaction(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                # An account that is being made must not slip between this change and the epochs that it raises; and whoever
                # holds one account's row must not wait for another while this holds that one.
                await connection.execute(sa.text("LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE"))
            await connection.execute(sa.update(catalogue).values(version=catalogue.c.version + 1))
            raised = await _raised(connection, _RAISE_ALL, {})
            yield connection
            await _to_the_end(self._finish(connection, raised))

    async def sweep(self) -> int:
        """Finish the raises that a crash or an unreachable store left behind; answers how many accounts it put in force.

        Raises StorageUnavailable, NotYetInForce.
        """
        begun = time.monotonic()
        query = sa.select(accounts.c.id, accounts.c.epoch).where(accounts.c.epoch != accounts.c.raised_epoch)
        try:
            async with reading(self._engine) as connection:
                left = {row.id: row.epoch for row in await connection.execute(query)}
        except StorageUnavailable:
            self.reached = False
            raise
        self.reached = True
        if left:
            await self._put_in_force(left)
            now = time.monotonic()
            self.held.of().add([now - self._late.pop(account) for account in left if account in self._late])
            async with writing(self._engine) as connection:
                await _mark(connection, left)
        # What another process has put in force meanwhile is not known to the millisecond.
        self._late = {account: at for account, at in self._late.items() if at > begun}
        return len(left)

    async def _finish(self, connection: AsyncConnection, raised: Mapping[str, int]) -> None:
        await connection.commit()
        committed = time.monotonic()
        try:
            await self._put_in_force(raised)
        except NotYetInForce:
            self._late |= {account: self._late.get(account, committed) for account in raised}
            raise
        self.held.of().observe(time.monotonic() - committed)
        try:
            await _mark(connection, raised)
            await connection.commit()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            # The change is saved and in force, which is what was promised; the sweeper raises the same epoch again and marks it.
            _log.warning("a change is in force, but could not be marked so: %s", type(error).__name__)

    async def _put_in_force(self, epochs: Mapping[str, int]) -> None:
        if not epochs:
            return
        try:
            async with asyncio.timeout(self._raise_seconds):
                await self._epochs.raise_epochs(epochs)
        except Exception as error:  # whatever it was, the change is saved and not known to be in force
            raise NotYetInForce(f"{type(error).__name__}: {error}") from error


async def _raised(connection: AsyncConnection, statement: sa.Executable, values: Mapping[str, str]) -> dict[str, int]:
    return {row.id: row.epoch for row in await connection.execute(statement, values)}


async def _mark(connection: AsyncConnection, raised: Mapping[str, int]) -> None:
    # In one order everywhere, so that two that mark many accounts cannot block each other.
    rows = [{"account": account, "raised": raised[account]} for account in sorted(raised)]
    if rows:
        await connection.execute(_MARK, rows)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end even if the caller is cancelled meanwhile; the cancellation is passed on then.

    `work` is bounded by the time-outs of its parts, so this does not hold up a process that stops.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        await task
    else:
        if not task.cancelled() and task.exception() is not None:
            _log.warning("a change whose caller had left did not end well: %s", task.exception())
        raise cancelled
