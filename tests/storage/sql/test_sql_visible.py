"""The condition on rows that somebody may see."""

import pytest
import sqlalchemy as sa

from gateway.domain.visible import EVERYTHING, Visible
from gateway.storage.sql.engine import AsyncEngine, reading, writing
from gateway.storage.sql.tables import accounts, audit, limit_increases, workspaces
from gateway.storage.sql.visible import visible_to
from tests.storage.sql.rows import add_account, add_workspace

_ONE_OF_EACH = Visible(accounts=frozenset({"acc-1"}), workspaces=frozenset({"llm-3"}))


@pytest.fixture
async def engine(engine: AsyncEngine) -> AsyncEngine:
    """Two accounts of two workspaces, and a line of the audit trail of each, of an account alone, and of neither."""
    async with writing(engine) as conn:
        for account, first in (("acc-1", 1), ("acc-2", 3)):
            await add_account(conn, account)
            for number in (first, first + 1):
                await add_workspace(conn, account, f"llm-{number}")
        line = {"at": 0, "actor": "a", "action": "a", "target": "a"}
        trail = [("acc-1", "llm-1"), ("acc-1", None), ("acc-2", "llm-3"), ("acc-2", "llm-4"), (None, None)]
        for number, (owner, workspace) in enumerate(trail, 1):
            await conn.execute(sa.insert(audit).values(id=str(number), account_id=owner, workspace_id=workspace, **line))
    return engine


@pytest.mark.parametrize(
    ("visible", "table", "found"),
    [
        (EVERYTHING, audit, "1 2 3 4 5"),
        (Visible(), audit, ""),
        (Visible(accounts=frozenset({"acc-1"})), audit, "1 2"),
        (Visible(workspaces=frozenset({"llm-1"})), audit, "1"),
        (_ONE_OF_EACH, audit, "1 2 3"),
        (_ONE_OF_EACH, workspaces, "llm-1 llm-2 llm-3"),
        (_ONE_OF_EACH, accounts, "acc-1"),
        (Visible(workspaces=frozenset({"acc-1"})), accounts, ""),
        (Visible(accounts=frozenset({"acc-9"}), workspaces=frozenset({"llm-9"})), audit, ""),
    ],
)
async def test_only_what_is_visible_is_found(engine: AsyncEngine, visible: Visible, table: sa.Table, found: str) -> None:
    """Nobody sees rows of an account or a workspace that they were not given, nor those that belong to none."""
    async with reading(engine) as conn:
        rows = await conn.scalars(sa.select(table.c.id).where(visible_to(table, visible)).order_by(table.c.id))
        assert rows.all() == found.split()


def test_a_table_without_workspaces_shows_accounts_alone() -> None:
    """Who may see a workspace does not thereby see what belongs to its account."""
    assert str(visible_to(limit_increases, Visible(workspaces=frozenset({"llm-1"})))) == "false"
