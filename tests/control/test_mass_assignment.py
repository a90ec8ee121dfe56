"""Bodies take the fields that they say and no others: nothing can be set by naming it beside them."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.control.admin_api import Control
from tests.control.people_world import (
    OPERATOR,
    PASSWORD,
    Team,
    add_person,
    browser,
    quick_passwords,
    roles,
    send,
    team,
)
from tests.control.test_admin_roles import CASES, Case

__all__ = ["quick_passwords", "team"]

pytestmark = pytest.mark.usefixtures("quick_passwords")
WITH_BODY = [case for case in CASES if isinstance(case.body, dict)]
SMUGGLED = ["role", "roles", "account_id", "workspace_id", "user_id", "id", "status", "is_default", "source", "created_by", "x"]


def named_in(schema: Any) -> Iterator[str]:
    """The names of the schemas that one refers to."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from named_in(each)


async def test_every_body_refuses_what_it_does_not_name(control: Control) -> None:
    """No kind of body, and nothing within one, ignores a field that it does not know."""
    description = (await control.get("/openapi.json")).json()
    schemas = description["components"]["schemas"]
    operations = [each for path in description["paths"].values() for each in path.values()]
    wanted = {name for each in operations for name in named_in(each.get("requestBody"))}
    assert len(wanted) >= 15
    while more := {name for each in wanted for name in named_in(schemas[each])} - wanted:
        wanted |= more
    assert {name for name in wanted if schemas[name].get("additionalProperties") is not False} == set()


@pytest.mark.parametrize("case", WITH_BODY, ids=str)
async def test_every_route_refuses_further_fields(control: Control, case: Case) -> None:
    """A right body with one field more is refused, with that field's name, and changes nothing."""
    description = (await control.get("/openapi.json")).json()
    body = description["paths"][case.path][case.method.lower()]["requestBody"]["content"]["application/json"]["schema"]
    known = description["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    assert set(case.body) <= set(known)
    parts = {"account_id": control.account_id, "workspace_id": control.workspace_id, "model": "served-model"}
    path = re.sub(r"{(\w+)}", lambda part: parts.get(part[1], "x"), case.path)
    before = await control.actions()
    for name in SMUGGLED:
        if name not in known:
            reply = await control.http.request(case.method, path, json={**case.body, name: "owner"})
            assert reply.status_code == 400, (name, reply.text)
            assert name in {error["param"] for error in reply.json()["errors"]}
    assert await control.actions() == before


async def test_items_of_lists_too(control: Control) -> None:
    """Each grant of a list takes no further field either."""
    workspace = await control.sub_workspace()
    body = {"grants": [{"model": "served-model", "rpm": 5, "workspace_id": control.workspace_id}]}
    reply = await control.put(f"/workspaces/{workspace}/grants", body)
    assert (reply.status_code, reply.json()["errors"][0]["param"]) == (400, "grants.0.workspace_id")


async def test_nobody_makes_more_of_themselves(control: Control, team: Team) -> None:
    """Neither a name, nor a password, nor the form of an invitation can carry a role, another person or another place."""
    for path, method, body in (
        ("/me", "PATCH", {"name": "Kim"}),
        ("/me/password", "POST", {"current": PASSWORD, "new": "another good password"}),
    ):
        for name in ("role", "roles", "email", "user_id", "id", "status", "is_operator"):
            reply = await send(control, team.admin, method, path, {**body, name: "operator"})
            assert (reply.status_code, reply.json()["errors"][0]["param"]) == (400, name)
    place = {"workspace_id": team.workspace_id}
    made = (
        await send(control, team.admin, "POST", "/invitations", {"email": "new@example.com", "role": "viewer", **place})
    ).json()
    async with browser(control) as page:
        smuggled = {
            "role": "operator",
            "account_id": "",
            "workspace_id": "",
            "user_id": team.owner.id,
            "email": "other@example.com",
        }
        reply = await page.http.post(made["path"], data={"name": "New", "password": PASSWORD, **smuggled})
        assert reply.status_code == 303
    assert await roles(control, "new@example.com") == {("viewer", team.workspace_id)}
    assert await roles(control, "other@example.com") == set()


async def test_fields_of_queries_too(control: Control) -> None:
    """A misspelt or made-up parameter of a query is refused: it must not answer with more than was asked for."""
    kim = await add_person(control, OPERATOR)
    for path in ("/admin/v1/audit?workspaceid=x", "/admin/v1/members?workspace=x", "/admin/v1/usage?workspace_id=x&all=1"):
        reply = await control.http.get(path)
        assert (reply.status_code, len(reply.json()["errors"])) == (400, 1)
    async with browser(control, kim) as page:
        for name in (
            "keys",
            "usage",
            "workspaces",
            "edit",
            "limits",
            "members",
            "audit",
            "models",
            "upstreams",
            "accounts",
            "people",
        ):
            assert (await page.get(f"/console/w/{control.workspace_id}/{name}?as=owner")).status_code == 400, name
