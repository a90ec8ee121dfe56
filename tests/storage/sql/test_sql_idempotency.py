"""What is made once, on both databases."""

import asyncio

import httpx2

from gateway.storage.sql import idempotency, keys
from gateway.storage.sql.engine import AsyncEngine, reading, transaction, writing
from gateway.storage.sql.idempotency import Claim
from tests.control.admin_api import opened

_A = Claim(b"a" * 32, b"1" * 32, "ak-first")


async def test_the_first_claim_holds(engine: AsyncEngine) -> None:
    """A later claim of the same digest learns what the first was for; one that was rolled back never was."""
    async with transaction(engine) as conn:
        assert await idempotency.claim(conn, _A, now_ms=100, since_ms=0) is None
    async with writing(engine) as conn:
        assert await idempotency.claim(conn, _A, now_ms=100, since_ms=0) is None
    async with writing(engine) as conn:
        assert await idempotency.claim(conn, Claim(_A.digest, b"2" * 32, "ak-second"), now_ms=101, since_ms=100) == _A


async def test_old_claims_count_for_nothing(engine: AsyncEngine) -> None:
    """A claim from before `since_ms` is replaced by a new one, and deleted where nobody claims anew."""
    other = Claim(b"b" * 32, b"1" * 32, "ak-other")
    async with writing(engine) as conn:
        await idempotency.claim(conn, _A, now_ms=100, since_ms=0)
        await idempotency.claim(conn, other, now_ms=200, since_ms=0)
    async with writing(engine) as conn:
        assert await idempotency.claim(conn, Claim(_A.digest, b"2" * 32, "ak-new"), now_ms=300, since_ms=101) is None
        await idempotency.delete_old(conn, 201)
    async with writing(engine) as conn:
        assert await idempotency.claim(conn, other, now_ms=400, since_ms=0) is None
        found = await idempotency.claim(conn, _A, now_ms=400, since_ms=0)
    assert found is not None
    assert found.target == "ak-new"


async def test_equal_requests_at_once_make_one_key(engine: AsyncEngine) -> None:
    """Of twenty equal creations of a key that arrive together one makes it; and nobody waits for another workspace's."""
    async with opened(engine) as control:

        async def create(workspace_id: str) -> httpx2.Response:
            path = f"/admin/v1/workspaces/{workspace_id}/api-keys"
            return await control.http.post(path, json={}, headers={"idempotency-key": "same"})

        team = await control.sub_workspace()
        replies = await asyncio.gather(*(create(each) for each in [control.workspace_id] * 20 + [team] * 20))
        for part in (replies[:20], replies[20:]):
            assert sorted(reply.status_code for reply in part) == [200] * 19 + [201]
            assert sum(reply.json()["key"] is not None for reply in part) == 1
    async with reading(engine) as conn:
        for workspace_id in (control.workspace_id, team):
            assert await keys.count(conn, workspace_id) == 1
