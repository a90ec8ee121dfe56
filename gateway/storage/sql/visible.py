"""The condition that leaves, of a table's rows, those that somebody may see."""

from typing import Any

import sqlalchemy as sa

from gateway.domain.visible import Visible
from gateway.storage.sql.tables import accounts, workspaces


def visible_to(table: sa.Table, visible: Visible) -> sa.ColumnElement[bool]:
    """Rows of `table` whose account or whose workspace is `visible`; nothing where a row names neither.

    An account is its own, and so is a workspace. Each half has an index of its own in the large tables, which both databases put
    together. Raises KeyError where the table names no account.
    """
    if visible.everything:
        return sa.true()
    halves: list[sa.ColumnElement[bool]] = []
    if visible.accounts:
        halves.append(_account(table).in_(sorted(visible.accounts)))
    workspace = _workspace(table)
    if visible.workspaces and workspace is not None:
        halves.append(workspace.in_(sorted(visible.workspaces)))
    return sa.or_(*halves) if halves else sa.false()


def _account(table: sa.Table) -> sa.ColumnElement[Any]:
    return table.c.id if table is accounts else table.c.account_id


def _workspace(table: sa.Table) -> sa.ColumnElement[Any] | None:
    return table.c.id if table is workspaces else table.c.get("workspace_id")
