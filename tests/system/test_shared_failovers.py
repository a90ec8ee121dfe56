"""A master of a Redis Cluster, or under Sentinel, is killed while all processes are called: a replica takes over, and nobody
notices but those who change something.
"""

import asyncio
from collections.abc import Callable

import pytest
from redis.crc import key_slot

from tests.support.faults import HOLD_SECONDS, Scene, until
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_sentinel import RedisSentinel
from tests.support.redis_server import RedisServer
from tests.support.shared_profile import SharedProfile
from tests.system.test_shared_faults import expect_only_deleted_keys_fail

pytestmark = [pytest.mark.xdist_group("shared"), pytest.mark.timeout(300)]
_HOLD = {"GATEWAY_LIMITS_FAILOVER_HOLD_SECONDS": f"{HOLD_SECONDS:g}"}


async def test_a_master_of_a_cluster_is_killed() -> None:
    """No call fails, and no key passes that was deleted right before the loss, meanwhile or later."""
    with RedisCluster() as redis, SharedProfile(2, redis=redis, **_HOLD) as shared:
        async with Scene(shared, "Cluster: a master killed") as scene:
            lost = redis.master_of(scene.account)
            await fail_over(scene, lost, redis.wait_healthy, lambda: redis.restart(lost))

            async def counted() -> bool:
                return int(redis.master_of_slot(key_slot(b"gw:processes")).ask("ZCARD", "gw:processes")) == len(shared.gateways)

            await until(counted, "the processes count each other")


async def test_a_master_under_sentinel_is_killed() -> None:
    """The same where sentinels name the next master."""
    with RedisSentinel(max_lag=int(HOLD_SECONDS)) as redis, SharedProfile(2, redis=redis, **_HOLD) as shared:
        async with Scene(shared, "Sentinel: the master killed") as scene:
            lost = redis.master()
            await fail_over(scene, lost, lambda: redis.wait_failover(lost), lambda: redis.restart(lost))


async def fail_over(scene: Scene, lost: RedisServer, wait: Callable[[], object], restart: Callable[[], None]) -> None:
    """Kill a master; `wait` for the next one, then `restart` the lost one as its replica."""
    async with scene.load:
        await scene.load.until(200)
        assert (await scene.delete(scene.before)).status_code == 204
        await scene.begin(lost.kill)
        reply = await scene.delete(scene.during)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_yet_in_force")
        await scene.end(wait)
        await asyncio.to_thread(restart)
        await scene.recovered()
        assert (await scene.delete(scene.during)).status_code == 404
        assert (await scene.delete(scene.after, 1)).status_code == 204
        await scene.load.until(200)
        await scene.exact_again()
        await scene.load.until(200)
    assert scene.statuses(scene.away)[200] > 0
    expect_only_deleted_keys_fail(scene)
    # The replica may lack what the master took last.
    await scene.settled(lost=scene.may_be_lost())
