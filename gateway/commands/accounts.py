"""`gateway accounts` and `gateway audit`."""

import click

from gateway.commands.api import Work, manages
from gateway.commands.help import examples

_COLUMNS = ["id", "name", "is_default", "created_at"]
_AUDIT_COLUMNS = ["at", "actor", "action", "target", "account_id", "client"]


@click.group()
def accounts() -> None:
    """Manage accounts, which own workspaces."""


@accounts.command("list", epilog=examples("gateway accounts list"))
@manages
def list_(work: Work) -> None:
    """List accounts."""
    work.listing(work.api.every("/accounts"), _COLUMNS, "There are no accounts.")


@accounts.command(epilog=examples('gateway accounts create "Acme Ltd"'))
@click.argument("name")
@manages
def create(work: Work, name: str) -> None:
    """Create an account called NAME, with its default workspace."""
    work.show(work.api.post("/accounts", {"name": name}))


@click.command(epilog=examples("gateway audit --last 20"))
@click.option("--account", help="Only what concerns this account, by ID or name.")
@click.option("--action", help="Only this action, such as key.delete.")
@click.option("--target", help="Only changes of what has this ID.")
@click.option("--last", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many entries.")
@manages
def audit(work: Work, account: str | None, action: str | None, target: str | None, last: int) -> None:
    """Show who changed what, the newest first."""
    account_id = None if account is None else work.account(account)
    found = work.api.get("/audit", account_id=account_id, action=action, target=target, limit=last)
    work.listing(found, _AUDIT_COLUMNS, "No changes to show.")
