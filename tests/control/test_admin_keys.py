"""API keys through the admin API."""

import asyncio
import logging
import sqlite3
from pathlib import Path

import pytest

from gateway.control.context import Caller
from gateway.control.services import keys as service
from gateway.domain.credentials import KeyKind, digest, kind_of, mask
from gateway.domain.roles import operator
from tests.control.admin_api import Control


def stored_bytes(tmp_path: Path) -> bytes:
    return b"".join(path.read_bytes() for path in tmp_path.glob("gateway.db*"))


def digests(tmp_path: Path) -> list[bytes]:
    with sqlite3.connect(tmp_path / "gateway.db") as database:
        rows = database.execute("SELECT digest FROM api_keys").fetchall()
    database.close()
    return [bytes(row[0]) for row in rows]


async def make(control: Control, **body: object) -> dict[str, str]:
    reply = await control.post(f"/workspaces/{control.workspace_id}/api-keys", body)
    assert reply.status_code == 201, reply.text
    row: dict[str, str] = reply.json()
    return row


async def test_key_is_made(control: Control, tmp_path: Path) -> None:
    """The 201 holds a well-formed key whose digest, and nothing else of it, is stored."""
    reply = await control.post(f"/workspaces/{control.workspace_id}/api-keys", {"description": "ci", "models": ["b", "a", "a"]})
    assert reply.status_code == 201
    assert reply.headers["cache-control"] == "no-store"
    row = reply.json()
    assert kind_of(row["key"]) is KeyKind.STANDARD
    assert row["masked"] == mask(row["key"])
    assert (row["status"], row["kind"], row["description"], row["models"]) == ("active", "sk-", "ci", ["a", "b"])
    assert (row["workspace_id"], row["account_id"]) == (control.workspace_id, control.account_id)
    assert (row["last_used_at"], row["reset_at"]) == (None, None)
    assert digests(tmp_path) == [digest(row["key"], b"pepper-of-the-tests")]


