"""How a batch of ledger entries is stored in SQLite, with all that follows from it: many rows a statement.

With each statement that is run a thread gives Python's lock away, and gets it back only when the event loop lets go of it; so
that a statement for each row would slow down both. (As one value of JSON, a batch would take SQLite three times as long.)
"""

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain

import sqlalchemy as sa
from msgspec.structs import astuple
from sqlalchemy.dialects import sqlite

from gateway.domain.ledger import Entry
from gateway.storage.sql.engine import AsyncEngine, write_at_once
from gateway.storage.sql.tables import api_keys, ledger, usage_days, usage_hours
from gateway.storage.sql.usage_hours import roll_up

_NAMES = Entry.__struct_fields__
_MOST = 128
"""Rows of a statement. More would save little, and keep the event loop waiting while their values are handed over."""


async def insert_absent(engine: AsyncEngine, entries: Sequence[Entry]) -> int:
    """Store entries that are absent. Returns how many rows were inserted. Raises also ValueError, OverflowError: a bad value."""

    def work(database: sqlite3.Connection) -> int:
        inserted = at = 0
        while at < len(entries):
            rows = min(_MOST, 1 << (len(entries) - at).bit_length() - 1)
            values = tuple(chain.from_iterable(map(astuple, entries[at : at + rows])))
            inserted += database.execute(_insert(rows), values).rowcount
            at += rows
        if inserted:
            for statement in _FOLLOWING:
                database.execute(statement, (inserted,))
        return inserted

    return await write_at_once(engine, work)


@cache
def _insert(rows: int) -> str:
    """The statement for so many rows. Only powers of two are asked for, so that a connection remembers all of them."""
    row = f"({', '.join('?' * len(_NAMES))})"
    return f"INSERT INTO ledger ({', '.join(_NAMES)}) VALUES {', '.join([row] * rows)} ON CONFLICT DO NOTHING"  # noqa: S608


def _following() -> list[str]:
    """The statements for the roll-ups and the keys once rows are inserted; their one parameter is how many rows.

    Nobody else writes meanwhile, so these rows are the ones with the highest row IDs.
    """
    last = sa.text("ledger.rowid > (SELECT max(rowid) FROM ledger) - ?")
    new = sa.select(ledger).where(last).subquery("new")
    used = sa.select(new.c.key_id, sa.func.max(new.c.at).label("at")).group_by(new.c.key_id).subquery("used")
    use = (
        sa.update(api_keys)
        .where(api_keys.c.id == used.c.key_id, sa.func.coalesce(api_keys.c.last_used_at, 0) < used.c.at)
        .values(last_used_at=used.c.at)
    )
    # SQLite takes the ON of ON CONFLICT for that of a join, unless a WHERE stands before it.
    statements = [*(roll_up(sqlite.insert, table, new, sa.true()) for table in (usage_hours, usage_days)), use]
    return [str(each.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})) for each in statements]


_FOLLOWING = _following()
