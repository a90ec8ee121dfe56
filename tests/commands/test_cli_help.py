"""Every command explains itself, and docs/cli.md says the same."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.cli import main

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SHARED = {"--json", "--url", "--token"}


def every(command: click.Command = main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands that do something, and the words that call them."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from every(found, (*path, name))


COMMANDS = list(every())
IDS = [" ".join(path) for path, _ in COMMANDS]


def options(command: click.Command) -> list[click.Option]:
    return [each for each in command.params if isinstance(each, click.Option) and not each.hidden]


def spelled(option: click.Option) -> str:
    return "/".join([option.opts[-1], *option.secondary_opts])


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_help_runs(path: tuple[str, ...], command: click.Command) -> None:
    """`--help` of every command exits with 0, says what it is for and shows an example that calls it."""
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert command.help
    assert command.help.split()[0] in result.output
    assert f"gateway {' '.join(path)}" in result.output.split("Example")[1]


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_every_command_has_json(path: tuple[str, ...], command: click.Command) -> None:
    """Every command can answer a program."""
    assert "--json" in [spelled(option) for option in options(command)], path


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_every_option_says_what_it_does(path: tuple[str, ...], command: click.Command) -> None:
    """No option is left unexplained."""
    assert [spelled(each) for each in options(command) if not each.help] == [], path


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_documented(path: tuple[str, ...], command: click.Command) -> None:
    """docs/cli.md has each command with its usage, its text, its options and its examples."""
    context = click.Context(command, info_name=f"gateway {' '.join(path)}")
    usage = " ".join(["gateway", *path, *command.collect_usage_pieces(context)])
    section = TEXT.split(f"\n### `{usage}`\n")[1].split("\n### ")[0].split("\n## ")[0]
    assert " ".join((command.help or "").split()) in section
    named = {spelled(option): option for option in options(command)}
    own = {name for name in named if name not in SHARED or not named.keys() >= SHARED}
    assert own == set(re.findall(r"^\| `(--[^`]+)` \|", section, re.MULTILINE))
    for name in own:
        assert (named[name].help or "-") in section
    assert all(line.strip() in section for line in (command.epilog or "").splitlines()[2:])


def test_no_other_command_is_documented() -> None:
    """docs/cli.md has no command that does not exist."""
    documented = [
        " ".join(re.findall(r"^[a-z -]+", line)[0].split()[1:]) for line in re.findall(r"^### `(.+)`$", TEXT, re.MULTILINE)
    ]
    assert documented == IDS


def test_version() -> None:
    """`gateway --version` names the version."""
    assert re.search(r"\d+\.\d+\.\d+", CliRunner().invoke(main, ["--version"]).output)


def test_wrong_use_is_told_apart() -> None:
    """A command that is called wrongly exits with 2, so that a script can tell it from a refusal."""
    result = CliRunner().invoke(main, ["keys", "creat"])
    assert result.exit_code == 2
    assert "create" in result.output
