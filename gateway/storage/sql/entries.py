"""Storing ledger entries: each once by call ID, with all that follows from it, in one transaction a batch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.domain.ledger import Entry
from gateway.storage.sql import entries_postgres, entries_sqlite
from gateway.storage.sql.engine import is_bad_value

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch: `inserted` counts rows that were not there yet, `refused` holds what can never be stored."""

    inserted: int
    refused: Sequence[Entry] = ()

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(self.inserted + other.inserted, (*self.refused, *other.refused))


async def store(engine: AsyncEngine, entries: Sequence[Entry]) -> Stored:
    """Store entries that are absent, raise the roll-ups by those, and the keys' times of last use. For some 2,000 at a time.

    An entry with a value that the database refuses is left out, logged and answered as `refused`; the others are stored. Raises
    StorageUnavailable, and what else the database says of the schema; a part may be stored by then, and storing all of it again
    changes nothing. Of entries with one call ID, in one batch or over time, the first that is stored stays.
    """
    if not entries:
        return Stored(0)
    try:
        return Stored(await _insert(engine, entries))
    except Exception as error:  # whatever is no bad value is raised again
        if not is_bad_value(error):
            raise
        if len(entries) == 1:
            _log.exception(
                "the ledger entry of call %s cannot be stored", entries[0].call_id, extra={"request_id": entries[0].call_id}
            )
            return Stored(0, entries)
    half = len(entries) // 2
    return await store(engine, entries[:half]) + await store(engine, entries[half:])


async def _insert(engine: AsyncEngine, entries: Sequence[Entry]) -> int:
    if engine.dialect.name == "sqlite":
        return await entries_sqlite.insert_absent(engine, entries)
    return await entries_postgres.insert_absent(engine, entries)