async def test_plaintext_appears_once(control: Control, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After the reply that creates it, no GET, no audit row, no log line and no byte of the database holds the key."""
    caplog.set_level(logging.DEBUG)
    row = await make(control, description="secret one")
    new = (await control.post(f"/api-keys/{row['id']}/reset")).json()
    assert new["key"] != row["key"]
    pages = [
        await control.get(f"/workspaces/{control.workspace_id}/api-keys"),
        await control.get(f"/api-keys/{row['id']}"),
        await control.patch(f"/api-keys/{row['id']}", {"description": "x"}),
        await control.post(f"/api-keys/{row['id']}/disable"),
        await control.post(f"/api-keys/{row['id']}/enable"),
        await control.get("/workspaces"),
        await control.get("/audit"),
    ]
    seen = "".join(page.text for page in pages) + caplog.text
    stored = stored_bytes(tmp_path)
    for key in (row["key"], new["key"]):
        assert key not in seen
        assert key[8:30] not in seen
        assert key.encode() not in stored
    assert new["masked"] in seen


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"description": "x" * 201}, "description"),
        ({"description": None}, "description"),
        ({"models": []}, "models"),
        ({"models": ["a", ""]}, "models.1"),
        ({"kind": "sk-sp-"}, "kind"),
        ([], "body"),
    ],
)
async def test_bad_key_bodies_are_400(control: Control, body: object, param: str) -> None:
    """What is no description or list of models is refused with the field named, and nothing is made."""
    reply = await control.post(f"/workspaces/{control.workspace_id}/api-keys", body)
    assert reply.status_code == 400
    assert [error["param"] for error in reply.json()["errors"]] == [param]
    assert (await control.get(f"/workspaces/{control.workspace_id}/api-keys")).json()["data"] == []


async def test_keys_of_unknown_workspace(control: Control) -> None:
    """Keys are neither made nor listed for a workspace that does not exist."""
    assert (await control.post("/workspaces/llm-none/api-keys", {})).status_code == 404
    assert (await control.get("/workspaces/llm-none/api-keys")).status_code == 404


async def test_search_by_id(control: Control) -> None:
    """A part of a key's ID finds it among the workspace's keys."""
    rows = [await make(control) for _ in range(3)]
    wanted = rows[1]["id"]
    reply = await control.get(f"/workspaces/{control.workspace_id}/api-keys", params={"id": wanted[5:15].upper()})
    assert [row["id"] for row in reply.json()["data"]] == [wanted]


async def test_only_description_changes(control: Control) -> None:
    """PATCH takes the description; any other field is refused with a text that says so, and changes nothing."""
    row = await make(control, description="old")
    assert (await control.patch(f"/api-keys/{row['id']}", {"description": "new"})).json()["description"] == "new"
    reply = await control.patch(f"/api-keys/{row['id']}", {"description": "newer", "status": "disabled"})
    assert reply.status_code == 400
    assert "Only the description" in reply.json()["detail"]
    assert reply.json()["errors"][0]["param"] == "status"
    now = (await control.get(f"/api-keys/{row['id']}")).json()
    assert (now["description"], now["status"]) == ("new", "active")


async def test_disable_and_enable(control: Control) -> None:
    """A key can be disabled and enabled; each raises the account's epoch; doing it twice is harmless and audited once."""
    row = await make(control)
    for _ in range(2):
        assert (await control.post(f"/api-keys/{row['id']}/disable")).json()["status"] == "disabled"
    assert (await control.get(f"/api-keys/{row['id']}")).json()["status"] == "disabled"
    assert (await control.post(f"/api-keys/{row['id']}/enable")).json()["status"] == "active"
    assert await control.actions() == ["key.enable", "key.disable", "key.create"]
    assert [account for account, _ in control.epochs.raised] == [control.account_id] * 4
    epochs = [epoch for _, epoch in control.epochs.raised]
    assert epochs == sorted(set(epochs))


async def test_reset(control: Control, tmp_path: Path) -> None:
    """A reset gives a new secret once and says when; the ID, description and models stay; the old digest is gone."""
    row = await make(control, description="d", models=["a"])
    reply = await control.post(f"/api-keys/{row['id']}/reset")
    new = reply.json()
    assert (reply.status_code, new["id"], new["description"], new["models"]) == (200, row["id"], "d", ["a"])
    assert digests(tmp_path) == [digest(new["key"], b"pepper-of-the-tests")]
    assert row["created_at"] < new["reset_at"]
    assert (await control.get(f"/api-keys/{row['id']}")).json()["reset_at"] == new["reset_at"]


async def test_delete_is_final(control: Control, tmp_path: Path) -> None:
    """After the 204 the key is gone, a second delete is a 404, and the epoch was raised before the answer."""
    row = await make(control)
    control.epochs.raised.clear()
    assert (await control.delete(f"/api-keys/{row['id']}")).status_code == 204
    assert [account for account, _ in control.epochs.raised] == [control.account_id]
    assert digests(tmp_path) == []
    for reply in (
        await control.get(f"/api-keys/{row['id']}"),
        await control.delete(f"/api-keys/{row['id']}"),
        await control.post(f"/api-keys/{row['id']}/enable"),
        await control.post(f"/api-keys/{row['id']}/reset"),
        await control.patch(f"/api-keys/{row['id']}", {"description": ""}),
    ):
        assert reply.status_code == 404


async def test_twenty_keys_under_concurrency(control: Control) -> None:
    """Of 30 keys asked for at once exactly 20 are made; the others get a 409 with the count; a delete makes room."""
    path = f"/workspaces/{control.workspace_id}/api-keys"
    replies = await asyncio.gather(*(control.post(path, {}) for _ in range(30)))
    assert sorted(reply.status_code for reply in replies) == [201] * 20 + [409] * 10
    refused = next(reply.json() for reply in replies if reply.status_code == 409)
    assert "20 of at most 20 API keys" in refused["detail"]
    made = next(reply.json()["id"] for reply in replies if reply.status_code == 201)
    await control.delete(f"/api-keys/{made}")
    assert (await control.post(path, {})).status_code == 201
    assert (await control.post(path, {})).status_code == 409


async def test_plan_keys_are_made_in_process(control: Control) -> None:
    """The service makes keys of any kind; a reset keeps the kind."""
    caller = Caller(operator("test", "test"))
    issued = await service.create(control.services, caller, control.workspace_id, kind=KeyKind.PLAN)
    assert issued.text is not None
    assert issued.text.startswith("sk-sp-")
    assert issued.text not in repr(issued)
    again = await service.reset(control.services, caller, issued.row.id)
    assert again.text is not None
    assert kind_of(again.text) is KeyKind.PLAN
