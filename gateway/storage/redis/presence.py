"""How many gateway processes there are: each one signs in Redis every two seconds, and counts as gone after ten without.

The count is what limits are divided by while Redis is away, so the last one seen stays.
"""

import asyncio
import logging
import uuid
from typing import Any

from redis.exceptions import RedisError

_log = logging.getLogger(__name__)
_KEY = "gw:processes"
_BEAT_SECONDS = 2.0
_GONE_SECONDS = 10.0


class Presence:
    """`client` is a general one, of a single server or a Cluster; `at_least` is what is known to run, for the time before the
    first count."""

    def __init__(self, client: Any, *, at_least: int) -> None:
        self._client = client
        self._at_least = at_least
        self._name = uuid.uuid4().hex
        self._task: asyncio.Task[None] | None = None
        self.processes = at_least

    def start(self) -> None:
        self._task = asyncio.create_task(self._beat())

    async def close(self) -> None:
        """Sign off, if Redis answers."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(1):
                await self._client.zrem(_KEY, self._name)
        except (RedisError, OSError) as error:
            _log.debug("could not sign off: %s", error)

    async def _beat(self) -> None:
        while True:
            try:
                await self.sign()
            except (RedisError, OSError) as error:
                _log.debug("could not sign: %s", error)
            except Exception:  # noqa: BLE001 — the next beat must come
                _log.exception("counting the processes failed once")
            await asyncio.sleep(_BEAT_SECONDS)

    async def sign(self) -> None:
        """Sign and count once, by Redis's clock. Raises RedisError, OSError."""
        seconds, micros = await self._client.time(**_one_node(self._client))
        now = seconds + micros / 1e6
        await self._client.zadd(_KEY, {self._name: now})
        await self._client.zremrangebyscore(_KEY, "-inf", now - _GONE_SECONDS)
        self.processes = max(self._at_least, await self._client.zcard(_KEY))


def _one_node(client: Any) -> dict[str, Any]:
    """On a Cluster: ask the node that has the key, or else all of them would be asked."""
    node = getattr(client, "get_node_from_key", None)
    return {} if node is None else {"target_nodes": node(_KEY)}
