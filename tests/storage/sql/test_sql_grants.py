"""How often models are granted."""

from gateway.storage.sql import grants
from gateway.storage.sql.engine import AsyncEngine, reading, writing
from tests.storage.sql.rows import add_account, add_grant, add_workspace


async def test_grants_are_counted_by_model(engine: AsyncEngine) -> None:
    """Each model's workspaces are counted, of the models that are asked for: a few, or more than a statement takes values."""
    async with writing(engine) as conn:
        await add_account(conn, "acc-1")
        for workspace in ("llm-1", "llm-2"):
            await add_workspace(conn, "acc-1", workspace)
            await add_grant(conn, workspace, "both", None, None)
        await add_grant(conn, "llm-1", "one", None, None)
    unknown = [f"model-{n}" for n in range(40_000)]
    async with reading(engine) as conn:
        assert await grants.count_by_model(conn, []) == {}
        assert await grants.count_by_model(conn, ["both", "none"]) == {"both": 2}
        assert await grants.count_by_model(conn, ["one", "both", *unknown]) == {"both": 2, "one": 1}
        assert await grants.count_by_model(conn, ["one", *unknown]) == {"one": 1}
