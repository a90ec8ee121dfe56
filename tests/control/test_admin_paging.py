"""Paging through the admin API's lists."""

import base64

import pytest

from tests.control.admin_api import Control

LISTS = ("accounts", "workspaces", "keys", "grants", "limits", "models", "upstreams", "audit")


async def fill(control: Control, number: int) -> dict[str, str]:
    """Rows in every list; answers each list's path. The clock stands still, so that only the IDs order rows."""
    workspace = await control.sub_workspace("paged")
    for n in range(number):
        await control.post("/accounts", {"name": f"a{n}"})
        await control.post("/workspaces", {"name": f"w{n}"})
        await control.post(f"/workspaces/{control.workspace_id}/api-keys", {})
        await control.put(f"/models/vendor/m{n}", {})
        await control.put(f"/workspaces/{workspace}/grants/vendor/m{n}", {})
        await control.post("/upstreams", {"base_url": "http://h", "models": [f"u{n}"]})
    keys, grants = f"/workspaces/{control.workspace_id}/api-keys", f"/workspaces/{workspace}/grants"
    paths = {name: f"/{name}" for name in LISTS}
    return paths | {"keys": keys, "grants": grants, "limits": f"/accounts/{control.account_id}/limits"}


async def pages(control: Control, path: str, limit: int) -> list[str]:
    """All rows of a list, read in pages of `limit`, as text."""
    rows: list[str] = []
    cursor: str | None = None
    while True:
        params: dict[str, str | int] = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
        body = (await control.get(path, params=params)).json()
        rows += [str(row) for row in body["data"]]
        cursor = body["next_cursor"]
        assert len(body["data"]) == limit or cursor is None
        if cursor is None:
            return rows
        assert len(rows) < 1000, "the pages have no end"


async def test_pages_cover_every_row_once(control: Control) -> None:
    """In pages of any size each list gives the same rows in the same order as in one page, each exactly once."""
    control.clock.step = 0
    for name, path in (await fill(control, 6)).items():
        whole = [str(row) for row in (await control.get(path)).json()["data"]]
        assert len(whole) >= 6, name
        assert len(set(whole)) == len(whole), name
        for limit in (1, 3, len(whole), len(whole) + 1):
            assert await pages(control, path, limit) == whole, (name, limit)


async def test_rows_that_come_and_go_hide_no_others(control: Control) -> None:
    """A row removed behind the reader, or added, neither repeats nor hides another."""
    path = f"/workspaces/{control.workspace_id}/api-keys"
    ids = [(await control.post(path, {})).json()["id"] for _ in range(5)]
    first = (await control.get(path, params={"limit": 2})).json()
    await control.delete(f"/api-keys/{ids[1]}")
    new = (await control.post(path, {})).json()["id"]
    second = (await control.get(path, params={"limit": 10, "cursor": first["next_cursor"]})).json()
    assert [row["id"] for row in first["data"]] == ids[:2]
    assert [row["id"] for row in second["data"]] == [*ids[2:], new]


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


WRONG = [
    "x",
    "",
    "é",
    "!!!!",
    encoded("[]"),
    encoded("[1]"),
    encoded('[true,"a"]'),
    encoded('[-1,"a"]'),
    encoded('[1e400,"a"]'),
    encoded(f'[{2**63},"a"]'),
    encoded('[1,"\\u0000"]'),
    encoded('"\\u0000"'),
    encoded('"\\ud800"'),
    encoded("1"),
    encoded("[" * 1000),
]


@pytest.mark.parametrize("name", LISTS)
async def test_wrong_cursors_are_400(control: Control, name: str) -> None:
    """A cursor that is none of the list's is a 400, never a fault or a list from its beginning."""
    path = (await fill(control, 0))[name]
    for cursor in WRONG:
        reply = await control.get(path, params={"cursor": cursor})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "cursor"), cursor
