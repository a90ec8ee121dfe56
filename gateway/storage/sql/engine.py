"""Connections and transactions, on SQLite and PostgreSQL alike, and what it looks like when the database is away.

SQLite runs in WAL mode with explicit transactions: a write transaction takes the write lock when it begins (`BEGIN IMMEDIATE`),
so that it never has to be upgraded from a read, which SQLite would refuse as soon as another writer has committed in between.
Writers of one process queue up in the order that they came; only other processes are waited for with SQLite's own polling.

`synchronous=FULL` has each commit on the disk before it is acknowledged, so that not even a loss of power brings a deleted key
back. The ledger commits in batches, so that this costs about ten writes a second however many calls there are.

On PostgreSQL a connection is not asked whether it still works before each use, which would cost round trips: one whose server has
closed it is noticed by its closed socket and replaced, with all that are as old; and a read that breaks all the same is
repeated once (`read`).
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from gateway.domain.faults import KeyStoreUnavailable, StorageUnavailable
from gateway.storage.sql import postgres

__all__ = [
    "AsyncConnection",
    "AsyncEngine",
    "StorageUnavailable",
    "create_engine",
    "is_bad_value",
    "ping",
    "read",
    "reading",
    "snapshot",
    "transaction",
    "write_at_once",
    "writing",
    "writing_at_once",
]

_WRITE = "gateway_write"
_WRITE_LOCK = "gateway_write_lock"
_LONE_STATEMENTS = "gateway_lone_statements"
_FRESH = "gateway_fresh"
_LOCK_SECONDS = 5.0
_RECYCLE_SECONDS = 1800
_Answer = TypeVar("_Answer")

# PostgreSQL's classes of errors that say something of the server and nothing of the statement: connection (08), authorization
# (28), rolled back to resolve a conflict (40), no such database (3D), out of resources (53), lock not to be had (55), operator
# (57), system (58), internal (XX); and 25006, a server that became read-only. (PostgreSQL documentation, appendix A.)
_AWAY = ("08", "28", "40", "3D", "53", "55", "57", "58", "XX", "25006")
# Those after which the connection is of no use: connection, and a server that stops, stopped or starts.
_BROKEN = ("08", "57P01", "57P02", "57P03")


def create_engine(
    url: str,
    *,
    pool_size: int = 10,
    connect_seconds: float = 5.0,
    statement_seconds: float | None = 10.0,
    pgbouncer: bool = False,
) -> AsyncEngine:
    """The pool of connections to `sqlite+aiosqlite:///PATH` or `postgresql+asyncpg://…`. Opens none yet.

    The rest is for PostgreSQL: `pool_size` connections at most; `connect_seconds` bounds opening one, and waiting for one of the
    pool; `statement_seconds` bounds each statement, None sets no bound, for migrations; `pgbouncer` says that the address is that
    of a PgBouncer in transaction mode.
    """
    if sa.make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=connect_seconds,
        pool_recycle=_RECYCLE_SECONDS,
        hide_parameters=True,  # an error that is logged must not show an upstream's credential
        connect_args=postgres.arguments(
            connect_seconds=connect_seconds, statement_seconds=statement_seconds, pgbouncer=pgbouncer
        ),
        execution_options={_LONE_STATEMENTS: not pgbouncer},
    )
    event.listen(engine.sync_engine, "connect", _opened)
    event.listen(engine.sync_engine, "checkout", _look)
    return engine


def _opened(_connection: Any, entry: ConnectionPoolEntry) -> None:
    entry.info[_FRESH] = True


def _look(connection: Any, entry: ConnectionPoolEntry, _user: Any) -> None:
    """Have a connection that its server has closed replaced, and all that are as old; not a new one: there has to be an end."""
    fresh = entry.info.pop(_FRESH, False)
    if not fresh and connection.driver_connection.is_closed():
        raise sa.exc.InvalidatePoolError


def _sqlite_engine(url: str) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=5,
        max_overflow=10,
        pool_timeout=_LOCK_SECONDS,
        hide_parameters=True,
        # The driver begins no transactions of its own: `_begin` does, in the words it needs.
        connect_args={"isolation_level": None, "timeout": _LOCK_SECONDS},
        execution_options={_WRITE_LOCK: asyncio.Lock()},
    )
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(_LOCK_SECONDS * 1000)}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITE) else "BEGIN")


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A write transaction that its user commits; what is not committed when the block ends is rolled back.

    Raises StorageUnavailable. On SQLite a second one within the block, from the same task, waits for itself and is given up.
    """
    with _faults(StorageUnavailable):
        async with _turn(engine), engine.connect() as connection:
            await connection.execution_options(**{_WRITE: True})
            yield connection


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A write transaction, committed when the block ends and rolled back when it raises. Raises StorageUnavailable."""
    async with transaction(engine) as connection, connection.begin():
        yield connection


@asynccontextmanager
async def writing_at_once(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """As `writing`, for one statement on PostgreSQL: it is a transaction of its own where it can be, which saves two round trips.

    Not so through PgBouncer (see `reading`).
    """
    if not engine.get_execution_options().get(_LONE_STATEMENTS):
        async with writing(engine) as connection:
            yield connection
        return
    with _faults(StorageUnavailable):
        async with engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def write_at_once(engine: AsyncEngine, work: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
    """What `work` returns, a write transaction on SQLite, committed unless it raises. Raises StorageUnavailable.

    It runs whole on the connection's thread, where `writing` goes there and back for each step of each statement.
    """
    with _faults(StorageUnavailable):
        async with _turn(engine), engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection

            def run() -> _Answer:
                with driver._conn as database:  # noqa: SLF001 — there is no other way to its thread; SQLAlchemy goes it too
                    database.execute("BEGIN IMMEDIATE")
                    return work(database)

            try:
                answer: _Answer = await driver._execute(run)  # noqa: SLF001
            except sqlite3.Error as error:
                raise sa.exc.DBAPIError.instance(None, None, error, sqlite3.Error) from error
            return answer


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection to read from. Raises KeyStoreUnavailable, which is a StorageUnavailable.

    Only what one statement reads is certain to be one snapshot: on PostgreSQL each is a transaction of its own, which saves two
    round trips. Not so through PgBouncer, where a statement without a transaction may be parsed by one server and run by another.
    """
    with _faults(KeyStoreUnavailable):
        async with engine.connect() as connection:
            if engine.get_execution_options().get(_LONE_STATEMENTS):
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            yield connection


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection whose statements all read the same state of the database. Raises KeyStoreUnavailable."""
    with _faults(KeyStoreUnavailable):
        async with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                # SQLite's transactions are of this kind anyway.
                await connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection


async def read(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[_Answer]]) -> _Answer:
    """What `work` reads; should its connection turn out to be broken, what it reads on another. Raises KeyStoreUnavailable."""
    try:
        async with reading(engine) as connection:
            return await work(connection)
    except KeyStoreUnavailable as error:
        if not _is_broken(error.__cause__):
            raise
    async with reading(engine) as connection:
        return await work(connection)


async def ping(engine: AsyncEngine) -> None:
    """Raises KeyStoreUnavailable unless the database answers."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(sa.text("SELECT 1"))

    await read(engine, work)


