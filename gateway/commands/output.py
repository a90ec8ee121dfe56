"""What commands print: tables for people, the API's JSON for programs, and errors to standard error."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway.config import ConfigError, Problem, Settings, from_environment


class Failure(click.ClickException):
    """A command that could not do its work: problem and remedy go to standard error, and the exit code is 1."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}. {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


def settings(options: Mapping[str, object] | None = None) -> Settings:
    """The settings of this process, or a Failure that shows every problem."""
    try:
        return from_environment(options)
    except ConfigError as error:
        found = error.problems
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise Failure(f"the configuration has {count}:\n" + "\n".join(f"  {shown(each)}" for each in found)) from None


def shown(problem: Problem) -> str:
    """A problem on two lines, the remedy indented."""
    return f"{problem.source}: {problem.problem}\n      {problem.remedy}"


def warn(text: str) -> None:
    click.echo(f"Warning: {text}", err=True)


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
