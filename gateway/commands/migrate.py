"""`gateway migrate`."""

import click

from gateway.commands import database, folder, output
from gateway.commands.help import examples


@click.command(epilog=examples("GATEWAY_DATABASE_URL=postgresql://gateway@db/gateway gateway migrate"))
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "json", is_flag=True, help="Print the applied migrations as JSON.")
def migrate(quiet: bool, json: bool) -> None:
    """Bring the database's schema up to date. Safe to repeat, and to run in several places at once."""
    settings = output.settings()
    if settings.embedded:
        for warning in folder.prepare(settings.storage.data_dir):
            output.warn(warning)
    applied: list[str] = []
    database.migrate(settings, applied.append)
    if json:
        output.as_json({"applied": applied})
    elif not quiet:
        for line in applied:
            click.echo(line)
        click.echo("The database is up to date.")
