"""The API's description."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import TypeAdapter

from gateway.control.app import create_control
from gateway.control.docs import describe
from gateway.control.docs_words import roles_with
from gateway.domain.roles import Right, Role
from tests.control.admin_api import Control

JSON = "application/json"


@pytest.fixture
def document(control: Control) -> dict[str, Any]:
    return describe(control.app)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def routes(app: FastAPI) -> dict[tuple[str, str], APIRoute]:
    """The routes that are described, by method and path."""
    found = {}
    for context in iter_route_contexts(app.routes):
        if context.include_in_schema and isinstance(context.original_route, APIRoute):
            for method in context.methods or ():
                found[method.lower(), str(context.path_format)] = context.original_route
    return found


def examples(schema: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    """The examples of a body's schema."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    found: list[Any] = schema.get("examples", [])
    return found


def check(example: object, model: Any) -> None:
    """The model takes the example, and would show it as it stands."""
    taken = TypeAdapter(model).validate_json(json.dumps(example))
    assert TypeAdapter(model).dump_python(taken, mode="json", by_alias=True, exclude_unset=True) == example


async def test_every_route_is_described(control: Control) -> None:
    """The OpenAPI document holds every route that is not hidden, each with the token it asks for and how it refuses."""
    paths = (await control.get("/openapi.json")).json()["paths"]
    described = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    expected = {
        (method, context.path_format)
        for context in iter_route_contexts(control.app.routes)
        if context.include_in_schema
        for method in context.methods or ()
    }
    assert described == expected
    for operations in paths.values():
        for operation in operations.values():
            assert operation["security"] == [{"adminToken": []}, {"session": []}]
            assert Right(operation["x-required-right"])
            assert "422" not in operation["responses"]
            assert "application/problem+json" in operation["responses"]["default"]["content"]


async def test_references_lead_somewhere(control: Control) -> None:
    """Every schema that the OpenAPI document refers to is in it."""
    reply = await control.get("/openapi.json")
    schemas = reply.json()["components"]["schemas"]
    for reference in re.findall(r'"\$ref":\s*"([^"]+)"', reply.text):
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_every_body_has_examples_that_are_taken(control: Control, document: dict[str, Any]) -> None:
    """Whoever copies an example of a body sends what the route reads: each is one that its model takes."""
    known, seen = routes(control.app), 0
    for method, path, operation in operations(document):
        if "requestBody" not in operation:
            continue
        found = examples(operation["requestBody"]["content"][JSON]["schema"], document)
        assert found, f"{method} {path} shows no body"
        field = known[method, path].body_field
        assert field is not None
        for example in found:
            check(example, field.field_info.annotation)
            seen += 1
    assert seen > 15


async def test_every_answer_has_examples_that_are_whole(control: Control, document: dict[str, Any]) -> None:
    """Each answer in JSON shows at least one example, which its model takes and which shows every field of it."""
    known, seen = routes(control.app), 0
    for method, path, operation in operations(document):
        route = known[method, path]
        for status, reply in operation["responses"].items():
            if not status.startswith("2") or JSON not in reply.get("content", {}):
                continue
            schema = reply["content"][JSON]["schema"]
            found = examples(schema, document)
            assert found, f"{method} {path} shows no answer of {status}"
            model = route.responses.get(int(status), {}).get("model") or route.response_model
            name = schema.get("$ref", "").rsplit("/", 1)[1]
            for example in found:
                check(example, model)
                assert set(example) == set(document["components"]["schemas"][name]["properties"]), f"{method} {path} {status}"
                seen += 1
    assert seen > 25


async def test_examples_keep_their_order_and_their_nulls(document: dict[str, Any]) -> None:
    """An example reads in the order of its schema, and says which fields may be null."""
    schema = document["components"]["schemas"]["Listing_Upstream_"]
    row = schema["examples"][0]["data"][0]
    assert list(row) == list(document["components"]["schemas"]["Upstream"]["properties"])
    assert row["last_error"] is None


