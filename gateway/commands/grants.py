"""`gateway grants`."""

import click

from gateway.commands.api import Work, manages, part
from gateway.commands.help import examples

_COLUMNS = ["model", "rpm", "tpm", "workspace_id", "updated_at"]


@click.group()
def grants() -> None:
    """Manage grants: the models that a sub-workspace may call, and its limits for them."""


@grants.command("list", epilog=examples("gateway grants list research"))
@click.argument("workspace")
@manages
def list_(work: Work, workspace: str) -> None:
    """List the grants of the workspace with this ID or name. A default workspace needs none."""
    found = work.api.every(f"/workspaces/{part(work.workspace(workspace))}/grants")
    work.listing(found, _COLUMNS, "The workspace has no grants.")


@grants.command("set", epilog=examples("gateway grants set research demo-chat --rpm 60"))
@click.argument("workspace")
@click.argument("model")
@click.option("--rpm", type=int, help="Requests a minute, at most the account's; left out, no limit of the workspace's own.")
@click.option("--tpm", type=int, help="Tokens a minute, only with --rpm; left out, no limit of the workspace's own.")
@manages
def set_(work: Work, workspace: str, model: str, rpm: int | None, tpm: int | None) -> None:
    """Grant MODEL to a workspace, or replace the limits of its grant."""
    body = {"rpm": rpm, "tpm": tpm}
    work.show(work.api.put(f"/workspaces/{part(work.workspace(workspace))}/grants/{part(model)}", body))


@grants.command(epilog=examples("gateway grants delete research demo-chat"))
@click.argument("workspace")
@click.argument("model")
@manages
def delete(work: Work, workspace: str, model: str) -> None:
    """Take MODEL from a workspace."""
    work.api.delete(f"/workspaces/{part(work.workspace(workspace))}/grants/{part(model)}")
    work.done(f"Deleted the grant of {model} to {workspace}.")
