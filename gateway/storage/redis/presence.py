"""How many gateway processes there are: each one signs in Redis every two seconds, and counts as gone after ten without.

The count is what limits are divided by while Redis is away, so the last one seen stays.
"""

import asyncio
import logging
import uuid
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

_log = logging.getLogger(__name__)
_KEY = "gw:processes"
_BEAT_SECONDS = 2.0
_GONE_SECONDS = 10.0

_SIGN = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""
"""One script, which a Cluster's client sends where the key is: the clock is that server's own."""

_AWAY = (RedisError, RedisClusterException, OSError)
"""What says that Redis is away; redis-py's word for a Cluster's slot that nobody holds is no RedisError."""


class Presence:
    """`client` is a general one, of a single server or a Cluster; `at_least` is what is known to run, for the time before the
    first count."""

    def __init__(self, client: Any, *, at_least: int) -> None:
        self._client = client
        self._at_least = at_least
        self._name = uuid.uuid4().hex
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.processes = at_least

    def start(self) -> None:
        self._task = asyncio.create_task(self._beat())

    async def close(self) -> None:
        """Sign off, if Redis answers."""
        if self._task is None:
            return
        self._closing = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(1):
                await self._client.zrem(_KEY, self._name)
        except _AWAY as error:
            _log.debug("could not sign off: %s", error)

    async def _beat(self) -> None:
        # In Python 3.11 a cancellation that meets the end of `asyncio.wait_for`, with which redis-py sends, is swallowed: hence
        # the flag besides.
        while not self._closing:
            try:
                await self.sign()
            except _AWAY as error:
                _log.debug("could not sign: %s", error)
            except Exception as error:  # noqa: BLE001 — the next beat must come
                # A Cluster's client that finds its way anew closes connections under whoever else is opening them just then.
                _log.warning("counting the processes failed once: %s: %s", type(error).__name__, error)
            if not self._closing:
                await asyncio.sleep(_BEAT_SECONDS)

    async def sign(self) -> None:
        """Sign and count once, by Redis's clock. Raises RedisError, RedisClusterException, OSError."""
        count = await self._client.eval(_SIGN, 1, _KEY, self._name, _GONE_SECONDS)
        self.processes = max(self._at_least, count)
