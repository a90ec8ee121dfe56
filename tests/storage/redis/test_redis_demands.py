"""What the gateway demands of Redis, seen on servers that lack it."""

from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from gateway.domain.faults import LimitsUnavailable
from gateway.storage.redis.address import Address
from gateway.storage.redis.demands import Finding, UnfitRedis, examine, of_info, refuse_unfit
from tests.support.processes import wait_until
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_sentinel import RedisSentinel
from tests.support.redis_server import RedisServer

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
RIGHTS = next(
    line.partition("ACL SETUSER gateway on >password ")[2]
    for line in OPERATIONS.read_text(encoding="utf-8").splitlines()
    if line.startswith("ACL SETUSER")
)
"""Those that the documentation gives to the gateway's user."""


async def found(url: str, *, hold_seconds: float = 10) -> list[Finding]:
    client = Address.of(url).client()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose)
        return await examine(client, hold_seconds=hold_seconds)


async def start(url: str) -> None:
    client = Address.of(url).client()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose)
        await refuse_unfit(client)


def grave(findings: list[Finding]) -> list[str]:
    return [each.problem for each in findings if each.grave]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One that is as it should be; what a test changes, it changes back."""
    with RedisServer(aof=True) as running:
        yield running


async def test_nothing_is_wrong_with_a_redis_as_demanded(server: RedisServer) -> None:
    """A server with noeviction and an append-only file is found fit, and holds nothing more than before."""
    assert await found(server.url) == []
    await start(server.url)
    assert server.ask("DBSIZE") == 0


async def test_eviction_is_refused(server: RedisServer) -> None:
    """A Redis that may drop keys keeps the gateway from starting, with the remedy."""
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        (finding,) = await found(server.url)
        assert finding.grave
        assert "maxmemory-policy allkeys-lru" in finding.problem
        assert "noeviction" in finding.remedy
        with pytest.raises(UnfitRedis, match=r"allkeys-lru.*noeviction"):
            await start(server.url)
    finally:
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.parametrize(
    ("info", "fit"),
    [
        ({"redis_version": "6.0.16"}, False),
        ({"redis_version": "5.0"}, False),
        ({"redis_version": "6.2.0"}, True),
        ({"redis_version": "255.255.255"}, True),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.0"}, True),
        ({}, True),
    ],
)
def test_versions(info: dict[str, str], fit: bool) -> None:
    """Redis before 6.2 is refused; Valkey, which says which Redis it is like, is not, nor what does not tell."""
    assert (of_info("it", info) == []) is fit


async def test_a_redis_without_a_file_is_warned_of() -> None:
    """No append-only file is a warning, since only metered calls of a crash's last moment are at stake."""
    with RedisServer() as server:
        (finding,) = await found(server.url)
        assert not finding.grave
        assert "append-only file" in finding.problem
        await start(server.url)


async def test_an_unreachable_redis_is_told_and_keeps_nobody_from_starting(server: RedisServer) -> None:
    """`check` says that nothing answers; the start goes on, also where Redis hangs or refuses the credential."""
    for url in ("redis://127.0.0.1:9", "redis+cluster://127.0.0.1:9", "redis+sentinel://127.0.0.1:9/mymaster"):
        with pytest.raises(LimitsUnavailable):
            await found(url)
        await start(url)
    with pytest.raises(LimitsUnavailable):
        await found(f"redis+cluster://127.0.0.1:{server.port}")
    server.hang()
    try:
        await start(server.url)
        await start(f"redis+cluster://127.0.0.1:{server.port}")
    finally:
        server.resume()


async def test_credentials_and_rights() -> None:
    """A wrong password, and rights that do not suffice, are told as such; rights without CONFIG suffice."""
    users = f"able on >word {RIGHTS}\nuser blind on >word {RIGHTS} -info"
    users += "\nuser mute on >word ~gw:* &* -@all +@connection +@stream +time +info"
    users += "\nuser still on >word ~gw:* &* -@all +@connection +@scripting +time +info\nuser deaf on >word ~gw:* -@all"
    users += f"\nuser late on >word {RIGHTS} -time\nuser astray on >word {RIGHTS.replace('~gw:', '~other:')}"
    with RedisServer(aof=True, requirepass="s3cret", user=users) as server:
        place = f"127.0.0.1:{server.port}"
        assert await found(server.url) == []
        assert await found(f"redis://able:word@{place}") == []
        for credential in ("", ":wr0ng@", "able:wr0ng@"):
            for scheme in ("redis", "redis+cluster"):
                (finding,) = await found(f"{scheme}://{credential}{place}")
                assert finding.grave
                assert "refuses the credential" in finding.problem
                assert "wr0ng" not in f"{finding}"
            await start(f"redis://{credential}{place}")
        (finding,) = await found(f"redis://blind:word@{place}")
        assert finding.grave
        assert "INFO" in finding.problem
        await start(f"redis://blind:word@{place}")
        assert "scripts" in grave(await found(f"redis://mute:word@{place}"))[0]
        (finding,) = await found(f"redis://still:word@{place}")
        assert "stream" in finding.problem
        assert "~gw:*" in finding.remedy
        for user, word in (("deaf", ""), ("late", "time"), ("astray", "key")):
            (finding,) = await found(f"redis://{user}:word@{place}")
            assert finding.grave
            assert word in finding.problem
        assert server.ask("DBSIZE") == 0


