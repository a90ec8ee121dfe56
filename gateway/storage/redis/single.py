"""One node for all accounts: a server at a fixed place, or the master that sentinels name."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from gateway.storage.redis.address import Address, place
from gateway.storage.redis.link import Link, Script, connect
from gateway.storage.redis.node import Node
from gateway.storage.redis.queue import Entry
from gateway.storage.redis.refusals import Refusal
from gateway.storage.redis.state import Limits

CONNECT_SECONDS = 1.0
"""How long connecting to a server and greeting it may take."""


class Single:
    """Implements `Owner` for one node. With sentinels, each connection begins with asking them where the master is."""

    def __init__(self, address: Address, script: Script, limits: Limits, met: Callable[[str, str], None]) -> None:
        self.elsewhere = address.kind == "sentinel"
        self.replicated_by_nature = self.elsewhere
        self._address = address
        self._script = script
        self._met = met
        self._sentinel: Sentinel | None = address.sentinel() if self.elsewhere else None
        self._node = Node(self._name(), self._connect, self, limits, keyed=False)

    def _name(self) -> str:
        if self._address.master_name is not None:
            return self._address.master_name
        return self._address.path or place(*self._address.hosts[0])

    def open(self) -> None:
        self._node.start()

    def node(self, account_id: str) -> Node:  # noqa: ARG002 — one node has them all
        return self._node

    def nodes(self) -> list[Node]:
        return [self._node]

    def holders(self) -> set[Node]:
        """The nodes that accounts belong to."""
        return {self._node}

    async def close(self) -> None:
        self._node.close()
        await self._node.closed()
        if self._sentinel is not None:
            with suppress(RedisError, OSError):
                await self._sentinel.aclose()

    async def _connect(self) -> Link:
        if self._sentinel is not None:
            # Not under the time to connect: a sentinel that hangs has a time of its own, after which the next one is asked.
            host, port = await self._sentinel.discover_master(self._name())
        elif self._address.path is not None:
            host, port = "", 0
        else:
            host, port = self._address.hosts[0]
        async with asyncio.timeout(CONNECT_SECONDS):
            return await connect(self._address, host, port, self._script)

    def again(self, entries: list[Entry]) -> None:
        for entry in reversed(entries):
            self._node.again(entry)

    def redirected(self, node: Node, entries: list[Entry], refusal: Refusal) -> bool:  # noqa: ARG002 — there is no other node
        return False

    def troubled(self, node: Node) -> None:
        """The next attempt to connect asks where the master is anyway."""

    def met(self, node: Node, run_id: str) -> None:
        self._met(node.name, run_id)
