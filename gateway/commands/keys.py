"""`gateway keys`."""

from typing import Any

import click

from gateway.commands.api import Work, manages, part
from gateway.commands.help import examples

_COLUMNS = ["id", "masked", "status", "description", "models", "workspace_id", "created_at", "last_used_at"]
_ONCE = "The key is shown this once; keep it now."


@click.group()
def keys() -> None:
    """Manage API keys."""


@keys.command("list", epilog=examples("gateway keys list research"))
@click.argument("workspace", required=False)
@click.option("--id", "search", help="Only keys with this part in their ID.")
@manages
def list_(work: Work, workspace: str | None, search: str | None) -> None:
    """List the API keys, masked, of the workspace with this ID or name; left out, those of all workspaces."""
    every = workspace is None
    found = [row["id"] for row in work.api.every("/workspaces")["data"]] if every else [work.workspace(workspace)]
    rows = [row for each in found for row in work.api.every(f"/workspaces/{part(each)}/api-keys", id=search)["data"]]
    work.listing({"data": rows, "next_cursor": None}, _COLUMNS, "There are no API keys.")


@keys.command(
    epilog=examples("gateway keys create", 'gateway keys create research --description "nightly jobs" --model demo-chat')
)
@click.argument("workspace", required=False)
@click.option("--description", default="", help="What it is for.")
@click.option("--model", "models", multiple=True, help="Narrow the key to this model; may be given several times.")
@manages
def create(work: Work, workspace: str | None, description: str, models: tuple[str, ...]) -> None:
    """Create an API key in the workspace with this ID or name; left out, in the default workspace. It is shown once."""
    body: dict[str, Any] = {"description": description}
    if models:
        body["models"] = list(models)
    work.show(work.api.post(f"/workspaces/{part(work.workspace(workspace))}/api-keys", body))
    work.note(_ONCE)


@keys.command(epilog=examples("gateway keys show ak-0123456789abcdef"))
@click.argument("key_id")
@manages
def show(work: Work, key_id: str) -> None:
    """Show the API key with this ID, masked."""
    work.show(work.api.get(f"/api-keys/{part(key_id)}"))


@keys.command(epilog=examples('gateway keys describe ak-0123456789abcdef "nightly jobs"'))
@click.argument("key_id")
@click.argument("description")
@manages
def describe(work: Work, key_id: str, description: str) -> None:
    """Change what a key is said to be for."""
    work.show(work.api.patch(f"/api-keys/{part(key_id)}", {"description": description}))


@keys.command(epilog=examples("gateway keys disable ak-0123456789abcdef"))
@click.argument("key_id")
@manages
def disable(work: Work, key_id: str) -> None:
    """Disable a key; no call that starts after this passes."""
    work.show(work.api.post(f"/api-keys/{part(key_id)}/disable"))


@keys.command(epilog=examples("gateway keys enable ak-0123456789abcdef"))
@click.argument("key_id")
@manages
def enable(work: Work, key_id: str) -> None:
    """Enable a disabled key again."""
    work.show(work.api.post(f"/api-keys/{part(key_id)}/enable"))


@keys.command(epilog=examples("gateway keys reset ak-0123456789abcdef"))
@click.argument("key_id")
@manages
def reset(work: Work, key_id: str) -> None:
    """Give a key a new secret, shown once; the old one stops working."""
    work.show(work.api.post(f"/api-keys/{part(key_id)}/reset"))
    work.note(_ONCE)


@keys.command(epilog=examples("gateway keys delete ak-0123456789abcdef"))
@click.argument("key_id")
@manages
def delete(work: Work, key_id: str) -> None:
    """Delete a key for good; no call that starts after this passes."""
    work.api.delete(f"/api-keys/{part(key_id)}")
    work.done(f"Deleted {key_id}.")
