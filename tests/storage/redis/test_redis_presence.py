"""Processes that count each other in Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.storage.redis.address import Address
from gateway.storage.redis.presence import Presence
from tests.support.redis_server import RedisServer

_KEY = "gw:processes"


@asynccontextmanager
async def present(url: str, *, at_least: int = 1) -> AsyncIterator[Presence]:
    client = Address.of(url).client()
    presence = Presence(client, at_least=at_least)
    presence.start()
    try:
        yield presence
    finally:
        await presence.close()
        await client.aclose()


async def signed(server: RedisServer, count: int) -> None:
    async with asyncio.timeout(5):
        while server.ask("ZCARD", _KEY) != count:
            await asyncio.sleep(0.02)


async def test_processes_count_each_other(redis_server: RedisServer) -> None:
    """Each one that signed counts; one that signed off does not, nor one that was not heard of for ten seconds."""
    redis_server.ask("ZADD", _KEY, redis_server.ask("TIME")[0] - 11, "silent")
    async with present(redis_server.url) as one:
        await signed(redis_server, 1)
        async with present(redis_server.url):
            await signed(redis_server, 2)
            await one.sign()
            assert one.processes == 2
        await one.sign()
        assert one.processes == 1


async def test_what_is_known_to_run_counts(redis_server: RedisServer) -> None:
    """However few have signed, no fewer than were started are counted."""
    async with present(redis_server.url, at_least=4) as one:
        await one.sign()
        assert one.processes == 4


async def test_it_ends_whenever_it_is_told_to(redis_server: RedisServer) -> None:
    """Closing ends, and signs off, however far the first signing has come."""
    for turns in range(30):
        client = Address.of(redis_server.url).client()
        presence = Presence(client, at_least=1)
        presence.start()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await presence.close()
        assert redis_server.ask("ZCARD", _KEY) == 0
        await client.aclose()
