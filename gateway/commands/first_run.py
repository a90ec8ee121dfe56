"""What `gateway serve` says once it listens: on the very first start with an API key to try, later without any secret."""

import json
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import httpx2

from gateway.app import Gateway
from gateway.commands import output
from gateway.commands.api import PREFIX as ADMIN
from gateway.commands.secret_files import token_path
from gateway.config import Secrets, Settings
from gateway.control.context import Caller
from gateway.control.routes.users import LINK_PATH
from gateway.control.services import invitations
from gateway.dataplane.endpoints import PREFIX as DATA
from gateway.domain.faults import StorageUnavailable
from gateway.domain.roles import operator

GREETED_FILE = "greeted"
_NO_MODEL = "YOUR_MODEL"


async def greet(gateway: Gateway, settings: Settings, secrets: Secrets, url: str, *, as_json: bool) -> None:
    """Print where the gateway is; the first time, with a fresh key and examples that use it."""
    endpoint = url + DATA
    if as_json:
        with suppress(OSError):
            click.echo(json.dumps({"url": url, "endpoint": endpoint}))
            sys.stdout.flush()
        return
    client = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=gateway),
        base_url=f"http://gateway.invalid{ADMIN}",
        headers={"authorization": f"Bearer {secrets.admin_token}"},
    )
    key = model = link = None
    first = _is_first(gateway, settings)
    async with client:
        try:
            key = await _first_key(gateway, client) if first else None
            model = await _example_model(client) if key else None
            link = await _first_link(gateway) if first else None
        except (httpx2.HTTPError, StorageUnavailable) as error:
            output.warn(f"no first API key or sign-in link could be made: {error}")
    lines = _places(settings, endpoint, settings.server.public_url or url, link)
    if any(state.upstream.source == "demo" for state in gateway.directory.states()):
        lines.append("  Upstream     the built-in demo, no real model; set GATEWAY_UPSTREAM_BASE_URL to a model server for one")
    # The gateway goes on when nobody reads what it says.
    with suppress(OSError):
        click.echo("\n".join([*lines, *(_examples(endpoint, key, model) if key else _later())]))
        sys.stdout.flush()


def _is_first(gateway: Gateway, settings: Settings) -> bool:
    """Whether this is the very first start of an embedded gateway.

    Not with a database server: others share it, and what is printed there often ends in collected logs.
    """
    if not settings.embedded or gateway.bootstrap is None:
        return False
    try:
        os.close(os.open(settings.storage.data_dir / GREETED_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError:
        return False
    return True


async def _first_link(gateway: Gateway) -> str | None:
    """The path of a one-time link for the first operator; None where somebody can sign in already."""
    link = await invitations.first_operator(gateway.services, Caller(operator("first start", "first start")))
    return None if link is None else LINK_PATH + link.secret


async def _first_key(gateway: Gateway, client: httpx2.AsyncClient) -> str | None:
    """A key for the default workspace, where it has none; else None."""
    if gateway.bootstrap is None:
        return None
    workspace = f"/workspaces/{gateway.bootstrap.workspace_id}"
    if _taken(await client.get(workspace))["key_count"]:
        return None
    return str(_taken(await client.post(f"{workspace}/api-keys", json={"description": "made at the first start"}))["key"])


async def _example_model(client: httpx2.AsyncClient) -> str | None:
    """A model that is served and may well chat: the first that is not known, or named, to be for something else."""
    served = [row for row in _taken(await client.get("/models", params={"limit": 1000}))["data"] if row["owned_by"]]
    fitting = [row["name"] for row in served if row["type"] in (None, "chat") and "embed" not in row["name"].lower()]
    return fitting[0] if fitting else None


def _taken(reply: httpx2.Response) -> Any:
    return reply.raise_for_status().json()


def _places(settings: Settings, endpoint: str, url: str, link: str | None) -> list[str]:
    made = settings.secrets.admin_token is None
    kept = f"the file {token_path(settings)}" if made else "GATEWAY_ADMIN_TOKEN"
    once = "               (opens once, within some days; whoever opens it becomes the first operator)"
    return [
        "",
        "The gateway is running.",
        "",
        f"  Endpoint     {endpoint}",
        f"  Console      {url}{link or '/console/'}",
        *([once] if link else []),
        f"  Admin API    {url}{ADMIN}/docs, with the token in {kept}",
        "  Handbook     README.md and docs/",
    ]


def _later() -> list[str]:
    return [
        f"  Another key  {_command()} keys create",
        f"  Sign in      {_command()} users invite you@example.com --role operator",
        "",
    ]


def _examples(endpoint: str, key: str, model: str | None) -> list[str]:
    name = model or _NO_MODEL
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}]})
    warning = [] if model else ["", f"No upstream serves a model yet: put the name of one in the place of {_NO_MODEL}."]
    return [
        f"  API key      {key}",
        f"               (shown this once; make another with: {_command()} keys create)",
        *warning,
        "",
        "Try it:",
        "",
        f"  curl {endpoint}/chat/completions \\",
        f'    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\',
        f"    -d {shlex.quote(body)}",
        "",
        "Or in Python, after pip install openai:",
        "",
        "  from openai import OpenAI",
        f'  client = OpenAI(base_url="{endpoint}", api_key="{key}")',
        f'  reply = client.chat.completions.create(model="{name}", messages=[{{"role": "user", "content": "Hello"}}])',
        "  print(reply.choices[0].message.content)",
        "",
    ]


def _command() -> str:
    """How this program was called, where that is something to type again."""
    return sys.argv[0] if Path(sys.argv[0]).name == "gateway" else "gateway"
