"""`gateway upstreams`."""

import sys
from typing import Any

import click

from gateway.commands.api import Work, manages, part
from gateway.commands.help import examples

_COLUMNS = ["id", "name", "base_url", "models", "lists_models", "weight", "enabled", "state", "source", "last_error"]
_MODELS = "Model names separated by commas, each a or a=name-over-there; * for all that the upstream lists."
_API_KEY = "The credential; - reads it from standard input, so that no process list shows it."


@click.group()
def upstreams() -> None:
    """Manage upstreams, the model servers that calls are forwarded to."""


def _split(models: str) -> list[str]:
    return [name.strip() for name in models.split(",") if name.strip()]


def _credential(given: str) -> str:
    return sys.stdin.readline().strip() if given == "-" else given


@upstreams.command("list", epilog=examples("gateway upstreams list"))
@manages
def list_(work: Work) -> None:
    """List upstreams, those of the settings included, and how they are."""
    work.listing(work.api.every("/upstreams"), _COLUMNS, "There are no upstreams.")


@upstreams.command(epilog=examples("gateway upstreams show up-0123456789abcdef"))
@click.argument("upstream_id")
@manages
def show(work: Work, upstream_id: str) -> None:
    """Show the upstream with this ID."""
    work.show(work.api.get(f"/upstreams/{part(upstream_id)}"))


@upstreams.command(
    epilog=examples(
        "gateway upstreams add http://127.0.0.1:8000/v1",
        'gateway upstreams add https://models.example/v1 --models "small,large=large-2026" --api-key - < credential',
    )
)
@click.argument("base_url")
@click.option("--name", help="What it is called; left out, its host's name.")
@click.option("--models", default="*", show_default=True, help=_MODELS)
@click.option("--api-key", help=_API_KEY)
@click.option("--weight", type=int, default=1, show_default=True, help="Its share of the calls, where several serve a model.")
@click.option("--disabled", is_flag=True, help="Add it, but send no calls there yet.")
@manages
def add(work: Work, models: str, api_key: str | None, disabled: bool, **given: Any) -> None:
    """Add the model server at BASE_URL."""
    body = {name: value for name, value in given.items() if value is not None}
    body |= {"models": _split(models), "enabled": not disabled}
    if api_key is not None:
        body["api_key"] = _credential(api_key)
    work.show(work.api.post("/upstreams", body))


@upstreams.command(epilog=examples("gateway upstreams update up-0123456789abcdef --weight 3"))
@click.argument("upstream_id")
@click.option("--base-url", help="Its address.")
@click.option("--name", help="What it is called.")
@click.option("--models", help=_MODELS)
@click.option("--api-key", help=_API_KEY)
@click.option("--no-api-key", is_flag=True, help="Remove the credential.")
@click.option("--weight", type=int, help="Its share of the calls, where several serve a model.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether calls are sent there.")
@manages
def update(work: Work, upstream_id: str, models: str | None, api_key: str | None, no_api_key: bool, **given: Any) -> None:
    """Change what is given of the upstream with this ID; the rest stays."""
    body = {name: value for name, value in given.items() if value is not None}
    if models is not None:
        body["models"] = _split(models)
    if api_key is not None:
        body["api_key"] = _credential(api_key)
    if no_api_key:
        body["api_key"] = None
    work.show(work.api.patch(f"/upstreams/{part(upstream_id)}", body))


@upstreams.command(epilog=examples("gateway upstreams delete up-0123456789abcdef"))
@click.argument("upstream_id")
@manages
def delete(work: Work, upstream_id: str) -> None:
    """Delete the upstream with this ID."""
    work.api.delete(f"/upstreams/{part(upstream_id)}")
    work.done(f"Deleted {upstream_id}.")
