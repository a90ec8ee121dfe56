"""`gateway models`."""

from typing import Any

import click

from gateway.commands.api import Work, manages, part

_COLUMNS = ["name", "type", "owned_by", "rpm", "tpm", "vendor", "source"]


@click.group()
def models() -> None:
    """Manage the catalogue of models and their default limits."""


@models.command("list")
@manages
def list_(work: Work) -> None:
    r"""List the models that are stored and those that upstreams serve.

    \b
    Example:
      gateway models list
    """
    work.listing(work.api.every("/models"), _COLUMNS, "There are no models; add an upstream that serves some.")


@models.command()
@click.argument("model")
@manages
def show(work: Work, model: str) -> None:
    r"""Show one model.

    \b
    Example:
      gateway models show demo-chat
    """
    work.show(work.api.get(f"/models/{part(model)}"))


@models.command("set")
@click.argument("model")
@click.option("--rpm", type=int, help="Requests a minute of an account; left out, no limit.")
@click.option("--tpm", type=int, help="Tokens a minute of an account, only with --rpm; left out, no limit.")
@click.option("--type", type=click.Choice(["chat", "completion", "embedding"]), help="What it is for.")
@click.option("--vendor", help="Who made it.")
@manages
def set_(work: Work, model: str, **given: Any) -> None:
    r"""Store a model's limits, type and vendor, in place of what was stored of it.

    \b
    Example:
      gateway models set demo-chat --rpm 600 --tpm 100000
    """
    work.show(work.api.put(f"/models/{part(model)}", given))


@models.command()
@click.argument("model")
@manages
def delete(work: Work, model: str) -> None:
    r"""Forget what is stored of a model, and every grant of it.

    \b
    Example:
      gateway models delete demo-chat
    """
    work.api.delete(f"/models/{part(model)}")
    work.done(f"Deleted {model}.")
