"""A container engine's work, done by hand: a Dockerfile's steps, and its image run as a container.

Roots are overlays on this machine's own root, which stands in for the base image: nothing that a step does reaches the machine. A
container has a root that cannot be written to, a folder for each volume, no capability, and processes and a network of its own.
It needs root and namespaces, as an engine does. What is missing of an engine: the base image itself, limits on resources, and
filters of system calls.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deploy.dockerfile import Instruction, Stage, ignored
from tests.support.processes import ChildProcess

_BASE_ENV = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
_DEVICES = "null zero full random urandom"
_FURNISH = f"""
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/dev"
for each in {_DEVICES}; do touch "$ROOT/dev/$each"; mount --bind "/dev/$each" "$ROOT/dev/$each"; done
"""
_OVERLAY = """
set -eu
mount --make-rprivate /
mount -t overlay overlay -o "$OVERLAY" "$ROOT"
"""


_MEMORY = Path("/dev/shm")
_ENOUGH = 1 << 30


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """A folder for layers, which every user may enter. Skips the test where this process may not mount anything.

    It lies in memory: layers of an overlay may not lie within each other, and the lowest is this machine's root.
    """
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("NOT TESTED: carrying out the Dockerfile by hand needs root and unshare")
    if not _MEMORY.is_mount() or shutil.disk_usage(_MEMORY).free < _ENOUGH:
        pytest.skip(f"NOT TESTED: carrying out the Dockerfile by hand needs a gigabyte of {_MEMORY}")
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "sh", "-ec", "mount --make-rprivate /; mount -t proc proc /proc"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(
            f"NOT TESTED: namespaces are not allowed here, so the Dockerfile cannot be carried out: {tried.stderr.strip()}"
        )
    with tempfile.TemporaryDirectory(prefix="gw-image-", dir=_MEMORY) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@dataclass
class Image:
    """What a stage leaves: `layers`, the uppermost first, and how its containers run."""

    layers: list[Path]
    env: dict[str, str]
    workdir: str = "/"
    settings: dict[str, Instruction] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """What the stage itself added."""
        return self.layers[0]


class Builder:
    """Carries out stages in `folder`. `caches` keeps what `RUN --mount=type=cache` is to find again."""

    def __init__(self, folder: Path, context: Path, ignore: Sequence[str], caches: Path) -> None:
        self._folder = folder
        self._context = context
        self._ignore = ignore
        self._caches = caches
        self._images: dict[str, Image] = {}
        self._base = _base(folder / "base")

    def build(self, stages: Sequence[Stage]) -> Image:
        """The image of the last stage. Raises AssertionError with the output of a step that failed."""
        for stage in stages:
            folder = self._folder / stage.name
            for name in ("added", "work", "root"):
                (folder / name).mkdir(parents=True)
            image = Image([folder / "added", self._base, Path("/")], dict(_BASE_ENV))
            self._images[stage.name] = image
            for each in stage.instructions:
                self._carry_out(each, image, folder)
        return image

    def _carry_out(self, each: Instruction, image: Image, folder: Path) -> None:
        match each.name:
            case "RUN":
                self._run(each, image, folder)
            case "COPY":
                self._copy(each, image)
            case "ENV" | "ARG":
                image.env |= each.pairs(image.env)
            case "WORKDIR":
                image.workdir = each.rest
                (image.root / each.rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER" | "VOLUME" | "EXPOSE" | "STOPSIGNAL" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD" | "LABEL":
                image.settings[each.name] = each
            case _:
                raise AssertionError(f"nobody here knows {each.name}")

    def _run(self, each: Instruction, image: Image, folder: Path) -> None:
        overlay = f"lowerdir={':'.join(map(str, image.layers[1:]))},upperdir={image.root},workdir={folder / 'work'}"
        script = _OVERLAY + _FURNISH
        if "mount" in each.flags:
            mount = dict(part.split("=", 1) for part in each.flags["mount"].split(","))
            assert mount["type"] == "cache"
            self._caches.mkdir(exist_ok=True)
            script += (
                f'mkdir -p "$ROOT{mount["target"]}"\nmount --bind {shlex.quote(str(self._caches))} "$ROOT{mount["target"]}"\n'
            )
        script += f'exec chroot "$ROOT" env --chdir={image.workdir} /bin/sh -c {shlex.quote(each.rest)}'
        registry = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or "proxy" in name.lower()}
        env = {**registry, **image.env, "ROOT": str(folder / "root"), "OVERLAY": overlay, "HOME": "/root"}
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, f"{each.rest}\n{done.stdout}{done.stderr}"

    def _copy(self, each: Instruction, image: Image) -> None:
        source = each.flags.get("from")
        *names, target = each.words
        for name in names:
            place = image.root / (image.workdir if not target.startswith("/") else "").lstrip("/") / target.lstrip("/")
            found = (self._images[source].root if source else self._context) / name.lstrip("/")
            keep_all = shutil.ignore_patterns()
            if found.is_dir():
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True, ignore=keep_all if source else self._left_out)
            else:
                assert source or not ignored(found.relative_to(self._context), self._ignore), f"{found} is kept from the builder"
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, place)

    def _left_out(self, folder: str, names: list[str]) -> set[str]:
        return {name for name in names if ignored((Path(folder) / name).relative_to(self._context), self._ignore)}


def _base(folder: Path) -> Path:
    """What makes this machine look like an image of Python: its interpreter is called `python`, and everybody may run it."""
    program = Path(sys.executable).resolve()
    for each in reversed(program.parent.relative_to("/").parents):
        (folder / each).mkdir(parents=True, exist_ok=True)
    commands = folder / "usr/local/bin"
    commands.mkdir(parents=True)
    # No symbolic link: the environments that it makes look for the library beside what they were made with.
    (commands / "python").write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o755)
    return folder


class Container(ChildProcess):
    """A running container of an image. `env` stands before the image's. `data` is where its one volume lies."""

    def __init__(self, image: Image, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._env = {**image.env, **dict(env or {})}
        user, _, group = image.settings["USER"].rest.partition(":")
        self._privileges = [
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
        ]
        self._workdir = image.workdir
        (volume,) = image.settings["VOLUME"].words
        self.data = folder / "volume"
        # As an engine does with a volume that is new: it begins as what the image has there.
        subprocess.run(["cp", "-a", image.root / volume.lstrip("/"), self.data], check=True)
        root = folder / "root"
        root.mkdir()
        command = self._as_told([*image.settings["ENTRYPOINT"].words, *image.settings["CMD"].words])
        script = f"""{_OVERLAY}{_FURNISH}
            mount --bind {shlex.quote(str(self.data))} "$ROOT{volume}"
            ip link set lo up
            exec chroot "$ROOT" {shlex.join(command)}"""
        overlay = {"ROOT": str(root), "OVERLAY": f"ro,lowerdir={':'.join(map(str, image.layers))}"}
        spaces = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
        super().__init__([*spaces, "/bin/sh", "-c", script], env={**_BASE_ENV, **overlay})

    def _as_told(self, command: Sequence[str]) -> list[str]:
        pairs = [f"{name}={value}" for name, value in self._env.items()]
        return ["env", "-i", f"--chdir={self._workdir}", *pairs, *self._privileges, *command]

    @property
    def first(self) -> int:
        """The number, outside, of the container's first process."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as its user, to its end."""
        enter = ["nsenter", "--mount", "--pid", "--net", f"--target={self.first}", f"--root=/proc/{self.first}/root"]
        done = [*enter, *self._as_told(command)]
        return subprocess.run(done, capture_output=True, text=True, timeout=30, check=False)

    def beside(self, *command: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command of this machine that has the container's network, as a neighbour in the same pod has."""
        enter = ["nsenter", "--net", f"--target={self.first}"]
        return subprocess.run([*enter, *command], env=dict(env), capture_output=True, text=True, timeout=60, check=False)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its first process, which what holds its namespaces waits for."""
        with contextlib.suppress(IndexError, FileNotFoundError):  # it has ended, or not begun
            os.kill(self.first, number)
