"""A real PgBouncer as a child process of a test, in transaction mode, in front of a PostgreSQL server's Unix socket."""

import os
import pwd
import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import debian
from tests.support.processes import ChildProcess, free_port

_INI = """
[databases]
* = host={socket_folder} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
server_login_retry = 1
"""


class PgBouncer:
    """PgBouncer as Debian sets it up, but for the pool's mode: so it refuses start-up parameters that it does not track.

    `pool_size` is its connections to each database: fewer than the gateway's, so that clients really take turns on them.
    """

    def __init__(self, socket_folder: Path, *, pool_size: int = 2) -> None:
        program = debian.require("pgbouncer")
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="gw-pgbouncer-"))
        self._folder.chmod(0o755)
        ini = self._folder / "pgbouncer.ini"
        ini.write_text(_INI.format(socket_folder=socket_folder, port=self.port, pool_size=pool_size))
        command = [program]
        if os.geteuid() == 0:  # it refuses to run as root; the socket's folder is open to its owner only
            command += ["-u", pwd.getpwuid(socket_folder.stat().st_uid).pw_name]
        self._process = ChildProcess([*command, ini])
        try:
            self._process.wait_until(self._listens, f"PgBouncer on port {self.port}")
        except AssertionError:
            self.close()
            raise

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    def close(self) -> None:
        self._process.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
