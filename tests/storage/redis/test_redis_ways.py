"""The ways to a server: TLS, Unix sockets, passwords, databases; and servers that are not to be used."""

import pytest

from gateway.domain.faults import LimitsUnavailable
from gateway.storage.redis.address import Address
from gateway.storage.redis.store import Store
from tests.storage.redis.redis_scripts import ECHO, eventually, opened
from tests.support.redis_server import RedisServer
from tests.support.tls_relay import TlsRelay


async def test_tls(redis_server: RedisServer) -> None:
    """Calls go over TLS, in batches too large for one record, and a certificate that nobody trusts is refused."""
    with TlsRelay(redis_server.port) as relay:
        async with opened(relay.url) as store:
            large = "x" * 100_000
            assert (await store.ask("a", large))[0] == large
            assert relay.connections == 1
        store = Store(Address.of(relay.url.partition("?")[0]), ECHO)
        await store.open()
        await eventually(lambda: not store.available("a"), "the breaker to open")
        with pytest.raises(LimitsUnavailable, match="certificate"):
            await store.ask("a", 1)
        await store.close()


async def test_a_unix_socket_a_user_and_a_database() -> None:
    """A Unix socket works, with a user's password and another database; connections bear the gateway's name."""
    with RedisServer(unixsocket="redis.sock", user="eve on >word ~* +@all") as server:
        async with opened(f"unix://eve:word@{server.folder}/redis.sock?db=3") as store:
            assert (await store.ask("a", 1))[0] == 1
            assert server.ask("INFO", "keyspace")["db3"]["keys"] == 1
            assert "workspace-gateway" in str(server.ask("CLIENT", "LIST"))


async def test_a_wrong_password_is_told(redis_server: RedisServer) -> None:
    """A store that may not sign in says so, and does not repeat the password."""
    with RedisServer(requirepass="right") as server:
        store = Store(Address.of(f"redis://:wrong-one@127.0.0.1:{server.port}"), ECHO)
        await store.open()
        await eventually(lambda: not store.available("a"), "the breaker to open")
        with pytest.raises(LimitsUnavailable, match=r"(?i)password") as refused:
            await store.ask("a", 1)
        assert "wrong-one" not in str(refused.value)
        await store.close()


async def test_a_node_of_a_cluster_needs_a_clusters_url() -> None:
    """A cluster's node under a single server's URL is refused, with the remedy."""
    with RedisServer(cluster_enabled="yes") as server:
        store = Store(Address.of(server.url), ECHO)
        await store.open()
        await eventually(lambda: not store.available("a"), "the breaker to open")
        with pytest.raises(LimitsUnavailable, match=r"redis\+cluster://"):
            await store.ask("a", 1)
        await store.close()


async def test_a_lone_server_under_a_clusters_url_is_told(redis_server: RedisServer) -> None:
    """A server that is no cluster says so to whoever asks, at once."""
    store = Store(Address.of(f"redis+cluster://127.0.0.1:{redis_server.port}"), ECHO)
    await store.open()
    await eventually(lambda: not store.available("a"), "the breaker to open")
    with pytest.raises(LimitsUnavailable, match="cluster"):
        await store.ask("a", 1)
    await store.close()
