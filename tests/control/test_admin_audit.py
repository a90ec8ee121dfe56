"""The audit trail."""

from tests.control.admin_api import Control


async def test_newest_first_and_filtered(control: Control) -> None:
    """Changes are listed the newest first, and by action, target and account."""
    workspace = await control.sub_workspace("one")
    await control.patch(f"/workspaces/{workspace}", {"name": "two"})
    other = (await control.post("/accounts", {"name": "other"})).json()["id"]
    await control.put("/models/m", {"rpm": 1})

    async def found(**params: str) -> list[tuple[str, str]]:
        return [(row["action"], row["target"]) for row in (await control.get("/audit", params=params)).json()["data"]]

    everything = [("model.set", "m"), ("account.create", other), ("workspace.rename", workspace), ("workspace.create", workspace)]
    assert await found() == everything
    assert await found(target=workspace) == everything[2:]
    assert await found(action="model.set") == everything[:1]
    assert await found(account_id=control.account_id) == everything[2:]
    assert await found(account_id=control.account_id, action="workspace.create") == everything[3:]
    assert await found(target="nothing") == []


async def test_row_says_who_and_when(control: Control) -> None:
    """A row names the actor, the client's address, the time, and the target before and after."""
    await control.put("/models/m", {"rpm": 1})
    await control.put("/models/m", {"rpm": 2, "vendor": "Acme"})
    row = (await control.get("/audit", params={"limit": 1})).json()["data"][0]
    assert (row["actor"], row["client"], row["account_id"]) == ("admin token", "127.0.0.1", None)
    assert row["at"].startswith("2023-11-14T22:13:20.")
    assert row["before"] == {"type": None, "vendor": None, "rpm": 1, "tpm": None}
    assert row["after"] == {"type": None, "vendor": "Acme", "rpm": 2, "tpm": None}
