"""The command line: `gateway COMMAND`."""

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import click

from gateway import __version__
from gateway.commands.help import examples
from gateway.ops.redact import REDACTOR

_COMMANDS = {
    "serve": "serve",
    "demo": "demo",
    "migrate": "migrate",
    "check": "check",
    "health": "health",
    "accounts": "accounts",
    "workspaces": "workspaces",
    "keys": "keys",
    "models": "models",
    "grants": "grants",
    "limits": "limits",
    "upstreams": "upstreams",
    "users": "users",
    "usage": "usage",
    "audit": "accounts",
}
"""Each command, and the module of `gateway.commands` that holds it under the same name."""


class _Commands(click.Group):
    """Loads a command's module when it is called, so that a short command need not wait for what only others use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 — click's own signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 — as above
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(f"gateway.commands.{module}"), cmd_name)
        return command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _nothing_secret():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _nothing_secret():
            return super().invoke(ctx)


@contextmanager
def _nothing_secret() -> Iterator[None]:
    """What a command says is wrong repeats arguments, of which one may be a key in the wrong place."""
    try:
        yield
    except click.ClickException as error:
        error.message = REDACTOR.text(error.message)  # type: ignore[misc]  # what is final is for its subclasses
        raise


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("gateway serve", 'gateway keys create --description "my laptop"', "gateway check"),
)
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """The gateway: an OpenAI-compatible endpoint with workspaces, model grants, rate limits and metering.

    Settings come from the environment and from gateway.toml (docs/settings.md). Commands that manage a gateway speak to the
    one that uses the data folder, or work on the folder themselves while none runs.
    """
    sys.excepthook = _show_fault


def _show_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A fault of ours, as Python shows it, but for what is secret in it."""
    click.echo(REDACTOR.text("".join(traceback.format_exception(kind, error, trace))), err=True, nl=False)
