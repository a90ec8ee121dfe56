"""Servers that come from Debian and from no wheel: found, else installed where that is allowed."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_APT = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]


def require(package: str, program: str | None = None, *, instead: str | None = None) -> str:
    """The path of `program` (the package's own name unless told otherwise), or that of the package `instead` where there is none.

    As root it is installed with apt-get where it is missing, once, however many test processes ask. Otherwise the test is
    skipped, with what to install.
    """
    program = program or package
    found = shutil.which(program, path=_PATH)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with (Path(tempfile.gettempdir()) / "gateway-tests-apt.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if shutil.which(program, path=_PATH) is None:
                _install(package)
        found = shutil.which(program, path=_PATH)
    if found is None and instead is not None:
        return require(instead)
    if found is None:
        pytest.skip(f"NOT TESTED: {program} is missing and cannot be installed from here; run: sudo apt-get install {package}")
    return found


def _install(package: str) -> None:
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = [*_APT, "install", "--no-install-recommends", package]
    if subprocess.run(install, env=quiet, capture_output=True, check=False).returncode:
        subprocess.run([*_APT, "update"], env=quiet, capture_output=True, check=False)
        subprocess.run(install, env=quiet, capture_output=True, check=False)
