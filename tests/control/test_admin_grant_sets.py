"""All grants of a workspace at once."""

import asyncio
from typing import Any

import pytest

from tests.control.admin_api import Control


async def with_models(control: Control, *names: str, **fields: object) -> str:
    """Models of these names, and the path of a new workspace's grants."""
    for name in names:
        assert (await control.put(f"/models/{name}", fields)).is_success
    return f"/workspaces/{await control.sub_workspace()}/grants"


async def granted(control: Control, path: str) -> dict[str, tuple[int | None, int | None]]:
    rows = (await control.get(path)).json()["data"]
    return {row["model"]: (row["rpm"], row["tpm"]) for row in rows}


def grants(**models: int | None) -> dict[str, list[dict[str, Any]]]:
    return {"grants": [{"model": model, "rpm": rpm} for model, rpm in models.items()]}


async def test_the_set_becomes_what_was_sent(control: Control) -> None:
    """What is new is added, what has other limits changed, what is missing taken, and the rest left; the answer says so, in the
    order of the models, and the epoch is raised once.
    """
    path = await with_models(control, "a", "b", "c", "d")
    first = await control.put(path, grants(c=3, a=1, b=2))
    assert [first.json()[name] for name in ("added", "changed", "removed")] == [3, 0, 0]
    assert [row["model"] for row in first.json()["data"]] == ["a", "b", "c"]
    before = {row["model"]: row for row in first.json()["data"]}
    control.epochs.raised.clear()
    reply = await control.put(path, grants(a=1, b=20, d=None))
    body = reply.json()
    assert [body[name] for name in ("added", "changed", "removed", "warnings", "next_cursor")] == [1, 1, 1, [], None]
    assert len(control.epochs.raised) == 1
    rows = {row["model"]: row for row in body["data"]}
    assert list(rows) == ["a", "b", "d"]
    assert rows["a"] == before["a"]
    assert rows["b"]["created_at"] == before["b"]["created_at"] < rows["b"]["updated_at"]
    shown = await control.get(path)
    assert (shown.json()["data"], shown.headers["etag"]) == (body["data"], reply.headers["etag"])
    assert (await control.get(f"{path}/b")).json() == rows["b"]


async def test_each_change_is_told(control: Control) -> None:
    """The audit trail has one row for each grant that was given, changed or taken, with what was before and after."""
    path = await with_models(control, "a", "b", "c", "d")
    await control.put(path, grants(a=1, b=2, c=3))
    await control.put(path, grants(a=1, b=20, d=None))
    rows = (await control.get("/audit", params={"action": "grant"})).json()["data"]
    workspace = path.split("/")[2]
    assert {row["workspace_id"] for row in rows} == {workspace}
    told = {(row["action"], row["target"], str(row["before"]), str(row["after"])) for row in rows}

    def limits(rpm: int | None) -> str:
        return str({"rpm": rpm, "tpm": None})

    assert told == {
        ("grant.set", f"{workspace}/a", "None", limits(1)),
        ("grant.set", f"{workspace}/b", "None", limits(2)),
        ("grant.set", f"{workspace}/c", "None", limits(3)),
        ("grant.set", f"{workspace}/b", limits(2), limits(20)),
        ("grant.set", f"{workspace}/d", "None", limits(None)),
        ("grant.delete", f"{workspace}/c", limits(3), "None"),
    }


async def test_the_same_set_again_changes_nothing(control: Control) -> None:
    """Sending what is there already tells the trail nothing, and leaves the tag as it was; an empty set takes everything."""
    path = await with_models(control, "a", "b")
    first = await control.put(path, grants(a=1, b=None))
    trail = await control.actions()
    again = await control.put(path, grants(b=None, a=1))
    assert again.headers["etag"] == first.headers["etag"]
    assert again.json()["data"] == first.json()["data"]
    assert await control.actions() == trail
    assert (await control.put(path, {"grants": []})).json()["removed"] == 2
    assert await granted(control, path) == {}


@pytest.mark.parametrize(
    ("wrong", "params"),
    [
        ([{"model": "b", "rpm": 101}], ["grants.1.rpm"]),
        ([{"model": "b", "rpm": 101, "tpm": 1001}, {"model": "c", "tpm": 5}], ["grants.1.rpm", "grants.1.tpm", "grants.2.tpm"]),
        ([{"model": "b", "rpm": 0}], ["grants.1.rpm"]),
        ([{"model": "b", "rpm": "5"}], ["grants.1.rpm"]),
        ([{"model": "b", "rpm": True}, {"model": "c", "burst": 1}], ["grants.1.rpm", "grants.2.burst"]),
        ([{"rpm": 5}], ["grants.1.model"]),
        ([{"model": "none"}], ["grants.1.model"]),
        ([{"model": "b"}, {"model": "a"}, {"model": "b"}], ["grants.2.model", "grants.3.model"]),
        ([5], ["grants.1"]),
        ("grants", ["grants"]),
    ],
)
async def test_one_wrong_grant_refuses_all(control: Control, wrong: Any, params: list[str]) -> None:
    """Each wrong field is named by its place in the list, and nothing at all is saved."""
    path = await with_models(control, "a", "b", "c", rpm=100, tpm=1000)
    await control.put(path, grants(a=1))
    sent = [{"model": "a", "rpm": 50}, *wrong] if isinstance(wrong, list) else wrong
    reply = await control.put(path, {"grants": sent})
    assert reply.status_code == 400, reply.text
    assert [error["param"] for error in reply.json()["errors"]] == params
    assert await granted(control, path) == {"a": (1, None)}


