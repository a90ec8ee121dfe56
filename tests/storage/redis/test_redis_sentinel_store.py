"""The master behind Sentinel, and the next one."""

import asyncio
import contextlib

import pytest

from gateway.domain.faults import LimitsUnavailable
from gateway.storage.redis.address import Address
from gateway.storage.redis.store import Store
from tests.storage.redis.redis_scripts import eventually, opened
from tests.support.redis_sentinel import NAME, RedisSentinel


async def test_a_failover_is_followed() -> None:
    """When the master dies, calls go to the one that the sentinels name next, with its run ID, and listeners hear of it."""
    with RedisSentinel() as redis:
        lost = redis.master()
        async with opened(redis.url) as store:
            assert store.replicated
            met: list[tuple[str, str]] = []
            store.on_new_server(lambda name, run_id: met.append((name, run_id)))
            assert (await store.ask("a", 1))[1] == lost.ask("INFO", "server")["run_id"]
            lost.kill()
            await eventually(lambda: not store.available("a"), "the breaker to open")
            master = await asyncio.to_thread(redis.wait_failover, lost)
            run_id = master.ask("INFO", "server")["run_id"]
            await eventually(lambda: store.available("a"), "the new master to be found")
            assert met == [(NAME, run_id)]
            await asyncio.to_thread(redis.restart, lost)
            await asyncio.to_thread(redis.wait_healthy)
            assert (await _answered(store, 2))[:2] == [2, run_id]
            await _lacking_replicas(store)
            await _demoted(redis, store)
        await _the_client_follows_too(redis)


async def _answered(store: Store, item: int) -> list[object]:
    """The answer, once the master thinks that its replica keeps up."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(LimitsUnavailable):
                answer: list[object] = await store.ask("a", item)
                return answer
            await asyncio.sleep(0.05)


async def _lacking_replicas(store: Store) -> None:
    """A master that lacks replicas may have been replaced unawares: the sentinels are asked again before it is used.

    A script of the test says so, since Redis 6.2 does not look at `min-replicas-to-write` for what scripts write.
    """
    connections = store.nodes()[0].connections
    with pytest.raises(LimitsUnavailable, match="NOREPLICAS"):
        await store.ask("a", {"error": "NOREPLICAS too few"})
    assert not store.available("a")
    await eventually(lambda: store.available("a"), "the master to be found again")
    assert store.nodes()[0].connections == connections + 1
    assert (await _answered(store, 4))[0] == 4


async def _demoted(redis: RedisSentinel, store: Store) -> None:
    """A master that is made a replica while it lives is left at its first refusal."""
    before = redis.master()
    (other,) = redis.replicas()
    await asyncio.to_thread(other.ask, "REPLICAOF", "NO", "ONE")
    before.ask("REPLICAOF", "127.0.0.1", other.port)
    with pytest.raises(LimitsUnavailable, match=r"READONLY|connection"):
        await store.ask("a", 5)
    assert not store.available("a")
    assert store.ask("a", 4).done()


async def _the_client_follows_too(redis: RedisSentinel) -> None:
    """The general-purpose client asks the sentinels as well."""
    client = Address.of(redis.url).client()
    try:
        assert await client.ping()
    finally:
        await client.aclose()
