"""Several gateway processes that act as one: real PostgreSQL, real Redis, one upstream."""

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from gateway.storage.sql.migrate import upgrade
from tests.support.gateway_process import GatewayProcess
from tests.support.postgres_server import PostgresServer
from tests.support.processes import ROOT, ChildProcess, free_port
from tests.support.redis_server import RedisServer


class FastUpstream(ChildProcess):
    """`tests/support/fast_upstream.py` as a process of its own, so that the test's own load does not slow it."""

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__([sys.executable, ROOT / "tests" / "support" / "fast_upstream.py", str(self.port)])
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.wait_until(lambda: "listening" in self.stdout(), "the upstream listens")


class SharedProfile:
    """PostgreSQL, Redis and `processes` gateways on them. `redis` may be any of the servers of the tests that has a `url`."""

    def __init__(self, processes: int = 2, *, redis: Any = None, database_url: str | None = None, **env: str) -> None:
        self._stack = ExitStack()
        self._count = processes
        self._env = env
        self._given_redis = redis
        self._given_database = database_url
        self.gateways: list[GatewayProcess] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gw-shared-")))
            self.postgres = stack.enter_context(PostgresServer())
            self.redis = self._given_redis or stack.enter_context(RedisServer(aof=True, appendfsync="everysec"))
            self.upstream = stack.enter_context(FastUpstream())
            with ThreadPoolExecutor() as threads:  # what blocks may not run beside a test's event loop
                threads.submit(upgrade, self.postgres.url).result()
                for gateway in threads.map(lambda _: self.gateway(), range(self._count)):
                    self.gateways.append(stack.enter_context(gateway))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def gateway(self, **env: str) -> GatewayProcess:
        """One more gateway process, on a data folder of its own, with settings besides those of all."""
        own = {
            "GATEWAY_DATABASE_URL": self._given_database or self.postgres.url,
            "GATEWAY_REDIS_URL": self.redis.url,
            "GATEWAY_UPSTREAM_MODELS": "m",
            # The servers, the gateways and the load share what may be two busy cores.
            "GATEWAY_LIMITS_REDIS_TIMEOUT_MS": "300",
        }
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return GatewayProcess(folder, upstream=self.upstream.base_url, env={**own, **self._env, **env})

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query on the gateways' database."""
        connection = await asyncpg.connect(user="postgres", host=str(self.postgres.folder), database="gateway")
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()
