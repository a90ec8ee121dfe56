"""`gateway grants`."""

import click

from gateway.commands.api import Work, manages, part

_COLUMNS = ["model", "rpm", "tpm", "workspace_id", "updated_at"]


@click.group()
def grants() -> None:
    """Manage grants: the models that a sub-workspace may call, and its limits for them."""


@grants.command("list")
@click.argument("workspace")
@manages
def list_(work: Work, workspace: str) -> None:
    r"""List the grants of the workspace with this ID or name. A default workspace needs none.

    \b
    Example:
      gateway grants list research
    """
    found = work.api.every(f"/workspaces/{part(work.workspace(workspace))}/grants")
    work.listing(found, _COLUMNS, "The workspace has no grants.")


@grants.command("set")
@click.argument("workspace")
@click.argument("model")
@click.option("--rpm", type=int, help="Requests a minute, at most the account's; left out, no limit of the workspace's own.")
@click.option("--tpm", type=int, help="Tokens a minute, only with --rpm; left out, no limit of the workspace's own.")
@manages
def set_(work: Work, workspace: str, model: str, rpm: int | None, tpm: int | None) -> None:
    r"""Grant MODEL to a workspace, or replace the limits of its grant.

    \b
    Example:
      gateway grants set research demo-chat --rpm 60
    """
    body = {"rpm": rpm, "tpm": tpm}
    work.show(work.api.put(f"/workspaces/{part(work.workspace(workspace))}/grants/{part(model)}", body))


@grants.command()
@click.argument("workspace")
@click.argument("model")
@manages
def delete(work: Work, workspace: str, model: str) -> None:
    r"""Take MODEL from a workspace.

    \b
    Example:
      gateway grants delete research demo-chat
    """
    work.api.delete(f"/workspaces/{part(work.workspace(workspace))}/grants/{part(model)}")
    work.done(f"Deleted the grant of {model} to {workspace}.")
