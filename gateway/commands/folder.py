"""The data folder, and the lock that says which process uses it.

On the embedded profile limits and epochs live in one process, so two at work on one folder would each keep their own. The lock is
a `flock` on the file `gateway.lock`: the operating system lets go of it however its holder ends. What stands in the file says who
the holder is: the address of a gateway, or nothing while one starts and while a command works.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.commands.output import Failure

LOCK_FILE = "gateway.lock"
_PAUSE = 0.05


def prepare(folder: Path) -> list[str]:
    """Make the data folder (mode 0700) where there is none. Returns warnings; raises Failure where it cannot be used.

    From then on, files that this process makes are for its user alone: the database holds the upstreams' credentials.
    """
    os.umask(0o077)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError as error:
        raise Failure(
            f"the data folder {folder} cannot be made: {error.strerror}", "Set GATEWAY_DATA_DIR to a folder that can."
        ) from None
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Failure(f"the data folder {folder} cannot be written to", "Give it to the gateway's user, or set GATEWAY_DATA_DIR.")
    if mode & 0o077:
        return [f"others can look into the data folder {folder}; run: chmod 700 {folder}"]
    return []


def can_be_made(folder: Path) -> None:
    """Whether `prepare` could make a folder that is not there, found without making it. Raises Failure."""
    nearest = next(each for each in [folder.absolute(), *folder.absolute().parents] if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "cannot be written to" if nearest.is_dir() else "is no folder"
        raise Failure(f"the data folder {folder} cannot be made: {nearest} {why}", "Set GATEWAY_DATA_DIR to a folder that can.")


class Lock:
    """The lock while it is held."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def announce(self, url: str) -> None:
        """Write down the address at which the holder can be reached."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, url.encode() + b"\n", 0)

    def release(self) -> None:
        """Let go; once."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


class Taken(Exception):  # noqa: N818 — says what is the case
    """Another process holds the lock. `url` is its address, or empty."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


def take(folder: Path) -> Lock:
    """Take the lock without waiting. Raises Taken, and Failure where the file cannot be made."""
    path = folder / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failure(f"the lock {path} cannot be opened: {error.strerror}", "Give it to the gateway's user.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        url = os.pread(descriptor, 1000, 0).decode("utf-8", "replace").strip()
        os.close(descriptor)
        raise Taken(url) from None
    except OSError as error:
        os.close(descriptor)
        remedy = "Set GATEWAY_DATA_DIR to a folder on a file system that has locks."
        raise Failure(f"the lock {path} cannot be taken: {error.strerror}", remedy) from None
    os.ftruncate(descriptor, 0)  # what a killed holder left
    return Lock(descriptor)


def take_or_find(folder: Path, wait: float) -> Lock | str:
    """The lock, or the address of the gateway that holds it.

    A holder without an address is a gateway that starts or a command at work: either is over soon, so that is waited for, up to
    `wait` seconds. Raises Failure after that.
    """
    ends = time.monotonic() + wait
    while True:
        try:
            return take(folder)
        except Taken as taken:
            if taken.url:
                return taken.url
        if time.monotonic() >= ends:
            raise Failure(f"another process is using the data folder {folder}", "Try again when it is done.")
        time.sleep(_PAUSE)


def address(folder: Path) -> str | None:
    """The address of the gateway that holds the lock, found without taking it; None where there is none."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 — a descriptor, no path
        try:
            # Shared: whoever else looks is not kept out, and a gateway that starts tries again.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.read(1000).decode("utf-8", "replace").strip() or None
    return None


@contextmanager
def held(lock: Lock) -> Iterator[Lock]:
    """Let go of the lock at the end of the block."""
    try:
        yield lock
    finally:
        lock.release()
