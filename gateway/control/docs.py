"""The API's description: the OpenAPI document, and a page made from it that loads nothing from elsewhere and needs no script."""

from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from starlette.responses import HTMLResponse, JSONResponse, Response

from gateway.control.policy import GuardedRoute, access_of, public
from gateway.control.problems import MEDIA_TYPE
from gateway.control.schemas import ProblemDocument
from gateway.control.sessions import PLAIN_COOKIE, SECURE_COOKIE
from gateway.domain.roles import Right

_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
body { color: #1a1a1a; background: #fff; }
h2 { margin-top: 2rem; border-bottom: 1px solid #ccc; }
summary { cursor: pointer; padding: .3rem 0; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; }
.method { display: inline-block; width: 4.5rem; font-weight: 700; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
@media (prefers-color-scheme: dark) {
  body { color: #eee; background: #16181b; } pre { background: #24272b; } a { color: #8ab4f8; }
}
"""

router = APIRouter(tags=["description"], route_class=GuardedRoute)


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with what the framework does not know of: who may use a route, and how refusals look."""
    document: dict[str, Any] = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemDocument"] = problem
    components["securitySchemes"] = {
        "adminToken": {"type": "http", "scheme": "bearer"},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": PLAIN_COOKIE,
            "description": f"Of who signed in at /console/; over TLS `{SECURE_COOKIE}`. A change takes x-csrf-token too.",
        },
    }
    refusal = {
        "description": "A refusal, as a problem document.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
    for context in iter_route_contexts(app.routes):
        for method in context.methods or ():
            operation = document["paths"].get(context.path_format, {}).get(method.lower())
            if operation is None:
                continue
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = refusal
            if isinstance(access := access_of(context.endpoint), Right):
                operation["security"] = [{"adminToken": []}, {"session": []}]
                operation["x-required-right"] = access.value
    return document


def _document(request: Request) -> dict[str, Any]:
    app: FastAPI = request.app
    if app.openapi_schema is None:
        app.openapi_schema = describe(app)
    return app.openapi_schema


@router.get("/openapi.json", include_in_schema=False)
@public
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(_document(request))


@router.get("/docs", include_in_schema=False)
@public
async def page(request: Request) -> Response:
    """The same for people."""
    return HTMLResponse(_page(_document(request)), headers={"content-security-policy": _POLICY})


@router.get("/docs/style.css", include_in_schema=False)
@public
async def style() -> Response:
    return Response(_STYLE, media_type="text/css", headers={"cache-control": "max-age=3600"})


def _page(document: dict[str, Any]) -> str:
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            sections.setdefault(tag, []).append(_operation(method, path, operation, document))
    body = "".join(f"<section><h2>{escape(tag)}</h2>{''.join(parts)}</section>" for tag, parts in sections.items())
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="docs/style.css"></head>'
        f"<body><main><h1>{title}</h1><p>{escape(document['info'].get('description', ''))}</p>"
        "<p>A call takes the admin token, <code>Authorization: Bearer YOUR_ADMIN_TOKEN</code>, which is GATEWAY_ADMIN_TOKEN, "
        "or stands in the file admin-token of the data folder.</p>"
        '<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{body}</main></body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>"]
    if parameters := operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
            f"<td>{escape(each.get('description') or each['schema'].get('description', ''))}</td></tr>"
            for each in parameters
        )
        parts.append(f"<table><tr><th>parameter</th><th>in</th><th>what</th></tr>{rows}</table>")
    if body := operation.get("requestBody"):
        parts.append(_fields("Body", body["content"]["application/json"]["schema"], document))
    for status, reply in operation["responses"].items():
        if status != "default":
            schema = reply.get("content", {}).get("application/json", {}).get("schema")
            parts.append(_fields(f"Answer {status}", schema, document))
    return (
        f'<details><summary><span class="method">{escape(method.upper())}</span><code>{escape(path)}</code></summary>'
        f"{''.join(parts)}</details>"
    )


def _fields(title: str, schema: dict[str, Any] | None, document: dict[str, Any]) -> str:
    if schema is None:
        return f"<p>{escape(title)}</p>"
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    required = set(schema.get("required", ()))
    lines = [
        f"{name}{'' if name in required else '?'}: {_type(each)}"
        + (f"   # {each['description']}" if "description" in each else "")
        for name, each in schema.get("properties", {}).items()
    ]
    return f"<p>{escape(title)}</p><pre>{escape(chr(10).join(lines))}</pre>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, such as `integer | null`."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    if "anyOf" in schema:
        return " | ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f'"{each}"' for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))
