"""The command line, for every test of a command."""

from pathlib import Path

import pytest

from tests.commands.cli_runner import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)
