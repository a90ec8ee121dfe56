"""`gateway workspaces`."""

import click

from gateway.commands.api import Work, manages, part
from gateway.commands.help import examples

_COLUMNS = ["id", "name", "is_default", "key_count", "account_id", "created_at"]


@click.group()
def workspaces() -> None:
    """Manage workspaces, which own API keys and hold model grants."""


@workspaces.command("list", epilog=examples("gateway workspaces list"))
@click.option("--account", help="Only this account's, by ID or name.")
@manages
def list_(work: Work, account: str | None) -> None:
    """List workspaces."""
    account_id = None if account is None else work.account(account)
    work.listing(work.api.every("/workspaces", account_id=account_id), _COLUMNS, "There are no workspaces.")


@workspaces.command(epilog=examples("gateway workspaces create research"))
@click.argument("name")
@click.option("--account", help="The account it belongs to, by ID or name; left out, the default account.")
@manages
def create(work: Work, name: str, account: str | None) -> None:
    """Create a sub-workspace called NAME. It may call the models that are granted to it."""
    body = {"name": name} if account is None else {"name": name, "account_id": work.account(account)}
    work.show(work.api.post("/workspaces", body))


@workspaces.command(epilog=examples("gateway workspaces show research"))
@click.argument("workspace")
@manages
def show(work: Work, workspace: str) -> None:
    """Show the workspace with this ID or name."""
    work.show(work.api.get(f"/workspaces/{part(work.workspace(workspace))}"))


@workspaces.command(epilog=examples("gateway workspaces rename research science"))
@click.argument("workspace")
@click.argument("name")
@manages
def rename(work: Work, workspace: str, name: str) -> None:
    """Give the workspace with this ID or name a new NAME."""
    work.show(work.api.patch(f"/workspaces/{part(work.workspace(workspace))}", {"name": name}))
