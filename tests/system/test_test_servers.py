"""The servers that other tests break: each starts, fails as it is told to, and recovers."""

import asyncio
import subprocess
from collections.abc import Iterator

import asyncpg
import pytest
import redis
from redis.cluster import RedisCluster as ClusterClient
from redis.crc import key_slot
from redis.sentinel import Sentinel as SentinelClient

from tests.support.postgres_server import PostgresServer
from tests.support.processes import wait_until
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_sentinel import RedisSentinel
from tests.support.redis_server import RedisServer
from tests.support.tls_relay import TlsRelay


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as running:
        yield running


def cluster_client(cluster: RedisCluster) -> ClusterClient:
    return ClusterClient(host="127.0.0.1", port=cluster.nodes[0].port, decode_responses=True)


def test_a_redis_keeps_its_settings_and_with_a_file_its_data() -> None:
    """Over a kill, an append-only file, settings written back by the server, and a user's rights all last."""
    with RedisServer(aof=True, requirepass="word", user="eve on >hush ~* +@all -config") as server:
        server.ask("SET", "a", "1")
        server.ask("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
        server.ask("CONFIG", "REWRITE")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            server.ask("PING")
        server.start()
        assert server.ask("GET", "a") == "1"
        assert server.ask("INFO", "memory")["maxmemory_policy"] == "volatile-ttl"
        eve = redis.Redis(port=server.port, username="eve", password="hush")
        with pytest.raises(redis.exceptions.NoPermissionError):
            eve.config_get("*")
        eve.close()


def test_a_redis_behind_tls() -> None:
    """The relay passes large values whole, says so when the server is gone, and is trusted only by whom it is named to."""
    with RedisServer() as server, TlsRelay(server.port) as relay:
        client = redis.Redis.from_url(relay.url)
        large = b"x" * 5_000_000
        assert client.set("a", large)
        assert client.get("a") == large
        assert relay.connections == 1
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.get("a")
        client.close()
        stranger = redis.Redis.from_url(relay.url.partition("?")[0])
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            stranger.ping()
        stranger.close()


@pytest.mark.xdist_group("cluster")
def test_a_cluster_replaces_a_master_that_is_killed_or_hangs(cluster: RedisCluster) -> None:
    """The replica takes over with the data, and the former master comes back as its replica."""
    with cluster_client(cluster) as client:
        assert len(cluster.masters()) == 3
        master, replica = cluster.master_of("one"), cluster.replica_of(cluster.master_of("one"))
        client.set("gw:{one}:epoch", "1")
        assert master.ask("WAIT", 1, 5000) == 1
        cluster.kill(master)
        cluster.wait_healthy()
        assert cluster.master_of("one") is replica
        assert client.get("gw:{one}:epoch") == "1"
        cluster.restart(master)
        cluster.wait_healthy()
        assert cluster.replica_of(replica) is master
        replica.hang()
        cluster.wait_healthy()
        assert cluster.master_of("one") is master
        replica.resume()
        cluster.wait_healthy()
        assert cluster.replica_of(master) is replica
        assert replica.ask("CLUSTER", "INFO").count("cluster_slots_ok:16384") == 1


@pytest.mark.xdist_group("cluster")
def test_a_slot_of_a_cluster_moves_with_its_keys(cluster: RedisCluster) -> None:
    """While a slot moves, its source answers ASK for what is gone; behind that, MOVED; and every key is with the target."""
    slot = key_slot(b"{two}")
    source = cluster.master_of("two")
    target = next(node for node in cluster.masters() if node is not source)
    keys = [f"gw:{{two}}:{number}" for number in range(150)]
    for key in keys:
        source.ask("SET", key, key)
    with cluster.moving(slot, target) as moving:
        assert moving is source
        cluster.move_keys(source, target, keys[0])
        with pytest.raises(redis.exceptions.AskError):
            source.ask("GET", keys[0])
        assert source.ask("GET", keys[1]) == keys[1]
        with cluster_client(cluster) as client:
            assert client.get(keys[0]) == keys[0]
    with pytest.raises(redis.exceptions.MovedError):
        source.ask("GET", keys[1])
    assert [target.ask("GET", key) for key in (keys[0], keys[1], keys[149])] == [keys[0], keys[1], keys[149]]
    cluster.wait_healthy()
    assert cluster.master_of("two") is target
    cluster.move_slot(slot, source)
    cluster.wait_healthy()
    assert source.ask("GET", keys[149]) == keys[149]


def test_sentinels_replace_a_master() -> None:
    """The sentinels name the replica, which takes no writes until it has a replica itself."""
    with RedisSentinel() as servers:
        addresses = [("127.0.0.1", port) for port in servers.sentinel_ports]
        assert servers.url == f"redis+sentinel://{','.join(f'{host}:{port}' for host, port in addresses)}/mymaster/0"
        sentinel = SentinelClient(addresses, socket_timeout=1)  # type: ignore[no-untyped-call]
        first = servers.master()
        found: tuple[str, int] = sentinel.discover_master("mymaster")  # type: ignore[no-untyped-call]
        assert found == ("127.0.0.1", first.port)
        first.ask("SET", "a", "1")
        assert first.ask("WAIT", 1, 5000) == 1
        first.kill()
        second = servers.wait_failover(first)
        assert second is not first
        assert second.ask("GET", "a") == "1"
        with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            second.ask("SET", "a", "2")
        servers.restart(first)
        servers.wait_healthy()
        wait_until(lambda: _takes_writes(second), "the replica keeps up")
        assert servers.replicas() == [first]
        for client in sentinel.sentinels:
            client.close()


def _takes_writes(server: RedisServer) -> bool:
    try:
        return server.ask("SET", "a", "2") is True
    except redis.ResponseError:
        return False


@pytest.mark.xdist_group("postgres")
async def test_a_postgres_is_stopped_hung_and_started_again() -> None:
    """A hung server answers nobody; one that crashed comes back on the same socket with all that was committed."""
    with PostgresServer() as server:
        url = server.url.replace("+asyncpg", "")
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept (a int)")
        server.hang()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.execute("SELECT 1"), 0.3)
        with pytest.raises(TimeoutError):
            await asyncpg.connect(url, timeout=0.3)
        server.resume()
        connection.terminate()
        connection = await asyncpg.connect(url)
        server.stop("immediate")
        with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
            await connection.execute("SELECT 1")
        with pytest.raises(subprocess.CalledProcessError):
            server.psql("SELECT 1")
        await asyncio.to_thread(server.start)
        connection = await asyncpg.connect(url)
        await connection.execute("SELECT a FROM kept")
        await connection.close()
