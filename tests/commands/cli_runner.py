"""Running `gateway` as people run it, in this process or in one of its own."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from gateway.cli import main
from tests.support.processes import ROOT, _with_compiled_code


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.stderr
        return json.loads(self.stdout)

    @property
    def refusal(self) -> str:
        """What a command that could not do its work said; it printed nothing else."""
        assert (self.code, self.stdout) == (1, "")
        return self.stderr


class Cli:
    """`gateway` in a folder of its own, with a data folder of its own and nothing of the surrounding settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"

    def __call__(self, *words: str, stdin: str = "", **env: str) -> Ran:
        """Run a command in this process."""
        foreign: dict[str, str | None] = dict.fromkeys(name for name in os.environ if name.startswith("GATEWAY_"))
        umask = os.umask(0o022)
        try:
            with contextlib.chdir(self.folder):
                result = CliRunner(env={**foreign, "GATEWAY_DATA_DIR": str(self.data), **env}).invoke(
                    main, words, input=stdin, catch_exceptions=False
                )
        finally:
            os.umask(umask)
        return Ran(result.exit_code, result.stdout, result.stderr)

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment for a process of its own."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_") and "proxy" not in name.lower()
        }
        return _with_compiled_code(kept | {"PYTHONPATH": str(ROOT), "GATEWAY_DATA_DIR": str(self.data)} | dict(more or {}))

    def process(self, *words: str, **env: str) -> Ran:
        """Run a command in a process of its own, to its end."""
        command = [sys.executable, "-m", "gateway", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=90, check=False, cwd=self.folder, env=self.env(env)
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)