@asynccontextmanager
async def _turn(engine: AsyncEngine) -> AsyncIterator[None]:
    """The turn of a writer of this process, taken before a connection, so that waiting writers cannot use up the pool."""
    lock: asyncio.Lock | None = engine.get_execution_options().get(_WRITE_LOCK)
    if lock is None:
        yield
        return
    async with asyncio.timeout(_LOCK_SECONDS):
        await lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _faults(fault: type[StorageUnavailable]) -> Iterator[None]:
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, OSError) as error:  # asyncio's time-out is an OSError
        if _is_away(error):
            raise fault(f"{type(error).__name__}: {_first_line(error)}") from error
        raise


def is_bad_value(error: Exception) -> bool:
    """Whether the database, or its driver, refused a value as such, so that trying again is in vain."""
    if isinstance(error, sa.exc.DBAPIError):
        # asyncpg calls a value that it cannot encode an interface error, and a ValueError besides. Classes 22 and 23: data
        # and integrity constraints.
        return (
            isinstance(error, sa.exc.DataError | sa.exc.IntegrityError)
            or isinstance(error.orig.__cause__ if error.orig else None, ValueError)
            or _state(error).startswith(("22", "23"))
            # What SQLite says of a sum beyond 64 bits.
            or str(error.orig) == "integer overflow"
        )
    return isinstance(error, ValueError | OverflowError)


def _is_away(error: Exception) -> bool:
    """Whether an error says that the database cannot be used now, rather than that a statement or a value is wrong."""
    if not isinstance(error, sa.exc.DBAPIError) or error.connection_invalidated:
        return True
    if state := _state(error):
        return state.startswith(_AWAY)
    # SQLite says DatabaseError itself for a file that is damaged or is no database.
    named = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) or type(error) is sa.exc.DatabaseError
    return named and not is_bad_value(error)


def _is_broken(error: BaseException | None) -> bool:
    """Whether it was the connection that failed in the middle, so that another may do."""
    return isinstance(error, sa.exc.DBAPIError) and (error.connection_invalidated or _state(error).startswith(_BROKEN))


def _state(error: sa.exc.DBAPIError) -> str:
    """PostgreSQL's code for the error, else the empty text."""
    return getattr(error.orig, "sqlstate", None) or ""


def _first_line(error: Exception) -> str:
    """What the driver said, without the statement and its values, which may be secret."""
    text = str(error.orig) if isinstance(error, sa.exc.DBAPIError) else str(error)
    return text.partition("\n")[0]
