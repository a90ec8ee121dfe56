"""Changes acknowledged by one of four processes hold for every call that starts later at any of them, under full load.

GATEWAY_TEST_CALLS is how many calls have to start after an acknowledgement; a small number unless a long run is wanted.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.gateway_process import ADMIN_TOKEN
from tests.support.load import Load
from tests.support.shared_profile import SharedProfile

CALLS = int(os.environ.get("GATEWAY_TEST_CALLS", "3000"))
KEYS, WORKSPACES = 50, 5

pytestmark = [pytest.mark.xdist_group("shared"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def shared() -> Iterator[SharedProfile]:
    with SharedProfile(4) as shared:
        yield shared


class Admin:
    """The admin API of all processes, by turns."""

    def __init__(self, shared: SharedProfile) -> None:
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        self._clients = [
            httpx2.AsyncClient(base_url=f"{gateway.address}/admin/v1", headers=headers, timeout=60) for gateway in shared.gateways
        ]
        self._turn = 0

    async def __call__(self, method: str, path: str, json: Any = None) -> Any:
        self._turn += 1
        reply = await self._clients[self._turn % len(self._clients)].request(method, path, json=json)
        assert reply.is_success, reply.text
        return reply.json() if reply.content else None

    async def workspace(self, name: str) -> str:
        return str((await self("POST", "/workspaces", {"name": name}))["id"])

    async def key(self, workspace: str) -> tuple[str, str]:
        made = await self("POST", f"/workspaces/{workspace}/api-keys", {"description": "load"})
        return made["id"], made["key"]

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@pytest.fixture
async def admin(shared: SharedProfile) -> Any:
    admin = Admin(shared)
    yield admin
    await admin.close()


def load(shared: SharedProfile, keys: list[str]) -> Load:
    return Load([gateway.port for gateway in shared.gateways], keys, callers=6)


async def test_fifty_keys_deleted_one_after_another(shared: SharedProfile, admin: Admin) -> None:
    """No call of a key passes that starts after the 204 of its deletion; all before pass."""
    keys: list[tuple[str, str]] = []
    for number in range(WORKSPACES):
        workspace = await admin.workspace(f"deleted {number}")
        await admin("PUT", f"/workspaces/{workspace}/grants/m", {"rpm": None, "tpm": None})
        keys += [await admin.key(workspace) for _ in range(KEYS // WORKSPACES)]
    asked: dict[str, float] = {}
    done: dict[str, float] = {}
    async with load(shared, [key for _, key in keys]) as calling:
        await calling.until(300)
        for key_id, key in keys:
            asked[key] = time.monotonic()
            await admin("DELETE", f"/api-keys/{key_id}")
            done[key] = time.monotonic()
            await calling.until(CALLS // KEYS)
        await calling.until(CALLS // 2)
    after = calling.statuses(lambda call: call.started > done[call.key])
    assert set(after) == {401}
    assert after[401] > CALLS * 2 // 3
    assert set(calling.statuses(lambda call: call.ended < asked[call.key])) == {200}


async def switched(
    shared: SharedProfile, admin: Admin, key: str, change: tuple[str, str, Any], back: tuple[str, str, Any]
) -> tuple[Counter[int], Counter[int]]:
    """The answers of calls that started while `change` held, acknowledged, and while `back` did; each several times."""
    closed: list[tuple[float, float]] = []
    opened: list[tuple[float, float]] = []
    async with load(shared, [key]) as calling:
        await calling.until(100)
        for _ in range(4):
            await admin(*change)
            began = time.monotonic()
            await calling.until(CALLS // 40)
            closed.append((began, time.monotonic()))
            await admin(*back)
            began = time.monotonic()
            await calling.until(CALLS // 40)
            opened.append((began, time.monotonic()))

    def within(spans: list[tuple[float, float]]) -> Counter[int]:
        return calling.statuses(lambda call: any(start < call.started and call.ended < end for start, end in spans))

    return within(closed), within(opened)


async def test_a_disabled_key_and_an_enabled_one(shared: SharedProfile, admin: Admin) -> None:
    """Neither a call of the disabled key passes, nor one of the enabled key fails, from the acknowledgement on."""
    key_id, key = await admin.key(await _default_workspace(admin))
    path = f"/api-keys/{key_id}"
    closed, opened = await switched(shared, admin, key, ("POST", f"{path}/disable", None), ("POST", f"{path}/enable", None))
    assert (set(closed), set(opened)) == ({401}, {200})


async def test_a_grant_withdrawn_and_given(shared: SharedProfile, admin: Admin) -> None:
    """The same for a model that a workspace may call."""
    workspace = await admin.workspace("granted")
    grant = f"/workspaces/{workspace}/grants/m"
    await admin("PUT", grant, {"rpm": None, "tpm": None})
    _, key = await admin.key(workspace)
    closed, opened = await switched(shared, admin, key, ("DELETE", grant, None), ("PUT", grant, {"rpm": None, "tpm": None}))
    assert (set(closed), set(opened)) == ({403}, {200})


async def test_a_limit_lowered_and_raised(shared: SharedProfile, admin: Admin) -> None:
    """A limit that was lowered to one a minute lets one call pass; one that was raised refuses nobody."""
    workspace = await admin.workspace("limited")
    grant = f"/workspaces/{workspace}/grants/m"
    high, low = {"rpm": 60_000_000, "tpm": None}, {"rpm": 1, "tpm": None}
    await admin("PUT", grant, high)
    _, key = await admin.key(workspace)
    began = time.monotonic()
    closed, opened = await switched(shared, admin, key, ("PUT", grant, low), ("PUT", grant, high))
    assert closed[200] <= 4 + (time.monotonic() - began) / 60
    assert 429 in closed
    assert set(closed) <= {200, 429}  # the one may have passed before the acknowledgement
    assert set(opened) == {200}


async def _default_workspace(admin: Admin) -> str:
    return next(str(row["id"]) for row in (await admin("GET", "/workspaces"))["data"] if row["is_default"])


async def test_ledger_and_sums(shared: SharedProfile, admin: Admin) -> None:
    """After all that, whoever was admitted stands in the ledger once, and no token is unaccounted for."""
    await asyncio.sleep(1.5)
    for gateway in shared.gateways:
        metrics = gateway.get("/metrics").text.splitlines()
        assert "gateway_limit_tokens_imbalance 0.0" in metrics
        assert "gateway_limit_tokens_live 0.0" in metrics
    ((calls, distinct),) = await shared.rows("SELECT count(*), count(DISTINCT call_id) FROM ledger")
    assert calls == distinct > 0
