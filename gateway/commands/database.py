"""The stores before they are in use: the database's schema, and what faults mean to whoever starts the gateway."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alembic.util import CommandError

from gateway.commands.output import Failure
from gateway.config import Settings
from gateway.domain.faults import StorageUnavailable
from gateway.storage.redis.demands import UnfitRedis
from gateway.storage.sql import upstreams
from gateway.storage.sql.engine import create_engine, reading
from gateway.storage.sql.meta import PepperMismatch
from gateway.storage.sql.migrate import SchemaOutdated, check_revision, upgrade

_REMEDY = "Check GATEWAY_DATABASE_URL, that the database runs, and that the gateway's user may write to it."
_POOLED = "unsupported startup parameter"  # what PgBouncer says to a client that sets anything for its session
_POOLED_REMEDY = "This is a PgBouncer: set GATEWAY_STORAGE_PGBOUNCER (storage.pgbouncer) to true."


@contextmanager
def explained() -> Iterator[None]:
    """Turn the faults of the database, and what Redis lacks, into a Failure with a remedy."""
    try:
        yield
    except StorageUnavailable as error:
        raise _away(error) from None
    except (SchemaOutdated, PepperMismatch) as error:
        raise Failure(str(error)) from None
    except UnfitRedis as error:
        raise Failure(f"Redis cannot be used as it is: {error}") from None


def _away(error: StorageUnavailable) -> Failure:
    return Failure(f"the database cannot be used: {error}", _POOLED_REMEDY if _POOLED in str(error) else _REMEDY)


def migrate(settings: Settings, echo: Callable[[str], None] | None = None) -> None:
    """Apply the migrations that the database lacks. Raises Failure."""
    try:
        with explained():
            pgbouncer = settings.storage.pgbouncer and settings.storage.migrate_database_url is None
            upgrade(settings.migrate_database_url, echo=echo, pgbouncer=pgbouncer)
    except CommandError as error:
        raise Failure(
            f"the database's schema is not known to this version of the gateway : {error}", "Update the gateway."
        ) from None


def bring_up_to_date(settings: Settings) -> None:
    """Migrate the embedded file. Any other database is migrated by `gateway migrate` alone, and only checked when opened."""
    if settings.embedded:
        migrate(settings)


async def check(settings: Settings) -> None:
    """Raises SchemaOutdated; Failure where the database cannot be used."""
    engine = create_engine(settings.database_url, **settings.database_options)
    try:
        await check_revision(engine)
    except StorageUnavailable as error:
        raise _away(error) from None
    finally:
        await engine.dispose()


async def serves_models(settings: Settings) -> bool:
    """Whether the database holds an enabled upstream. Raises Failure."""
    engine = create_engine(settings.database_url, **settings.database_options)
    try:
        with explained():
            await check_revision(engine)
            async with reading(engine) as connection:
                return any(row.upstream.enabled for row in await upstreams.every(connection))
    finally:
        await engine.dispose()
