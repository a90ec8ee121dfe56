"""Facts about the database as a whole."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.storage.sql.absent import insert_if_absent
from gateway.storage.sql.engine import reading, writing
from gateway.storage.sql.tables import meta

_PEPPER = "pepper_fingerprint"
_READ = sa.select(meta.c.value).where(meta.c.name == _PEPPER)


class PepperMismatch(Exception):  # noqa: N818 — says what is wrong
    """The pepper at hand is not the one that the stored keys were digested with; the message says the remedy."""


async def pepper_in_use(engine: AsyncEngine) -> str | None:
    """The fingerprint of the pepper that the stored keys were digested with; None before the first start.

    Raises KeyStoreUnavailable.
    """
    async with reading(engine) as connection:
        found: str | None = (await connection.execute(_READ)).scalar_one_or_none()
    return found


async def check_pepper(engine: AsyncEngine, fingerprint: str) -> None:
    """Store the pepper's fingerprint the first time, and compare it from then on. Raises PepperMismatch, StorageUnavailable."""
    stored = await pepper_in_use(engine)
    if stored is None:
        async with writing(engine) as connection:
            await connection.execute(insert_if_absent(connection, meta).values(name=_PEPPER, value=fingerprint))
            # Another process may have been first, with another pepper.
            stored = (await connection.execute(_READ)).scalar_one()
    compare_peppers(stored, fingerprint)


def compare_peppers(stored: str, fingerprint: str) -> None:
    """Raises PepperMismatch unless the fingerprints are of one pepper."""
    if stored != fingerprint:
        raise PepperMismatch(
            "The key pepper is not the one that this database was first started with, so none of its API keys would be "
            "recognised. Put the former pepper back (GATEWAY_KEY_PEPPER, or the pepper's file in the data folder), or name "
            "another database."
        )
