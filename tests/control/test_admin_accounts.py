"""Accounts and workspaces through the admin API."""

import asyncio

import pytest

from tests.control.admin_api import Control


async def test_account_is_made_with_default_workspace(control: Control) -> None:
    """A new account has exactly one workspace, its default one."""
    made = await control.post("/accounts", {"name": "  Acme  "})
    assert made.status_code == 201
    account = made.json()
    assert account["name"] == "Acme"
    assert not account["is_default"]
    listed = (await control.get("/workspaces", params={"account_id": account["id"]})).json()["data"]
    assert [(row["id"], row["is_default"]) for row in listed] == [(account["default_workspace_id"], True)]
    assert (await control.get(f"/accounts/{account['id']}")).json()["name"] == "Acme"
    assert await control.actions() == ["account.create"]


async def test_accounts_are_listed_in_order(control: Control) -> None:
    """The default account comes first, then the others as they were made."""
    for name in ("b", "a"):
        await control.post("/accounts", {"name": name})
    body = (await control.get("/accounts")).json()
    assert [row["name"] for row in body["data"]] == ["Default", "b", "a"]
    assert body["next_cursor"] is None


@pytest.mark.parametrize("path", ["/accounts/acc-none", "/workspaces/llm-none", "/api-keys/ak-none", "/upstreams/up-none"])
async def test_unknown_ids_are_404(control: Control, path: str) -> None:
    """An ID that does not exist is a 404 with a text that says what is missing."""
    reply = await control.get(path)
    assert reply.status_code == 404
    assert "There is no" in reply.json()["detail"]


async def test_workspace_belongs_to_default_account_unless_named(control: Control) -> None:
    """Without `account_id` a workspace is the default account's; with it, that account's."""
    mine = (await control.post("/workspaces", {"name": "mine"})).json()
    assert (mine["account_id"], mine["is_default"], mine["key_count"]) == (control.account_id, False, 0)
    assert mine["id"].startswith("llm-")
    assert mine["created_at"].endswith("Z")
    other = (await control.post("/accounts", {"name": "other"})).json()["id"]
    theirs = (await control.post("/workspaces", {"name": "theirs", "account_id": other})).json()
    assert theirs["account_id"] == other
    assert (await control.post("/workspaces", {"name": "x", "account_id": "acc-none"})).status_code == 404


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "   "}, {"name": "x" * 31}, {"name": 5}, {"name": "a\u0000"}, {"name": "a", "id": "x"}]
)
async def test_bad_workspace_bodies_are_400(control: Control, body: dict[str, object]) -> None:
    """What is no name of 1 to 30 characters, or more than a name, is refused with the field named."""
    reply = await control.post("/workspaces", body)
    assert reply.status_code == 400
    assert reply.json()["errors"][0]["param"] in {"name", "id"}
    assert len((await control.get("/workspaces")).json()["data"]) == 1


async def test_workspaces_are_found_by_name_and_id(control: Control) -> None:
    """`q` finds a part of the name or of the ID in any case, and takes wildcards of SQL for what they are."""
    research = (await control.post("/workspaces", {"name": "Research 100%"})).json()["id"]
    await control.post("/workspaces", {"name": "Sales"})

    async def found(q: str) -> list[str]:
        return [row["name"] for row in (await control.get("/workspaces", params={"q": q})).json()["data"]]

    assert await found("search") == ["Research 100%"]
    assert await found("0%") == ["Research 100%"]
    assert await found("%") == ["Research 100%"]
    assert await found(research[6:].upper()) == ["Research 100%"]
    assert await found("nothing") == []


async def test_rename(control: Control) -> None:
    """A sub-workspace can be renamed; its ID stays."""
    workspace = await control.sub_workspace("old")
    reply = await control.patch(f"/workspaces/{workspace}", {"name": "new"})
    assert (reply.status_code, reply.json()["name"], reply.json()["id"]) == (200, "new", workspace)
    assert (await control.get(f"/workspaces/{workspace}")).json()["name"] == "new"
    row = (await control.get("/audit", params={"action": "workspace.rename"})).json()["data"][0]
    assert (row["before"], row["after"], row["target"]) == ({"name": "old"}, {"name": "new"}, workspace)


async def test_default_workspace_cannot_be_modified_or_deleted(control: Control) -> None:
    """The default workspace is neither renamed (409) nor deleted, and no workspace ever is (405)."""
    reply = await control.patch(f"/workspaces/{control.workspace_id}", {"name": "new"})
    assert reply.status_code == 409
    assert "cannot be modified" in reply.json()["detail"]
    assert (await control.get(f"/workspaces/{control.workspace_id}")).json()["name"] == "Default Workspace"
    reply = await control.delete(f"/workspaces/{control.workspace_id}")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, PATCH")
    assert "never deleted" in reply.json()["detail"]


async def test_twenty_workspaces_under_concurrency(control: Control) -> None:
    """Of 30 workspaces asked for at once, exactly those are made that bring the account to 20; the others get a clear 409."""
    replies = await asyncio.gather(*(control.post("/workspaces", {"name": f"w{n}"}) for n in range(30)))
    assert sorted(reply.status_code for reply in replies) == [201] * 19 + [409] * 11
    refused = next(reply.json() for reply in replies if reply.status_code == 409)
    assert refused["error"]["code"] == "limit_reached"
    assert "20 of at most 20 workspaces" in refused["detail"]
    assert len((await control.get("/workspaces")).json()["data"]) == 20


async def test_key_count(control: Control) -> None:
    """A workspace says how many keys it has."""
    await control.post(f"/workspaces/{control.workspace_id}/api-keys", {})
    assert (await control.get(f"/workspaces/{control.workspace_id}")).json()["key_count"] == 1
