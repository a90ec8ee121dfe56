"""Tool calls: which tool is called, and arguments made from its JSON schema."""

import json
import secrets
from typing import Any

from gateway.demo.requests import Body, Rejected

_MOST_DEPTH = 8


def chosen_tool(body: Body) -> Body | None:
    """The function that the answer calls: the one `tool_choice` names, else the first; None where the answer is text.

    A conversation that ends with a tool's result is answered with text, so that a client's loop comes to its end.
    """
    functions = _functions(body)
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        for candidate in functions:
            if candidate["name"] == name:
                return candidate
        raise Rejected(f"`tool_choice` names {name!r}, which is not among `tools`.", param="tool_choice")
    if choice not in (None, "auto", "none", "required"):
        raise Rejected('`tool_choice` must be "auto", "none", "required" or name a function.', param="tool_choice")
    if choice == "required" and not functions:
        raise Rejected("`tool_choice` is only allowed with `tools`.", param="tool_choice")
    ends_with_result = body["messages"][-1].get("role") == "tool"
    if not functions or choice == "none" or (ends_with_result and choice != "required"):
        return None
    return functions[0]


def call(function: Body) -> Body:
    """A tool call as it stands in a message; `arguments` is JSON in a string, as everywhere in this API."""
    schema = function.get("parameters")
    arguments = example(schema, schema, 0) if isinstance(schema, dict) else {}
    return {
        "id": f"call_demo_{secrets.token_hex(8)}",
        "type": "function",
        "function": {"name": function["name"], "arguments": json.dumps(arguments, ensure_ascii=False)},
    }


def _functions(body: Body) -> list[Body]:
    tools = body.get("tools")
    if tools is None:
        return []
    functions = (
        [tool.get("function") if isinstance(tool, dict) else None for tool in tools] if isinstance(tools, list) else [None]
    )
    named = [function for function in functions if isinstance(function, dict) and isinstance(function.get("name"), str)]
    if len(named) != len(functions):
        raise Rejected("`tools` must be a list of functions, each with a name.", param="tools")
    return named


def example(schema: object, root: Body, depth: int) -> Any:
    """A value that fits `schema`, as far as its usual keywords go (JSON Schema 2020-12); None where nothing is said.

    `root` is where `$ref` looks. Below a depth of 8 nothing more is filled in, because schemas may contain themselves.
    """
    if not isinstance(schema, dict) or depth > _MOST_DEPTH:
        return None
    if isinstance(schema.get("$ref"), str):
        return example(_referred(schema["$ref"], root), root, depth + 1)
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    for keyword in ("enum", "examples", "anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(keyword), list) and schema[keyword]:
            first = schema[keyword][0]
            return first if keyword in ("enum", "examples") else example(first, root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Body, root: Body, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "object" or (kind is None and "properties" in schema):
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        wanted = (
            [name for name in required if name in properties] if isinstance(required, list) and required else list(properties)
        )
        return {name: example(properties[name], root, depth + 1) for name in wanted}
    if kind == "array":
        return [example(schema["items"], root, depth + 1)] if isinstance(schema.get("items"), dict) else []
    if kind in ("integer", "number"):
        least = schema.get("minimum")
        return least if isinstance(least, int | float) else 1
    return {"string": "demo", "boolean": True}.get(str(kind))


def _referred(reference: str, root: Body) -> object:
    """The part of `root` that a `#/…` reference names, else None."""
    found: object = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, dict) else None
    return found
