"""Roll-ups of the ledger: sums by hour, and by day of UTC, account, workspace, key and model.

They are raised in the transaction that inserts the rows, by rows that were really inserted and no others, so that they are at
every moment what the sums over those rows would say. They stay when the rows are deleted.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from gateway.storage.sql.tables import ledger, usage_days, usage_hours

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

_SPANS = {usage_hours: HOUR_MS, usage_days: DAY_MS}


def sums_over(rows: sa.FromClause) -> dict[str, sa.ColumnElement[int]]:
    """The sums of a roll-up, by the names of its columns, over rows of the ledger."""
    return {
        "calls": sa.func.count(),
        "failures": _count(rows.c.outcome != "ok"),
        "input_tokens": sa.func.sum(rows.c.input_tokens),
        "output_tokens": sa.func.sum(rows.c.output_tokens),
        "cached_tokens": sa.func.sum(rows.c.cached_tokens),
        "estimated_calls": _count(rows.c.estimated),
        "timed_calls": sa.func.count(rows.c.ttft_ms),
        "ttft_ms": sa.func.coalesce(sa.func.sum(rows.c.ttft_ms), 0),
        "duration_ms": sa.func.sum(rows.c.duration_ms),
    }


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


SUMS = tuple(sums_over(ledger))
"""The summed columns of `usage_hours` and `usage_days`."""


def roll_up(insert: Callable[[sa.Table], Any], table: sa.Table, rows: sa.FromClause, *when: sa.ColumnElement[bool]) -> Any:
    """The statement that adds rows of the ledger to the sums of `usage_hours` or `usage_days`; `insert` is the dialect's.

    It raises the sums in one order everywhere, so that two processes cannot block each other.
    """
    keys = list(table.primary_key)
    # The number is written out, so that PostgreSQL sees one expression where it stands twice.
    start = rows.c.at - rows.c.at % sa.literal_column(str(_SPANS[table]), sa.BigInteger)
    group = [start.label(keys[0].name), *(rows.c[key.name] for key in keys[1:])]
    sums = sums_over(rows)
    summed = sa.select(*group, *sums.values()).where(*when).group_by(*group).order_by(*group)
    upsert = insert(table).from_select([*(key.name for key in keys), *sums], summed)
    added = {name: table.c[name] + upsert.excluded[name] for name in sums}
    return upsert.on_conflict_do_update(index_elements=keys, set_=added)