async def test_listings_show_a_row(document: dict[str, Any]) -> None:
    """The example of a list is a page with a row, not an empty one."""
    listings = [schema for name, schema in document["components"]["schemas"].items() if name.startswith("Listing_")]
    assert len(listings) > 5
    for schema in listings:
        assert schema["examples"][0]["data"], schema["title"]


async def test_every_parameter_is_explained(document: dict[str, Any]) -> None:
    """Each parameter says what it is; where its values are not listed, it shows one that the schema's pattern takes."""
    seen = 0
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            where = f"{parameter['name']} of {method} {path}"
            assert parameter.get("description") or schema.get("description"), where
            shown = [parameter["example"]] if "example" in parameter else schema.get("examples", [])
            assert shown or "enum" in json.dumps(schema), where
            for pattern in re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(schema)):
                if r"\\p" not in pattern:
                    assert all(re.search(json.loads(f'"{pattern}"'), str(each)) for each in shown), where
            seen += 1
    assert seen > 60


async def test_changes_take_the_csrf_token(document: dict[str, Any]) -> None:
    """Who calls by a session's cookie reads which header a change takes; reading takes none."""
    for method, _, operation in operations(document):
        headers = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"}
        assert ("X-CSRF-Token" in headers) == (method != "get")


def test_rights_are_told_by_their_roles() -> None:
    """For each right the roles that bring it are told, in some place of theirs."""
    assert roles_with(Right.SIGNED_IN) == list(Role)
    assert roles_with(Right.MANAGE_CATALOGUE) == [Role.OPERATOR]
    assert roles_with(Right.MANAGE_WORKSPACES) == [Role.OPERATOR, Role.OWNER]
    assert roles_with(Right.READ_ACCOUNT) == [Role.OPERATOR, Role.OWNER, Role.VIEWER]
    assert roles_with(Right.MANAGE_KEYS) == [Role.OPERATOR, Role.OWNER, Role.ADMIN, Role.MEMBER]


async def test_page_loads_nothing_from_elsewhere(control: Control) -> None:
    """The page for people lists every path, runs no script and loads nothing but our own style sheet."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=control.app), base_url="http://gateway.test") as http:
        page = await http.get("/admin/v1/docs")
        style = await http.get("/admin/v1/docs/style.css")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert [link for link in links if not link.startswith("#")] == ["docs/style.css", "openapi.json"]
    assert all(f'id="{link[1:]}"' in page.text for link in links if link.startswith("#"))
    assert (style.status_code, style.headers["content-type"].split(";")[0]) == (200, "text/css")
    for path in (await control.get("/openapi.json")).json()["paths"]:
        assert f"<code>{path}</code>" in page.text


async def test_page_shows_what_programs_read(control: Control, document: dict[str, Any]) -> None:
    """The page shows the right and the roles of each route, headers, examples, and a line of curl that can be pasted."""
    text = (await control.http.get("/admin/v1/docs")).text
    assert text.count("Takes the right") == len(list(operations(document)))
    assert "<code>manage_catalogue</code>. Roles that bring it: operator." in text
    assert "<td><code>X-CSRF-Token</code></td><td>header</td>" in text
    assert "<td><code>If-Match</code></td><td>header</td>" in text
    assert "Incorrect API key provided: ***" in text
    assert "-X PUT &quot;$GATEWAY_URL/admin/v1/models/example/large&quot;" in text
    assert "-d &#x27;{&quot;rpm&quot;: 600" in text
    assert "{model" not in "".join(re.findall(r"GATEWAY_URL[^&]*", text))


async def test_page_escapes_what_it_shows(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the description is markup, wherever it comes from."""
    app = create_control(control.services)
    app.title = app.description = "<script>alert(1)</script>"
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://gateway.test") as http:
        page = await http.get("/admin/v1/docs")
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
