"""Keys that are created with an Idempotency-Key: once, however often the request is sent."""

import asyncio
import uuid
from pathlib import Path

import httpx2
import pytest

from gateway.control.context import Caller
from gateway.control.problems import Forbidden
from gateway.control.services import keys
from gateway.domain.credentials import kind_of
from gateway.domain.roles import INSTALLATION, Identity, Membership, Place, Role
from tests.control.admin_api import Control

DAY_MS = 24 * 3_600_000


async def create(control: Control, key: str | bytes, body: object = None, workspace_id: str = "") -> httpx2.Response:
    path = f"/admin/v1/workspaces/{workspace_id or control.workspace_id}/api-keys"
    name: str | bytes = "idempotency-key" if isinstance(key, str) else b"idempotency-key"
    return await control.http.post(path, json=body or {"description": "ci"}, headers=[(name, key)])  # type: ignore[arg-type]


async def count(control: Control) -> int:
    return len((await control.get(f"/workspaces/{control.workspace_id}/api-keys")).json()["data"])


async def test_a_repeat_makes_nothing(control: Control) -> None:
    """A repeated creation answers 200 with the key that was made, says that it is a repeat, and shows no secret."""
    first = await create(control, "a-1")
    again = await create(control, "a-1")
    assert (first.status_code, again.status_code) == (201, 200)
    made = first.json()
    assert kind_of(made["key"]) is not None
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == {**made, "key": None}
    assert await count(control) == 1
    assert await control.actions() == ["key.create"]


async def test_the_row_is_as_it_is_now(control: Control) -> None:
    """A repeat shows the key of this moment, not of when it was made."""
    made = (await create(control, "a-1")).json()
    await control.post(f"/api-keys/{made['id']}/disable")
    assert (await create(control, "a-1")).json()["status"] == "disabled"


async def test_twenty_requests_at_once_make_one_key(control: Control) -> None:
    """Of equal requests that arrive together one makes a key and shows it; the others answer that it was made."""
    replies = await asyncio.gather(*(create(control, "together") for _ in range(20)))
    assert sorted(reply.status_code for reply in replies) == [200] * 19 + [201]
    assert sum(reply.json()["key"] is not None for reply in replies) == 1
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert await count(control) == 1


async def test_another_body_is_refused(control: Control) -> None:
    """One Idempotency-Key names one request: with another body it is a 422; fields that say the same are the same."""
    assert (await create(control, "a-1", {"description": "ci", "models": ["b", "a"]})).status_code == 201
    for body in ({"description": "other", "models": ["a", "b"]}, {"description": "ci"}, {"description": "ci", "models": ["a"]}):
        reply = await create(control, "a-1", body)
        assert reply.status_code == 422
        assert reply.json()["error"]["code"] == "idempotency_key_reused"
    assert (await create(control, "a-1", {"models": ["a", "b", "a"], "description": "ci"})).status_code == 200
    assert await count(control) == 1


async def test_each_sender_and_workspace_has_its_own(control: Control) -> None:
    """The same value from somebody else, or for another workspace, is another key."""
    assert (await create(control, "a-1")).status_code == 201
    assert (await create(control, "a-1", workspace_id=await control.sub_workspace())).status_code == 201
    for user_id in ("usr-1", "usr-2"):
        caller = Caller(Identity(user_id, f"{user_id}@example.com", user_id, (Membership(Role.OPERATOR, INSTALLATION),)))
        issued = await keys.create(control.services, caller, control.workspace_id, description="ci", idempotency_key="a-1")
        assert issued.text is not None
    assert await count(control) == 3


async def test_a_deleted_key_is_not_made_again(control: Control) -> None:
    """A repeat after the key was deleted is a 409, and makes no key."""
    made = (await create(control, "a-1")).json()
    await control.delete(f"/api-keys/{made['id']}")
    reply = await create(control, "a-1")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")
    assert "new Idempotency-Key" in reply.json()["detail"]
    assert await count(control) == 0


async def test_keys_are_forgotten_after_a_day(control: Control) -> None:
    """A day later the same value makes a new key, also with another body; a moment before it does not."""
    assert (await create(control, "a-1")).status_code == 201
    control.clock.now += DAY_MS - 1000
    assert (await create(control, "a-1")).status_code == 200
    control.clock.now += 2000
    assert (await create(control, "a-1", {"description": "next"})).status_code == 201
    assert await count(control) == 2


async def test_a_refused_request_takes_nothing(control: Control) -> None:
    """A request that is refused leaves its Idempotency-Key free: once there is room, the same request makes the key."""
    made = [(await create(control, f"a-{number}")).json() for number in range(20)]
    assert (await create(control, "late")).json()["error"]["code"] == "limit_reached"
    assert (await create(control, "a-3")).status_code == 200
    await control.delete(f"/api-keys/{made[0]['id']}")
    assert (await create(control, "late")).status_code == 201


async def test_what_is_not_yet_in_force_is_made_once(control: Control) -> None:
    """After a 503 the key is saved: repeats answer 503 until it is in force, then 200 without the key, which a reset replaces."""
    control.epochs.away = True
    for _ in range(2):
        reply = await create(control, "a-1")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_yet_in_force")
    control.epochs.away = False
    reply = await create(control, "a-1")
    assert (reply.status_code, reply.json()["key"]) == (200, None)
    assert await count(control) == 1
    reset = await control.post(f"/api-keys/{reply.json()['id']}/reset")
    assert kind_of(reset.json()["key"]) is not None


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "tab\there", b"\xc3\xa9"])
async def test_bad_keys_are_refused(control: Control, key: str | bytes) -> None:
    """An Idempotency-Key is 1 to 255 visible ASCII characters."""
    reply = await create(control, key)
    assert reply.status_code == 400
    assert [error["param"] for error in reply.json()["errors"]] == ["Idempotency-Key"]
    assert await count(control) == 0


async def test_two_keys_are_refused(control: Control) -> None:
    """Two of the header, of which each party may read another, are refused."""
    headers = [("idempotency-key", "a"), ("idempotency-key", "b")]
    path = f"/admin/v1/workspaces/{control.workspace_id}/api-keys"
    reply = await control.http.post(path, json={}, headers=headers)
    assert (reply.status_code, reply.json()["errors"][0]["param"]) == (400, "Idempotency-Key")


def stored_bytes(tmp_path: Path) -> bytes:
    return b"".join(path.read_bytes() for path in tmp_path.glob("gateway.db*"))


async def test_nothing_of_it_is_stored_as_it_is(control: Control, tmp_path: Path) -> None:
    """Neither the value nor the key's text stands in the database."""
    value = f"order-{uuid.uuid4()}"
    made = (await create(control, value)).json()
    stored = stored_bytes(tmp_path)
    assert made["id"].encode() in stored
    assert value.encode() not in stored
    assert made["key"].encode() not in stored


async def test_a_repeat_takes_the_right_too(control: Control) -> None:
    """Who may no longer manage the workspace's keys is refused, whatever they have made before."""
    place = Place(control.account_id, control.workspace_id)

    def caller(role: Role) -> Caller:
        return Caller(Identity("usr-1", "kim@example.com", "Kim", (Membership(role, place),)))

    await keys.create(control.services, caller(Role.MEMBER), control.workspace_id, idempotency_key="a-1")
    with pytest.raises(Forbidden):
        await keys.create(control.services, caller(Role.VIEWER), control.workspace_id, idempotency_key="a-1")
    issued = await keys.create(control.services, caller(Role.ADMIN), control.workspace_id, idempotency_key="a-1")
    assert issued.text is None
