"""How old the oldest ledger entry in the streams is."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from gateway.storage.redis.address import Address
from gateway.storage.redis.stream_age import StreamAge
from gateway.storage.redis.streams import FIELD, Streams, encode
from tests.storage.sql.rows import entry
from tests.support.redis_server import RedisServer


async def test_the_oldest_message_of_all_streams_counts(redis_server: RedisServer) -> None:
    """Empty streams are no lag; else the first message that is still there counts, until it is deleted."""
    client = Address.of(redis_server.url).client()
    assert isinstance(client, Redis)
    streams = Streams(4)
    age = StreamAge(client, streams)
    try:
        await age.look()
        assert age.seconds == 0
        message: Any = {FIELD: encode([entry()])}
        first = await client.xadd(streams.names[1], message)
        await asyncio.sleep(0.3)
        await client.xadd(streams.names[2], message)
        await age.look()
        assert 0.3 <= age.seconds < 5
        await client.xdel(streams.names[1], first)
        await age.look()
        assert age.seconds < 0.3
        redis_server.kill()
        await age.look()  # nothing is told, and nothing is raised
    finally:
        await client.aclose()