async def test_a_redis_that_takes_no_writes(server: RedisServer) -> None:
    """Full memory or missing replicas are found by writing, and told in the server's words."""
    server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    try:
        (finding,) = await found(server.url)
        assert finding.grave
        assert "eplica" in finding.problem
        assert "takes no writes" in finding.remedy
    finally:
        server.ask("CONFIG", "SET", "min-replicas-to-write", "0")


async def test_servers_under_sentinel() -> None:
    """Replicas need min-replicas settings that fit the gateway's; a replica, named as the server, is refused."""
    with RedisSentinel(aof=True, max_lag=10) as servers:
        assert await found(servers.url, hold_seconds=10) == []
        (finding,) = await found(servers.url, hold_seconds=5)
        assert finding.grave
        assert "10 s" in finding.problem
        assert "failover_hold_seconds to 10" in finding.remedy
        await start(servers.url)
        master, (replica,) = servers.master(), servers.replicas()
        assert "is a replica" in grave(await found(replica.url))[0]
        master.ask("ACL", "SETUSER", "able", "on", ">word", *RIGHTS.split())
        (warning,) = await found(f"redis://able:word@127.0.0.1:{master.port}", hold_seconds=5)
        assert not warning.grave
        assert "min-replicas-max-lag" in warning.problem
        master.ask("CONFIG", "SET", "min-replicas-to-write", "0")
        for url in (servers.url, f"redis://able:word@127.0.0.1:{master.port}"):
            (finding,) = await found(url)
            assert finding.grave
            assert "min-replicas-to-write to 1" in finding.remedy


async def test_a_master_that_could_be_cut_off_with_a_replica() -> None:
    """Two replicas of which it needs but one: the warning says how many it has to need."""
    with RedisServer(aof=True, min_replicas_to_write="1", min_replicas_max_lag="10") as master, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(RedisServer(replicaof=f"127.0.0.1 {master.port}"))
        wait_until(lambda: master.ask("INFO", "replication").get("min_slaves_good_slaves") == 2, "two replicas")
        (warning,) = await found(master.url)
        assert not warning.grave
        assert "min-replicas-to-write to 2" in warning.remedy
        master.ask("CONFIG", "SET", "min-replicas-to-write", "2")
        assert await found(master.url) == []


@pytest.mark.xdist_group("cluster")
async def test_each_master_of_a_cluster_is_looked_at() -> None:
    """One master among three that may drop keys or that is away is found, and so are slots that nobody has."""
    with RedisCluster(aof=True, min_replicas_to_write="1", appendfsync="everysec") as cluster:
        assert await found(cluster.url) == []
        await start(cluster.url)
        sick, other = cluster.master_of("a"), cluster.masters()[0]
        assert "node of a Cluster" in grave(await found(f"redis://127.0.0.1:{sick.port}"))[0]
        sick.ask("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        (problem,) = grave(await found(cluster.url))
        assert problem.startswith(f"127.0.0.1:{sick.port} has maxmemory-policy volatile-lru")
        with pytest.raises(UnfitRedis, match=str(sick.port)):
            await start(cluster.url)
        sick.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        for node in cluster.nodes:
            node.ask("ACL", "SETUSER", "able", "on", ">word", *RIGHTS.split())
        assert (await found(cluster.url.replace("://", "://able:word@")))[0].grave is False
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
        assert [("full-coverage" in each.problem, each.grave) for each in await found(cluster.url)] == [(True, False)] * 3
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
            node.ask("CLUSTER", "DELSLOTS", 0, 1, 2)
        assert any("3 of 16384 slots" in problem for problem in grave(await found(cluster.url)))
        assert [node.ask("DBSIZE") for node in cluster.nodes] == [0] * 6
        cluster.kill(cluster.replica_of(other))
        cluster.kill(other)
        try:
            told = "".join(grave(await found(cluster.url)))
        except LimitsUnavailable as error:  # redis-py asks one master for its commands, and gives up if it is this one
            told = str(error)
        assert f"127.0.0.1:{other.port}" in told
        await start(cluster.url)
