"""The API's description: the OpenAPI document, and a page made from it that loads nothing from elsewhere and needs no script."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse, Response

from gateway.control.docs_page import render
from gateway.control.docs_words import CSRF_HEADER, complete, roles_with
from gateway.control.policy import GuardedRoute, access_of, public
from gateway.control.problems import MEDIA_TYPE
from gateway.control.schemas import ProblemDocument
from gateway.control.sessions import PLAIN_COOKIE, SECURE_COOKIE
from gateway.domain.roles import Right

_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_REFUSAL = {
    "description": "A refusal, as a problem document.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
}

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
            "description": f"Of who signed in at /console/; over TLS `{SECURE_COOKIE}`. A change takes X-CSRF-Token too.",
        },
    }
    for model in _models(app):
        _show(model, schemas)
    for context in iter_route_contexts(app.routes):
        for method in context.methods or ():
            operation = document["paths"].get(context.path_format, {}).get(method.lower())
            if operation is not None:
                access = access_of(context.endpoint)
                _complete(operation, method, access if isinstance(access, Right) else None)
    return document


def _models(app: FastAPI) -> Iterator[type[BaseModel]]:
    """The models of all bodies and answers."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            body = None if route.body_field is None else route.body_field.field_info.annotation
            for each in (body, route.response_model, *(reply.get("model") for reply in route.responses.values())):
                if isinstance(each, type) and issubclass(each, BaseModel):
                    yield each


def _show(model: type[BaseModel], schemas: dict[str, Any]) -> None:
    """Set the examples of a model, and of those that it is made of, as they are: the framework takes every null out of them."""
    schema = model.model_json_schema()
    for name, each in {re.sub(r"\W", "_", model.__name__): schema, **schema.get("$defs", {})}.items():
        if name in schemas and "examples" in each:
            schemas[name]["examples"] = [_in_order(example, schemas[name], schemas) for example in each["examples"]]


def _in_order(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """An example with its fields in the order of the schema; pydantic sorts them by name."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, list):
        return [_in_order(each, schema.get("items", {}), schemas) for each in value]
    fields = schema.get("properties", {})
    if not isinstance(value, dict):
        return value
    return {name: _in_order(value[name], fields.get(name, {}), schemas) for name in [*fields, *value] if name in value}


def _complete(operation: dict[str, Any], method: str, right: Right | None) -> None:
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = _REFUSAL
    for parameter in operation.get("parameters", ()):
        complete(parameter)
    if right is not None:
        operation["security"] = [{"adminToken": []}, {"session": []}]
        operation["x-required-right"] = right.value
        operation["x-roles"] = [role.value for role in roles_with(right)]
        if method not in ("GET", "HEAD"):
            operation.setdefault("parameters", []).append(CSRF_HEADER)


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
    return HTMLResponse(render(_document(request)), headers={"content-security-policy": _POLICY})


@router.get("/docs/style.css", include_in_schema=False)
@public
async def style() -> Response:
    return Response(_style(), media_type="text/css", headers={"cache-control": "max-age=3600"})


@cache
def _style() -> bytes:
    return (resources.files("gateway.control") / "docs.css").read_bytes()
