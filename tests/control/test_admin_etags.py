"""ETag, If-Match and If-None-Match on grants and limits (RFC 9110, sections 8.8.3 and 13)."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from gateway.storage.sql.engine import create_engine
from gateway.storage.sql.migrate import upgrade
from tests.control.admin_api import Control, opened
from tests.support.postgres_server import PostgresServer

_numbers = itertools.count(1)
STALE = '"0123"'
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgres"))]


async def send(control: Control, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
    """A request with headers such as `if_match`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await control.http.request(method, f"/admin/v1{path}", json=body, headers=named)


def code(reply: httpx2.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


@pytest.fixture
async def grant(control: Control) -> str:
    """The path of a grant."""
    path = f"/workspaces/{await control.sub_workspace()}/grants/served-model"
    assert (await control.put(path, {"rpm": 10, "tpm": 100})).status_code == 201
    return path


@pytest.fixture(params=["grant", "limits"])
async def thing(request: pytest.FixtureRequest, control: Control, grant: str) -> str:
    """The path of something that can be changed under a condition, and is there."""
    if request.param == "grant":
        return grant
    path = f"/accounts/{control.account_id}/limits/served-model"
    assert (await control.put(path, {"rpm": 10, "tpm": 100})).status_code == 200
    return path


async def test_tags_are_strong_and_name_what_is_there(control: Control, thing: str) -> None:
    """PUT and GET answer the same strong tag of the same state, and another one of another state."""
    first = (await control.get(thing)).headers["etag"]
    assert first.startswith('"')
    assert first.endswith('"')
    assert (await control.get(thing)).headers["etag"] == first
    changed = await control.put(thing, {"rpm": 9, "tpm": 100})
    second = changed.headers["etag"]
    assert second != first
    again = await control.get(thing)
    assert (again.headers["etag"], again.json()["rpm"]) == (second, 9)


async def test_if_match_lets_through_what_was_read(control: Control, thing: str) -> None:
    """With the tag of what is there, among others or as `*`, a change is made; with another it is 412 and nothing is changed."""
    tag = (await control.get(thing)).headers["etag"]
    control.epochs.raised.clear()
    trail = await control.actions()
    for wrong in (STALE, f"W/{tag}", f'{STALE}, "x,y", W/{tag}'):
        assert code(await send(control, "PUT", thing, {"rpm": 5}, if_match=wrong)) == (412, "precondition_failed")
        assert code(await send(control, "DELETE", thing, if_match=wrong)) == (412, "precondition_failed")
    assert (await control.get(thing)).headers["etag"] == tag
    assert await control.actions() == trail
    assert control.epochs.raised == []
    reply = await send(control, "PUT", thing, {"rpm": 5}, if_match=f"{STALE} ,, {tag}")
    assert reply.status_code == 200
    assert code(await send(control, "PUT", thing, {"rpm": 6}, if_match=tag)) == (412, "precondition_failed")
    assert (await send(control, "PUT", thing, {"rpm": 6}, if_match="*")).status_code == 200
    tag = (await control.get(thing)).headers["etag"]
    assert (await send(control, "DELETE", thing, if_match=tag)).status_code == 204


async def test_several_header_lines_are_one_list(control: Control, grant: str) -> None:
    """Header lines of one name are read as one list (section 5.3)."""
    tag = (await control.get(grant)).headers["etag"]
    headers = [("if-match", STALE), ("if-match", tag)]
    reply = await control.http.put(f"/admin/v1{grant}", json={"rpm": 1}, headers=headers)
    assert reply.status_code == 200


@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
@pytest.mark.parametrize(
    "text", ["", "abc", '"abc', 'abc"', "'abc'", '* , "abc"', 'w/"abc"', 'W/ "abc"', '"a" "b"', "**", ",", '"a b"']
)
async def test_what_is_no_list_of_tags_is_400(control: Control, grant: str, header: str, text: str) -> None:
    """A header that is neither `*` nor a list of entity tags is refused by its name, on every method, and changes nothing."""
    tag = (await control.get(grant)).headers["etag"]
    for method, body in (("PUT", {"rpm": 5}), ("DELETE", None), ("GET", None)):
        reply = await control.http.request(method, f"/admin/v1{grant}", json=body, headers={header: text})
        assert reply.status_code == 400, reply.text
        assert [error["param"] for error in reply.json()["errors"]] == [header]
    assert (await control.get(grant)).headers["etag"] == tag


async def test_create_only(control: Control) -> None:
    """`If-None-Match: *` makes what is not there, and is 412 for what is."""
    grant = f"/workspaces/{await control.sub_workspace()}/grants/served-model"
    limits = f"/accounts/{control.account_id}/limits/served-model"
    for path, made in ((grant, 201), (limits, 200)):
        assert (await send(control, "PUT", path, {"rpm": 5}, if_none_match="*")).status_code == made
        refused = await send(control, "PUT", path, {"rpm": 6}, if_none_match="*")
        assert code(refused) == (412, "precondition_failed")
        assert (await control.get(path)).json()["rpm"] == 5


async def test_if_match_needs_something_there(control: Control) -> None:
    """No tag and no `*` matches a grant that is not there; `*` asks for the account's own limits, and a tag also for inherited
    ones, which can be read too.
    """
    grant = f"/workspaces/{await control.sub_workspace()}/grants/served-model"
    limits = f"/accounts/{control.account_id}/limits/served-model"
    for condition in ("*", STALE):
        assert code(await send(control, "PUT", grant, {}, if_match=condition)) == (412, "precondition_failed")
    assert (await control.get(grant)).status_code == 404
    assert code(await send(control, "PUT", limits, {"rpm": 5}, if_match="*")) == (412, "precondition_failed")
    inherited = await control.get(limits)
    assert inherited.json() == {"model": "served-model", "rpm": None, "tpm": None, "source": None, "own": None}
    tag = inherited.headers["etag"]
    assert (await send(control, "PUT", limits, {"rpm": 5}, if_match=tag)).status_code == 200


async def test_other_refusals_come_first(control: Control, grant: str) -> None:
    """A condition counts only for a request that would be done without it (section 13.2.1)."""
    default = f"/workspaces/{control.workspace_id}/grants"
    assert code(await send(control, "PUT", f"{default}/served-model", {}, if_match=STALE)) == (409, "conflict")
    assert code(await send(control, "PUT", default, {"grants": []}, if_match=STALE)) == (409, "conflict")
    assert code(await send(control, "DELETE", f"{grant}-none", if_match=STALE)) == (404, "not_found")
    assert code(await send(control, "GET", f"{grant}-none", if_none_match="*")) == (404, "not_found")
    assert code(await send(control, "DELETE", f"/accounts/{control.account_id}/limits/served-model", if_match=STALE)) == (
        404,
        "not_found",
    )


async def test_readers_are_told_that_nothing_changed(control: Control, thing: str) -> None:
    """GET with the tag in `If-None-Match`, weak or strong, answers 304 with the tag and no body, until something changes."""
    every = thing.removesuffix("/served-model")
    for path in (thing, every):
        tag = (await control.get(path)).headers["etag"]
        for condition in (tag, f"W/{tag}", f"{STALE}, {tag}", "*"):
            reply = await send(control, "GET", path, if_none_match=condition)
            assert (reply.status_code, reply.headers["etag"], reply.content) == (304, tag, b"")
        assert (await send(control, "GET", path, if_none_match=STALE)).status_code == 200
        assert code(await send(control, "GET", path, if_match=STALE)) == (412, "precondition_failed")
    await control.put(thing, {"rpm": 3})
    for path in (thing, every):
        assert (await send(control, "GET", path, if_none_match=tag)).status_code == 200


async def test_tag_of_a_list_covers_all_of_it(control: Control, grant: str) -> None:
    """Every page of a list has the list's tag, which each change anywhere in it changes, and nothing else does."""
    await control.put("/models/a", {})
    await control.put("/models/z", {})
    every = grant.removesuffix("/served-model")
    await control.put(f"{every}/z", {})
    tags = {(await control.get(every, params={"limit": limit})).headers["etag"] for limit in (1, 2, 1000)}
    assert len(tags) == 1
    other = await control.sub_workspace("other")
    await control.put(f"/workspaces/{other}/grants/z", {"rpm": 3})
    seen = tags | {(await control.get(every)).headers["etag"]}
    assert len(seen) == 1
    for change in (control.put(f"{every}/z", {"rpm": 1}), control.put(f"{every}/a", {}), control.delete(f"{every}/z")):
        assert (await change).is_success
        seen.add((await control.get(every)).headers["etag"])
    assert len(seen) == 4


async def test_tag_of_limits_covers_every_level(control: Control) -> None:
    """What changes the limits that hold for the account, or those of its own, changes their tag: its own, even where the same
    number was inherited before, the model's, and a temporary increase.
    """
    path = f"/accounts/{control.account_id}/limits/served-model"
    tags = [(await control.get(path)).headers["etag"]]
    increase = {"model": "served-model", "rpm": 90, "minutes": 5, "reason": "test"}
    for change in (
        control.put("/models/served-model", {"rpm": 50}),
        control.put(path, {"rpm": 50}),
        control.put(path, {"rpm": 50, "tpm": 5}),
        control.post(f"/accounts/{control.account_id}/increases", increase),
    ):
        assert (await change).is_success
        tags.append((await control.get(path)).headers["etag"])
    assert len(set(tags)) == 5
    shown = (await control.get(path)).json()
    assert (shown["rpm"], shown["source"], shown["own"]) == (90, "increase", {"rpm": 50, "tpm": 5})


async def test_limits_of_unknown_models_are_404(control: Control) -> None:
    """A model that nobody knows has no limits to read; an unknown account neither."""
    assert (await control.get(f"/accounts/{control.account_id}/limits/none")).status_code == 404
    assert (await control.get("/accounts/acc-none/limits/served-model")).status_code == 404


async def test_conditions_are_described(control: Control) -> None:
    """The OpenAPI document names both headers on what takes them, and the ETag of what answers one."""
    paths = (await control.get("/openapi.json")).json()["paths"]
    grants, limits = "/admin/v1/workspaces/{workspace_id}/grants", "/admin/v1/accounts/{account_id}/limits"
    tagged = [(grants, "get"), (grants, "put"), (limits, "get")]
    tagged += [(f"{path}/{{model}}", method) for path in (grants, limits) for method in ("get", "put", "delete")]
    for path, method in tagged:
        operation = paths[path][method]
        headers = {each["name"] for each in operation["parameters"] if each["name"].startswith("If-")}
        assert headers == ({"If-None-Match"} if method == "get" else {"If-Match", "If-None-Match"}), (path, method)
        if method != "delete":
            assert "ETag" in operation["responses"]["200"]["headers"]
        assert ("304" in operation["responses"]) == (method == "get")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server whose database `gateway` is migrated and empty, to be copied."""
    with PostgresServer(synchronous_commit="off") as server:
        upgrade(server.url)
        yield server


@pytest.fixture(params=DATABASES)
def either_url(request: pytest.FixtureRequest, migrated: Path, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{shutil.copy(migrated, tmp_path / 'either.db')}"
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"of_test_{next(_numbers)}"
    server.psql(f"CREATE DATABASE {name} TEMPLATE gateway")
    return server.url_of(name)


@pytest.fixture
async def either(either_url: str) -> AsyncIterator[Control]:
    """The admin API on either database."""
    engine = create_engine(either_url)
    try:
        async with opened(engine) as control:
            yield control
    finally:
        await engine.dispose()


async def test_of_editors_at_once_one_wins(either: Control) -> None:
    """Of changes that name the same tag and arrive together exactly one is made, of a grant, of a whole set, and of limits;
    and of those that may only create, one creates.
    """
    every = f"/workspaces/{await either.sub_workspace()}/grants"
    limits = f"/accounts/{either.account_id}/limits/served-model"
    for first, path, wrapped in ((10, f"{every}/served-model", False), (30, every, True), (50, limits, False)):

        async def change(number: int, path: str = path, wrapped: bool = wrapped, **condition: str) -> httpx2.Response:
            body: object = {"rpm": number}
            if wrapped:
                body = {"grants": [{"model": "served-model", "rpm": number}]}
            return await send(either, "PUT", path, body, **condition)

        if not wrapped:
            made = await asyncio.gather(*(change(number, if_none_match="*") for number in range(first, first + 8)))
            assert sorted(reply.status_code for reply in made)[1:] == [412] * 7
        tag = (await either.get(path)).headers["etag"]
        # Numbers that were not there before: what changes nothing leaves the tag, and somebody else's turn, as they were.
        numbers = range(first + 8, first + 16)
        replies = await asyncio.gather(*(change(number, if_match=tag) for number in numbers))
        assert sorted(reply.status_code for reply in replies) == [200] + [412] * 7
        won = next(number for number, reply in zip(numbers, replies, strict=True) if reply.is_success)
        now = (await either.get(path)).json()
        assert (now["data"][0] if wrapped else now)["rpm"] == won


async def test_sets_are_changed_on_either_database(either: Control) -> None:
    """Adding, changing and taking many grants at once does the same on both databases."""
    for name in ("a", "b", "c"):
        await either.put(f"/models/{name}", {"rpm": 100})
    every = f"/workspaces/{await either.sub_workspace()}/grants"
    await either.put(every, {"grants": [{"model": "a", "rpm": 60}, {"model": "b"}]})
    other = f"/workspaces/{await either.sub_workspace()}/grants"
    reply = (await either.put(other, {"grants": [{"model": "a", "rpm": 60}, {"model": "b"}, {"model": "c"}]})).json()
    assert (reply["added"], len(reply["warnings"])) == (3, 1)
    changed = (await either.put(other, {"grants": [{"model": "a", "rpm": 40}, {"model": "b"}]})).json()
    assert [changed[name] for name in ("added", "changed", "removed", "warnings")] == [0, 1, 1, []]
    rows = (await either.get(other)).json()["data"]
    assert [(row["model"], row["rpm"]) for row in rows] == [("a", 40), ("b", None)]
