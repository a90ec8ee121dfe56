"""Roll-ups of the ledger: sums by hour, and by day of UTC, account, workspace, key and model.

They are raised in the transaction that inserts the rows, by rows that were really inserted and no others, so that they are at
every moment what the sums over those rows would say. They stay when the rows are deleted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.domain.ledger import Entry
from gateway.storage.sql.tables import usage_days, usage_hours

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

_Group = tuple[int, str, str, str, str]


@dataclass(slots=True)
class _Sums:
    calls: int = 0
    failures: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    estimated_calls: int = 0
    timed_calls: int = 0
    ttft_ms: int = 0
    duration_ms: int = 0

    def add(self, entry: Entry) -> None:
        self.calls += 1
        self.failures += entry.outcome != "ok"
        self.input_tokens += entry.input_tokens
        self.output_tokens += entry.output_tokens
        self.cached_tokens += entry.cached_tokens
        self.estimated_calls += entry.estimated
        self.timed_calls += entry.ttft_ms is not None
        self.ttft_ms += entry.ttft_ms or 0
        self.duration_ms += entry.duration_ms


SUMS = tuple(field.name for field in fields(_Sums))
"""The summed columns of `usage_hours` and `usage_days`."""


async def roll_up(connection: AsyncConnection, entries: Sequence[Entry]) -> None:
    """Add entries, each inserted in this very transaction, to the sums of their hours and of their days."""
    for table, span in ((usage_hours, HOUR_MS), (usage_days, DAY_MS)):
        groups: dict[_Group, _Sums] = {}
        for entry in entries:
            group = (entry.at - entry.at % span, entry.account_id, entry.workspace_id, entry.key_id, entry.model)
            groups.setdefault(group, _Sums()).add(entry)
        if groups:
            keys = [column.name for column in table.primary_key]
            # In one order everywhere, so that two processes cannot block each other.
            rows = [_row(keys, group, groups[group]) for group in sorted(groups)]
            await connection.execute(_upsert(connection, table), rows)


def _row(keys: Sequence[str], group: _Group, sums: _Sums) -> dict[str, Any]:
    return dict(zip(keys, group, strict=True)) | {name: getattr(sums, name) for name in SUMS}


def _upsert(connection: AsyncConnection, table: sa.Table) -> sa.Insert:
    build: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    insert = build(table)
    added = {name: table.c[name] + insert.excluded[name] for name in SUMS}
    upsert: sa.Insert = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
    return upsert
