"""How a batch of ledger entries is stored in PostgreSQL, with all that follows from it: in one statement, out of one value.

The value is the whole batch as JSON, which is written in C here and read in C there: rows or columns of parameters would cost
this process several times as much.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from gateway.domain.ledger import Entry
from gateway.storage.sql.engine import AsyncEngine, writing_at_once
from gateway.storage.sql.tables import api_keys, ledger, usage_days, usage_hours
from gateway.storage.sql.usage_hours import roll_up

_encode = msgspec.json.Encoder().encode


async def insert_absent(engine: AsyncEngine, entries: Sequence[Entry]) -> int:
    """Store entries that are absent. Returns how many rows were inserted. Raises also ValueError, OverflowError: a bad value."""
    first = {entry.call_id: entry for entry in reversed(entries)}
    batch = _encode(list(first.values())).decode()
    async with writing_at_once(engine) as connection:
        return (await connection.execute(_INSERT, {"batch": batch})).scalar_one()


def _statement() -> sa.Select[int]:
    """Each part sees the tables as they were before; what they know of each other are the rows that they return.

    Two processes that store the same entries must not block each other. So each part takes its rows in order, and the parts run
    in order: each asks what the one before it returned.
    """
    new = _new_rows()
    hours = roll_up(insert, usage_hours, new).returning(sa.literal(1).label("done")).cte("hours")
    days = roll_up(insert, usage_days, new, _done(hours)).returning(sa.literal(1).label("done")).cte("days")
    used = sa.select(new.c.key_id, sa.func.max(new.c.at).label("at")).group_by(new.c.key_id).subquery("used")
    keys = (
        sa.select(api_keys.c.id, used.c.at)
        .join(used, used.c.key_id == api_keys.c.id)
        .where(sa.func.coalesce(api_keys.c.last_used_at, 0) < used.c.at, _done(days))
        .order_by(api_keys.c.id)
        .with_for_update(of=api_keys, key_share=True)
        .cte("keys")
    )
    use = sa.update(api_keys).where(api_keys.c.id == keys.c.id).values(last_used_at=keys.c.at).cte("use")
    return sa.select(sa.func.count().label("inserted")).select_from(new).add_cte(hours, days, use)


def _new_rows() -> sa.CTE:
    """The part that inserts what is absent, and returns those rows."""
    columns = [sa.column(column.name, column.type) for column in ledger.c]
    json = sa.cast(sa.bindparam("batch", type_=sa.Text()), sa.JSON)
    batch = sa.func.json_to_recordset(json).table_valued(*columns).render_derived("batch", with_types=True)
    rows: Any = insert(ledger).from_select(list(ledger.c), sa.select(*batch.c).order_by(batch.c.call_id))
    new: sa.CTE = rows.on_conflict_do_nothing().returning(*ledger.c).cte("new")
    return new


def _done(part: sa.CTE) -> sa.ColumnElement[bool]:
    """True, once all of a part has run."""
    return sa.select(sa.func.count()).select_from(part).scalar_subquery() >= 0


_INSERT = _statement()
