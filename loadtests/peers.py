"""A server that is measured, and how one is started: on a core of its own, with what it printed at hand where it fails."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

ROOT = Path(__file__).resolve().parents[1]
PATH = "/compatible-mode/v1/chat/completions"
MEASURED_CORE = "0"
OTHER_CORE = "1" if (os.cpu_count() or 1) > 1 else MEASURED_CORE
BOTH_CORES = ",".join(sorted({MEASURED_CORE, OTHER_CORE}))
Caller = Literal["known", "unknown", "over its limit"]
_READY_SECONDS = 60.0
_TOLD_LINES, _TOLD_WIDTH = 5, 300


class Missing(Exception):  # noqa: N818 — says what is missing
    """A server that this machine does not have, that does not start, or that answers wrongly; the text says which and why."""


@dataclass
class Peer:
    """A running server: its name, where it listens, the keys it takes, and its processes."""

    name: str
    port: int
    keys: list[str]
    processes: list[int] = field(default_factory=list)
    bad_key: str = "sk-" + "0" * 38
    limited: tuple[str, str] | None = None  # the key and the path of calls that are over their limit, one a minute aside
    path: str = PATH
    headers: dict[str, str] = field(default_factory=dict)  # what it wants besides a key
    warm_up: int = 1  # seconds, before each case
    connections: int | None = None  # that it gets at most
    load_cores: str = OTHER_CORE  # where the load runs
    cannot: dict[str, str] = field(default_factory=dict)  # the cases that it knows nothing of, each with the reason
    about: str = ""  # what a reader of its figures has to know

    def address(self, caller: Caller) -> tuple[list[str], str]:
        """The keys and the path of such a caller."""
        if caller == "over its limit" and self.limited is not None:
            return [self.limited[0]], self.limited[1]
        return [self.bad_key] if caller == "unknown" else self.keys, self.path

    def cpu_seconds(self) -> float:
        """Processor time of its processes and their children so far."""
        ticks = os.sysconf("SC_CLK_TCK")
        total = 0.0
        for pid in with_children(self.processes):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) / ticks
        return total

    def memory(self) -> int:
        """Resident bytes of its processes and their children."""
        total = 0
        for pid in with_children(self.processes):
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
            except OSError:
                continue
        return total


def with_children(pids: Sequence[int]) -> Iterator[int]:
    for pid in pids:
        yield pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        yield from with_children([int(child) for child in children])


@contextmanager
def process(
    command: Sequence[str], core: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, port: int | None = None
) -> Iterator[int]:
    """A child on one core, which is to listen on `port`; its number. Where Missing is raised inside, its last lines are added."""
    if port is not None and _listens(port):
        raise Missing(f"port {port} is taken by something else; give others with --port")
    with tempfile.TemporaryFile() as output:
        # The limit of open files is raised in the child: ten thousand streams have two sockets each.
        child = subprocess.Popen(
            ["taskset", "-c", core, "sh", "-c", 'ulimit -n $(ulimit -Hn); exec "$@"', "sh", *command],
            stdout=output,
            stderr=output,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
        )
        try:
            yield child.pid
        except Missing as missing:
            raise Missing(f"{missing}{_printed(output)}") from missing
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _printed(output: IO[bytes]) -> str:
    """The last lines of it, to be put behind a reason."""
    output.seek(0)
    lines = [line[:_TOLD_WIDTH] for line in output.read().decode(errors="replace").splitlines() if line.strip()]
    return "; it printed:\n    " + "\n    ".join(lines[-_TOLD_LINES:]) if lines else ""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(pid: int, port: int, path: str = "/", headers: Mapping[str, str] | None = None) -> None:
    """Return once the process answers HTTP there with less than 500. Raises Missing."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if _has_ended(pid):
            raise Missing("it ended while it started")
        try:
            urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers or {})), timeout=2
            )
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        else:
            return
        time.sleep(0.05)
    raise Missing(f"it answers nothing on port {port} within {_READY_SECONDS:.0f} s")


def program(name: str, package: str) -> str:
    """A program of Debian's. Raises Missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise Missing(f"{name} is missing: apt-get install {package}")
    return found


@contextmanager
def upstream(port: int, cores: str = OTHER_CORE) -> Iterator[int]:
    with process([sys.executable, str(ROOT / "loadtests" / "upstream.py"), str(port)], cores, port=port) as pid:
        wait_for(pid, port)
        yield pid


@contextmanager
def direct(port: int) -> Iterator[Peer]:
    """The upstream itself, with nothing in between."""
    no_key = "no key is known there"
    yield Peer("direct", port, ["none"], cannot={"refused": no_key, "limited": no_key})
