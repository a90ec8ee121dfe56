"""`gateway usage`."""

from typing import Any

import click

from gateway.commands.api import Work, manages
from gateway.commands.help import examples

_COLUMNS = [
    "group",
    "calls",
    "failures",
    "refused",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "ttft_ms",
    "duration_ms",
]


@click.command(epilog=examples("gateway usage", "gateway usage --by workspace --range 7d"))
@click.option(
    "--by",
    "group_by",
    type=click.Choice(["model", "workspace", "key"]),
    default="model",
    show_default=True,
    help="What to sum up by.",
)
@click.option("--range", "range", type=click.Choice(["3h", "24h", "7d", "30d"]), help="Up to now; 24h where nothing is said.")
@click.option("--start", help="From when, as 2026-01-31T00:00:00Z or Unix seconds, instead of --range.")
@click.option("--end", help="Until when; left out, now.")
@click.option("--account", help="Only this account's calls, by ID or name.")
@click.option("--workspace", help="Only this workspace's calls, by ID or name.")
@click.option("--key", "key_id", help="Only calls with the key of this ID.")
@click.option("--model", help="Only calls of this model.")
@manages
def usage(work: Work, account: str | None, workspace: str | None, **given: Any) -> None:
    """Show what calls used in a span of time."""
    if account is not None:
        given["account_id"] = work.account(account)
    if workspace is not None:
        given["workspace_id"] = work.workspace(workspace)
    found = work.api.get("/usage", **given)
    rows = [*found["data"], {"group": "all together", **found["total"]}] if found["data"] else []
    work.listing(found if work.json else {"data": rows}, _COLUMNS, f"No calls from {found['start']} to {found['end']}.")
