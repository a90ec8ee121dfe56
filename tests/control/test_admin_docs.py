"""The API's description."""

import re

import httpx2
from fastapi.routing import iter_route_contexts

from gateway.domain.roles import Right
from tests.control.admin_api import Control


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


async def test_page_loads_nothing_from_elsewhere(control: Control) -> None:
    """The page for people lists every path, runs no script and loads nothing but our own style sheet."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=control.app), base_url="http://gateway.test") as http:
        page = await http.get("/admin/v1/docs")
        style = await http.get("/admin/v1/docs/style.css")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert re.findall(r'(?:src|href)="([^"]+)"', page.text) == ["docs/style.css", "openapi.json"]
    assert (style.status_code, style.headers["content-type"].split(";")[0]) == (200, "text/css")
    for path in (await control.get("/openapi.json")).json()["paths"]:
        assert f"<code>{path}</code>" in page.text
