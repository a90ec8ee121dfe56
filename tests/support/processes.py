"""Servers as child processes of a test: started, waited for, stopped, with everything they printed at hand."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""

_POLL_SECONDS = 0.02


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Return once `condition()` holds. Raises AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(_POLL_SECONDS)


def _with_compiled_code(env: Mapping[str, str]) -> dict[str, str]:
    """`env`, and a place for compiled code where it allows none: a server that compiles all it imports needs seconds to start."""
    if "PYTHONDONTWRITEBYTECODE" not in env:
        return dict(env)
    kept = {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "gateway-tests-pycache")}


class ChildProcess:
    """A running child. Its standard input is a pipe that closes when the test process dies; its output goes to files."""

    def __init__(self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        self._logs = tempfile.TemporaryDirectory(prefix="child-")
        folder = Path(self._logs.name)
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env=_with_compiled_code(os.environ if env is None else env),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, minus the signal's number for one that a signal ended; None while it runs."""
        return self._process.poll()

    def stdout(self) -> str:
        return self._stdout.read_text(errors="replace")

    def output(self) -> str:
        """Everything printed so far, for a failure's message and for searching."""
        return f"--- stdout\n{self.stdout()}\n--- stderr\n{self._stderr.read_text(errors='replace')}"

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Return once `condition()` holds. Raises AssertionError with the output if the child ends or `seconds` pass first."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.exit_code is None, f"the process ended with {self.exit_code} before {what}\n{self.output()}"
            assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}\n{self.output()}"
            time.sleep(_POLL_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 30.0) -> int:
        """The exit code, once it has ended."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the process did not end within {seconds:g} s\n{self.output()}") from None

    def close_stdin(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it and whatever it started, and forget its output."""
        self.close_stdin()
        if self.exit_code is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        # The child leads a process group of its own (start_new_session), so this reaches its children and nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._logs.cleanup()
