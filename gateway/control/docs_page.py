"""The API's description as a page for people, out of the OpenAPI document."""

import json
import re
import shlex
from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import quote

Schema = dict[str, Any]

_PROSE = """
<p>A call takes the admin token, <code>Authorization: Bearer YOUR_ADMIN_TOKEN</code>, which is GATEWAY_ADMIN_TOKEN, or stands in
the file admin-token of the data folder; or the cookie of somebody who signed in at /console/, with the header
<code>X-CSRF-Token</code> for changes. The token has every right; people have those of their roles, in the places where they have
them.</p>
<p>Lists answer <code>{"data": […], "next_cursor": …}</code>. A refusal is a problem document (RFC 9457): <code>detail</code> says
what to do, <code>errors</code> which field is at fault.</p>
<p>The same for programs: <a href="openapi.json">openapi.json</a>. The examples below take the gateway's address from
<code>$GATEWAY_URL</code>, such as http://127.0.0.1:8080, and the token from <code>$GATEWAY_ADMIN_TOKEN</code>.</p>
"""


def render(document: Schema) -> str:
    """The page: every operation by its first tag, folded."""
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            sections.setdefault(tag, []).append(_operation(method, path, operation, document))
    links = "".join(f'<li><a href="#{escape(tag)}">{escape(_words(tag))}</a></li>' for tag in sections)
    body = "".join(
        f'<section><h2 id="{escape(tag)}">{escape(_words(tag))}</h2>{"".join(parts)}</section>' for tag, parts in sections.items()
    )
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="docs/style.css"></head>'
        f"<body><main><h1>{title}</h1><p>{escape(document['info'].get('description', ''))}</p>{_PROSE}"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>{body}</main></body></html>'
    )


def _words(tag: str) -> str:
    text = tag.replace("-", " ").replace("api", "API")
    return text[:1].upper() + text[1:]


def _operation(method: str, path: str, operation: Schema, document: Schema) -> str:
    right = operation.get("x-required-right", "")
    parts = [_prose(operation.get("description") or operation.get("summary", ""))]
    if right:
        roles = ", ".join(operation["x-roles"])
        parts.append(f"<p>Takes the right <code>{escape(right)}</code>. Roles that bring it: {escape(roles)}.</p>")
    parts += _parameters(operation.get("parameters", ()))
    body = operation.get("requestBody")
    schema = body["content"]["application/json"]["schema"] if body else None
    if schema is not None:
        parts.append(_content("Body", schema, document))
    for status, reply in operation["responses"].items():
        if status != "default":
            parts += _answer(status, reply, document)
    parts.append(f"<h3>With curl</h3><pre>{escape(_curl(method, path, operation, schema, document))}</pre>")
    return (
        f'<details><summary><span class="method">{escape(method.upper())}</span><code>{escape(path)}</code>'
        f'<span class="right">{escape(right)}</span></summary><div class="operation">{"".join(parts)}</div></details>'
    )


def _prose(text: str) -> str:
    """Paragraphs, in which `code` is set as such."""
    paragraphs = (re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(each)) for each in text.split("\n\n"))
    return "".join(f"<p>{each}</p>" for each in paragraphs)


def _code(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _parameters(parameters: Any) -> Iterator[str]:
    if not parameters:
        return
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
        f"<td>{_code(each.get('description') or each['schema'].get('description', ''))}{_choices(each['schema'])}</td>"
        f"<td><code>{escape(str(_example_of(each)))}</code></td></tr>"
        for each in parameters
    )
    yield (
        '<h3>Parameters</h3><div class="table" tabindex="0" role="region" aria-label="Parameters">'
        f"<table><tr><th>name</th><th>in</th><th>what</th><th>example</th></tr>{rows}</table></div>"
    )


def _choices(schema: Schema) -> str:
    shown = _type(schema)
    return f" <code>{escape(shown)}</code>" if '"' in shown else ""


def _example_of(parameter: Schema) -> object:
    return parameter.get("example", next(iter(parameter["schema"].get("examples", ())), ""))


def _answer(status: str, reply: Schema, document: Schema) -> Iterator[str]:
    content = reply.get("content", {})
    if not content:
        yield f"<h3>Answer {escape(status)} <small>{escape(reply.get('description', ''))}</small></h3>"
    for kind, each in content.items():
        title = f"Answer {status}" + ("" if kind == "application/json" else f", {kind}")
        yield _content(title, each.get("schema", {}) if kind == "application/json" else {}, document)


def _resolved(schema: Schema, document: Schema) -> Schema:
    found: Schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    return found


def _content(title: str, schema: Schema, document: Schema) -> str:
    """The fields of a body, and an example beside them."""
    schema = _resolved(schema, document)
    required = set(schema.get("required", ()))
    lines = [
        f"{name}{'' if name in required else '?'}: {_type(each)}"
        + (f"   # {each['description']}" if "description" in each else "")
        for name, each in schema.get("properties", {}).items()
    ]
    fields = f"<pre>{escape(chr(10).join(lines))}</pre>" if lines else ""
    examples = "".join(f"<pre>{escape(_pretty(each))}</pre>" for each in schema.get("examples", ()))
    about = _prose(schema.get("description", "")) if lines and schema.get("description") else ""
    return f'<h3>{escape(title)}</h3>{about}<div class="pair"><div>{fields}</div><div>{examples}</div></div>'


def _pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _curl(method: str, path: str, operation: Schema, body: Schema | None, document: Schema) -> str:
    """A line that can be pasted: the address with its parts filled in, and the first example of the body."""
    parts = {each["name"]: str(_example_of(each)) for each in operation.get("parameters", ()) if each["in"] == "path"}
    filled = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: quote(parts.get(found[1], found[1])), path)
    line = f'curl -H "Authorization: Bearer $GATEWAY_ADMIN_TOKEN" -X {method.upper()} "$GATEWAY_URL{filled}"'
    if body is None:
        return line
    example: object = next(iter(_resolved(body, document).get("examples", ())), {})
    return f'{line} \\\n  -H "Content-Type: application/json" -d {shlex.quote(json.dumps(example, ensure_ascii=False))}'


def _type(schema: Schema) -> str:
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
