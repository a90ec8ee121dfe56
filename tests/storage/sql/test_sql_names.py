"""What people call workspaces and keys."""

from gateway.domain.visible import EVERYTHING, Visible
from gateway.storage.sql import names
from gateway.storage.sql.engine import AsyncEngine, reading, writing
from gateway.storage.sql.names import KeyName
from tests.storage.sql.rows import add_account, add_key, add_workspace


async def test_names_by_id(engine: AsyncEngine) -> None:
    """Those that there are have names, however many are asked for at once; those that there are not have none."""
    async with writing(engine) as conn:
        await add_account(conn, "acc-1")
        await add_workspace(conn, "acc-1", "llm-1")
        key = await add_key(conn, "acc-1", "llm-1", b"1" * 32, masked="sk-1****", description="Nightly")
    unknown = [f"ak-{n}" for n in range(1200)]
    async with reading(engine) as conn:
        assert await names.of_workspaces(conn, ["llm-1", *unknown]) == {"llm-1": "llm-1"}
        assert await names.of_keys(conn, [*unknown, key]) == {key: KeyName(key, "sk-1****", "Nightly")}
        assert await names.of_keys(conn, []) == {}


async def test_keys_to_choose_from(engine: AsyncEngine) -> None:
    """Only keys that may be seen are offered, of the place that is asked for, the oldest first, and so many."""
    async with writing(engine) as conn:
        for account, workspace in (("acc-1", "llm-1"), ("acc-1", "llm-2"), ("acc-2", "llm-3")):
            if workspace != "llm-2":
                await add_account(conn, account)
            await add_workspace(conn, account, workspace)
            for n in (2, 1):
                digest = f"{workspace}-{n}".encode().ljust(32)
                await add_key(conn, account, workspace, digest, id=f"{workspace}-{n}", created_at=n)

    async def found(
        visible: Visible, account_id: str | None = None, workspace_id: str | None = None, limit: int = 9
    ) -> list[str]:
        async with reading(engine) as conn:
            rows = await names.keys_within(conn, visible=visible, account_id=account_id, workspace_id=workspace_id, limit=limit)
        return [row.id for row in rows]

    assert await found(EVERYTHING, "acc-1") == ["llm-1-1", "llm-2-1", "llm-1-2", "llm-2-2"]
    assert await found(EVERYTHING, "acc-1", limit=3) == ["llm-1-1", "llm-2-1", "llm-1-2"]
    assert await found(EVERYTHING, "acc-1", "llm-2") == ["llm-2-1", "llm-2-2"]
    assert await found(Visible(workspaces=frozenset({"llm-2"})), "acc-1") == ["llm-2-1", "llm-2-2"]
    assert await found(Visible(workspaces=frozenset({"llm-2"})), "acc-2") == []
