"""Scripts of the tests' own, and what the tests of the store share."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.storage.redis.address import Address
from gateway.storage.redis.store import Store

ECHO = b"""
local items = cmsgpack.unpack(ARGV[2])
local first = items[1]
if type(first) == 'table' and first.error then return redis.error_reply(first.error) end
if type(first) == 'table' and first.raw then return first.raw end
local calls = redis.call('INCR', (KEYS[1] or 'calls') .. ':n')
if type(first) == 'table' and first.write then redis.call('SET', KEYS[1] or 'x', first.write) end
local answers = {}
for i, item in ipairs(items) do answers[i] = {item, ARGV[1], #items, calls} end
return cmsgpack.pack(answers)
"""
"""Answers each item with [item, run ID, items in this call, calls so far]; the first item of a call may order something else."""


@asynccontextmanager
async def opened(url: str, script: bytes = ECHO, **options: Any) -> AsyncIterator[Store]:
    """A store at `url`, connected, and closed in the end. Unless told, its deadline is one that a busy machine keeps too."""
    store = Store(Address.of(url), script, **({"deadline_seconds": 20.0} | options))
    await store.open()
    try:
        await eventually(lambda: all(node.up for node in store.nodes()), "the store to connect")
        yield store
    finally:
        await store.close()


async def eventually(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Return once `condition()` holds. Raises AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        await asyncio.sleep(0.01)
