"""How old the oldest ledger entry in the streams is: a message leaves its stream once its entries are in the database."""

import asyncio
import logging
import random

from gateway.storage.redis.streams import Client, Streams, pipelined

_EVERY_SECONDS = 2.0
_TIMEOUT = 5.0
# A message's ID begins with the time at which it came, by the clock of its server; so no two clocks are compared.
_AGE = b"""
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first then return 0 end
local now = redis.call('TIME')
return now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(first[1], '^%d+'))
"""

_log = logging.getLogger(__name__)


class StreamAge:
    """Looks every two seconds. `seconds` is the greatest age of all streams when they were last looked at."""

    def __init__(self, client: Client, streams: Streams) -> None:
        self._client = client
        self._streams = streams
        self._ages = [0] * len(streams)
        self._task: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        return max(self._ages) / 1000

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        """Look now. A stream that does not tell keeps the age that it had."""
        for numbers in self._streams.lanes(self._client).values():
            commands = [("EVAL", _AGE, 1, self._streams.names[number]) for number in numbers]
            try:
                async with asyncio.timeout(_TIMEOUT):
                    answers = await pipelined(self._client, commands)
            except Exception as error:  # noqa: BLE001 — whatever it is, the next look may succeed
                _log.debug("the age of the ledger streams is not known: %s", error)
                continue
            for number, answer in zip(numbers, answers, strict=True):
                if isinstance(answer, int):
                    self._ages[number] = max(0, answer)

    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 — spreads the looks
