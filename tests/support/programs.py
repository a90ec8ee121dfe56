"""Programs that packages of the tests' own environment bring."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def program(name: str) -> str:
    """The path of a program of the environment that the tests run in, else of the PATH; without it the test fails."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        pytest.fail(f"{name} is missing: pip install -r requirements-dev.lock")
    return found
