"""Storing ledger entries: each once by call ID, with all that follows from it, in one transaction a batch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.domain.ledger import Entry
from gateway.storage.sql.absent import insert_if_absent
from gateway.storage.sql.engine import is_bad_value, writing
from gateway.storage.sql.tables import api_keys, ledger
from gateway.storage.sql.usage_hours import roll_up

_NAMES = Entry.__struct_fields__
_values = attrgetter(*_NAMES)
_call_id = attrgetter("call_id")
_USED = (
    sa.update(api_keys)
    .where(api_keys.c.id == sa.bindparam("key"), sa.func.coalesce(api_keys.c.last_used_at, 0) < sa.bindparam("used"))
    .values(last_used_at=sa.bindparam("used"))
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch: `inserted` counts rows that were not there yet, `refused` holds what can never be stored."""

    inserted: int
    refused: Sequence[Entry] = ()

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(self.inserted + other.inserted, (*self.refused, *other.refused))


async def store(engine: AsyncEngine, entries: Sequence[Entry]) -> Stored:
    """Store entries that are absent, raise the roll-ups by those, and the keys' times of last use. For some 500 at a time.

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
            _log.exception("the ledger entry of call %s cannot be stored", entries[0].call_id)
            return Stored(0, entries)
    half = len(entries) // 2
    return await store(engine, entries[:half]) + await store(engine, entries[half:])


async def _insert(engine: AsyncEngine, entries: Sequence[Entry]) -> int:
    absent: dict[str, Entry] = {}
    used: dict[str, int] = {}
    for entry in entries:
        absent.setdefault(entry.call_id, entry)
        used[entry.key_id] = max(entry.at, used.get(entry.key_id, 0))
    async with writing(engine) as connection:
        # Each table in one order everywhere, so that two processes that store the same entries cannot block each other.
        inserted = await _insert_absent(connection, sorted(absent.values(), key=_call_id))
        await roll_up(connection, [absent[call_id] for call_id in inserted])
        await connection.execute(_USED, [{"key": key, "used": used[key]} for key in sorted(used)])
    return len(inserted)


async def _insert_absent(connection: AsyncConnection, entries: Sequence[Entry]) -> Sequence[str]:
    """The call IDs of those that were inserted; the others are in the table already."""
    rows = [dict(zip(_NAMES, _values(entry), strict=True)) for entry in entries]
    insert = insert_if_absent(connection, ledger).returning(ledger.c.call_id)
    return (await connection.scalars(insert, rows)).all()