async def test_what_stays_is_not_checked_again(control: Control) -> None:
    """A grant above an account's limit that was lowered since, or of a model that is known no more, does not stand in the way of
    other changes; it can be taken, and cannot be changed to something that is wrong.
    """
    path = await with_models(control, "a", "b", rpm=100)
    control.catalogue.hidden.add("gone")
    await control.put(path, {"grants": [{"model": "a", "rpm": 80}, {"model": "gone", "rpm": 5}]})
    control.catalogue.hidden.clear()
    await control.put(f"/accounts/{control.account_id}/limits/a", {"rpm": 40})
    kept = [{"model": "a", "rpm": 80}, {"model": "gone", "rpm": 5}]
    reply = await control.put(path, {"grants": [*kept, {"model": "b", "rpm": 3}]})
    assert (reply.status_code, reply.json()["added"]) == (200, 1)
    assert "80 rpm of a" in reply.json()["warnings"][0]
    refused = await control.put(path, {"grants": [{"model": "a", "rpm": 70}, kept[1]]})
    assert [error["param"] for error in refused.json()["errors"]] == ["grants.0.rpm"]
    assert (await control.put(path, grants(b=3))).json()["removed"] == 2
    assert (await control.put(path, grants(gone=5))).status_code == 400


async def test_sums_over_workspaces_are_warned_of(control: Control) -> None:
    """What workspaces are granted together above the account's limit is saved, with a sentence for each limit."""
    path = await with_models(control, "a", "b", rpm=100, tpm=1000)
    other = f"/workspaces/{await control.sub_workspace('other')}/grants"
    await control.put(other, {"grants": [{"model": "a", "rpm": 60, "tpm": 600}]})
    both = [{"model": "a", "rpm": 60, "tpm": 600}, {"model": "b", "rpm": 100}]
    warnings = (await control.put(path, {"grants": both})).json()["warnings"]
    assert len(warnings) == 2
    assert "120 rpm of a" in warnings[0]
    assert "1,200 tpm of a" in warnings[1]


async def test_a_thousand_at_most(control: Control) -> None:
    """A thousand grants are taken at once, in one change; one more is refused."""
    names = [f"model-{number:04d}" for number in range(1001)]
    control.catalogue.hidden.update(names)
    path = f"/workspaces/{await control.sub_workspace()}/grants"
    assert (await control.put(path, {"grants": [{"model": name} for name in names]})).status_code == 400
    control.epochs.raised.clear()
    reply = await control.put(path, {"grants": [{"model": name, "rpm": 5} for name in names[:1000]]})
    assert (reply.status_code, reply.json()["added"], len(reply.json()["data"])) == (200, 1000, 1000)
    assert len(control.epochs.raised) == 1


async def test_default_and_unknown_workspaces(control: Control) -> None:
    """The default workspace takes no grants, and an unknown one is not found."""
    assert (await control.put(f"/workspaces/{control.workspace_id}/grants", {"grants": []})).status_code == 409
    assert (await control.get(f"/workspaces/{control.workspace_id}/grants/served-model")).status_code == 404
    assert (await control.put("/workspaces/llm-none/grants", {"grants": []})).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_empty_name_is_not_the_list(control: Control, method: str) -> None:
    """The address of a model without a name is refused, and touches no list."""
    path = await with_models(control, "a")
    await control.put(path, grants(a=1))
    limits = f"/accounts/{control.account_id}/limits"
    await control.put(f"{limits}/a", {"rpm": 5})
    for where in (path, limits):
        reply = await control.http.request(method, f"/admin/v1{where}/", json={"grants": []} if method == "PUT" else None)
        assert reply.status_code == 400, reply.text
    assert await granted(control, path) == {"a": (1, None)}


async def test_sets_at_once_are_never_mixed(control: Control) -> None:
    """Of whole sets that are sent together, the one that is there in the end is one of them."""
    path = await with_models(control, "a", "b", "c")
    sets = [grants(a=1, b=1), grants(b=2, c=2), grants(a=3, c=3), grants(c=4)]
    replies = await asyncio.gather(*(control.put(path, each) for each in sets))
    assert {reply.status_code for reply in replies} == {200}
    wanted = [{row["model"]: (row["rpm"], None) for row in each["grants"]} for each in sets]
    assert await granted(control, path) in wanted


async def test_workspaces_count_their_grants(control: Control) -> None:
    """A workspace says how many models it is granted, alone and in the list."""
    path = await with_models(control, "a", "b")
    workspace = path.split("/")[2]
    await control.put(path, grants(a=1, b=2))
    assert (await control.get(f"/workspaces/{workspace}")).json()["grant_count"] == 2
    assert {row["id"]: row["grant_count"] for row in (await control.get("/workspaces")).json()["data"]} == {
        workspace: 2,
        control.workspace_id: 0,
    }
