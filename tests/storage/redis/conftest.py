"""One Redis server for each of a test's modules."""

from collections.abc import Iterator

import pytest

from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(shared_server: RedisServer) -> RedisServer:
    """A server that runs, whatever the test before did to it, empty and with the settings of the start."""
    if not shared_server.serves:
        shared_server.start()
    shared_server.ask("REPLICAOF", "NO", "ONE")
    shared_server.ask("CONFIG", "SET", "maxmemory", "0")
    shared_server.ask("FLUSHALL")
    return shared_server
