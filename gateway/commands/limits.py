"""`gateway limits`."""

import click

from gateway.commands.api import Work, manages, part
from gateway.commands.help import examples

_COLUMNS = ["model", "rpm", "tpm", "source"]
_ACCOUNT = "The account, by ID or name; left out, the default account."


@click.group()
def limits() -> None:
    """Manage the limits that an account has for itself, in place of the models'."""


@limits.command("list", epilog=examples("gateway limits list"))
@click.option("--account", help=_ACCOUNT)
@manages
def list_(work: Work, account: str | None) -> None:
    """List what an account is held to for every model, and which level says so."""
    work.listing(work.api.every(f"/accounts/{part(work.account(account))}/limits"), _COLUMNS, "There are no models to limit.")


@limits.command("set", epilog=examples("gateway limits set demo-chat --rpm 50"))
@click.argument("model")
@click.option("--account", help=_ACCOUNT)
@click.option("--rpm", type=int, help="Requests a minute; left out, the model's limit holds.")
@click.option("--tpm", type=int, help="Tokens a minute, only with --rpm; left out, the model's limit holds.")
@manages
def set_(work: Work, model: str, account: str | None, rpm: int | None, tpm: int | None) -> None:
    """Set an account's own limits for MODEL, in place of those it had."""
    work.show(work.api.put(f"/accounts/{part(work.account(account))}/limits/{part(model)}", {"rpm": rpm, "tpm": tpm}))


@limits.command(epilog=examples("gateway limits delete demo-chat"))
@click.argument("model")
@click.option("--account", help=_ACCOUNT)
@manages
def delete(work: Work, model: str, account: str | None) -> None:
    """Delete an account's own limits for MODEL; the model's hold again."""
    work.api.delete(f"/accounts/{part(work.account(account))}/limits/{part(model)}")
    work.done(f"Deleted the account's own limits for {model}.")
