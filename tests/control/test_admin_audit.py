"""The audit trail."""

from typing import Any

import pytest

from gateway.storage.sql import audit
from gateway.storage.sql.audit import AuditRow
from gateway.storage.sql.engine import AsyncConnection
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


async def everything(control: Control) -> list[Any]:
    """All that the admin API shows, the audit trail included."""
    keys = f"/workspaces/{control.workspace_id}/api-keys"
    paths = ("/accounts", "/workspaces", keys, "/models", "/upstreams", f"/accounts/{control.account_id}/limits", "/audit")
    return [(await control.get(path)).json() for path in paths]


async def test_no_change_without_its_audit_row(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change and its audit row are one transaction: a failure after the audit row leaves neither, and raises no epoch."""
    workspace = await control.sub_workspace()
    key = (await control.post(f"/workspaces/{control.workspace_id}/api-keys", {"description": "kept"})).json()["id"]
    upstream = (await control.post("/upstreams", {"base_url": "http://h", "models": ["u"]})).json()["id"]
    await control.put("/models/m", {"rpm": 9})
    await control.put(f"/workspaces/{workspace}/grants/m", {"rpm": 3})
    await control.put(f"/accounts/{control.account_id}/limits/m", {"rpm": 8})
    before = await everything(control)
    control.epochs.raised.clear()
    insert = audit.insert
    written: list[str] = []

    async def insert_and_fail(conn: AsyncConnection, row: AuditRow) -> None:
        await insert(conn, row)
        written.append(row.action)
        raise RuntimeError("after the audit row")

    monkeypatch.setattr(audit, "insert", insert_and_fail)
    replies = [
        await control.post("/accounts", {"name": "x"}),
        await control.post("/workspaces", {"name": "x"}),
        await control.patch(f"/workspaces/{workspace}", {"name": "x"}),
        await control.post(f"/workspaces/{control.workspace_id}/api-keys", {}),
        await control.patch(f"/api-keys/{key}", {"description": "x"}),
        await control.post(f"/api-keys/{key}/disable"),
        await control.post(f"/api-keys/{key}/reset"),
        await control.delete(f"/api-keys/{key}"),
        await control.put(f"/workspaces/{workspace}/grants/m", {"rpm": 1}),
        await control.delete(f"/workspaces/{workspace}/grants/m"),
        await control.put(f"/accounts/{control.account_id}/limits/m", {"rpm": 1}),
        await control.delete(f"/accounts/{control.account_id}/limits/m"),
        await control.put("/models/m", {"rpm": 1}),
        await control.delete("/models/m"),
        await control.post("/upstreams", {"base_url": "http://h", "models": ["u"]}),
        await control.patch(f"/upstreams/{upstream}", {"weight": 2}),
        await control.delete(f"/upstreams/{upstream}"),
    ]
    assert [reply.status_code for reply in replies] == [500] * len(replies)
    assert len(written) == len(replies) == len(set(written))
    assert control.epochs.raised == []
    assert await everything(control) == before
    assert [row["rpm"] for row in (await control.get(f"/workspaces/{workspace}/grants")).json()["data"]] == [3]
