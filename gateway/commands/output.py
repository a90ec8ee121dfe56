"""What commands print: tables for people, the API's JSON for programs, and errors to standard error."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway.config import ConfigError, Problem, Secrets, Settings, from_environment
from gateway.ops.redact import REDACTOR


class Failure(click.ClickException):
    """A command that could not do its work: problem and remedy go to standard error, and the exit code is 1."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = REDACTOR.text(problem)
        self.remedy = remedy
        super().__init__(f"{self.problem}. {remedy}" if remedy else self.problem)


def settings(options: Mapping[str, object] | None = None) -> Settings:
    """The settings of this process, or a Failure that shows every problem. What is secret in them is shown in no error."""
    try:
        found_settings = from_environment(options)
    except ConfigError as error:
        found = error.problems
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise Failure(f"the configuration has {count}:\n" + "\n".join(f"  {shown(each)}" for each in found)) from None
    hide(found_settings)
    return found_settings


def hide(settings: Settings, secrets: Secrets | None = None) -> None:
    """Have neither log lines nor errors of this process show what is secret in its settings."""
    given = [settings.secrets.admin_token, settings.secrets.key_pepper, settings.upstream.api_key]
    given += [upstream.api_key for upstream in settings.upstreams]
    for text in given:
        REDACTOR.know(None if text is None else text.get_secret_value())
    for url in (settings.storage.database_url, settings.storage.migrate_database_url, settings.storage.redis_url):
        REDACTOR.know_url(None if url is None else url.get_secret_value())
    for value in settings.tracing.header_fields.values():
        REDACTOR.know(value)
    if secrets is not None:
        REDACTOR.know(secrets.admin_token)
        REDACTOR.know(secrets.key_pepper.decode("utf-8", "backslashreplace"))


def shown(problem: Problem) -> str:
    """A problem on two lines, the remedy indented."""
    return f"{problem.source}: {problem.problem}\n      {problem.remedy}"


def warn(text: str) -> None:
    click.echo(f"Warning: {REDACTOR.text(text)}", err=True)


def as_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(key if key == own else f"{key}={own}" for key, own in value.items()) or "-"
        case list():
            return ", ".join(str(each) for each in value) or "-"
        case _:
            return str(value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> None:
    """Rows under headers; `nothing` is said where there are none."""
    if not rows:
        click.echo(nothing)
        return
    cells = [[column.upper().replace("_", " ") for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def record(row: Mapping[str, Any]) -> None:
    """One thing, a field on each line. What the answer warns of goes to standard error."""
    shown_fields = {key: value for key, value in row.items() if key != "warnings"}
    width = max(len(key) for key in shown_fields)
    for key, value in shown_fields.items():
        click.echo(f"{key.replace('_', ' ').ljust(width)}  {_cell(value)}")
    for text in row.get("warnings") or ():
        warn(text)
