"""`gateway models`."""

from typing import Any

import click

from gateway.commands.api import Work, manages, part
from gateway.commands.help import examples

_COLUMNS = ["name", "type", "owned_by", "rpm", "tpm", "vendor", "source"]


@click.group()
def models() -> None:
    """Manage the catalogue of models and their default limits."""


@models.command("list", epilog=examples("gateway models list"))
@manages
def list_(work: Work) -> None:
    """List the models that are stored and those that upstreams serve."""
    work.listing(work.api.every("/models"), _COLUMNS, "There are no models; add an upstream that serves some.")


@models.command(epilog=examples("gateway models show demo-chat"))
@click.argument("model")
@manages
def show(work: Work, model: str) -> None:
    """Show one model."""
    work.show(work.api.get(f"/models/{part(model)}"))


@models.command("set", epilog=examples("gateway models set demo-chat --rpm 600 --tpm 100000"))
@click.argument("model")
@click.option("--rpm", type=int, help="Requests a minute of an account; left out, no limit.")
@click.option("--tpm", type=int, help="Tokens a minute of an account, only with --rpm; left out, no limit.")
@click.option("--type", type=click.Choice(["chat", "completion", "embedding"]), help="What it is for.")
@click.option("--vendor", help="Who made it.")
@manages
def set_(work: Work, model: str, **given: Any) -> None:
    """Store a model's limits, type and vendor, in place of what was stored of it."""
    work.show(work.api.put(f"/models/{part(model)}", given))


@models.command(epilog=examples("gateway models delete demo-chat"))
@click.argument("model")
@manages
def delete(work: Work, model: str) -> None:
    """Forget what is stored of a model, and every grant of it."""
    work.api.delete(f"/models/{part(model)}")
    work.done(f"Deleted {model}.")
