"""Which node has an account on a Redis Cluster."""

import asyncio
import random
from binascii import crc_hqx
from collections.abc import Callable, Iterator
from typing import Any

from redis.crc import key_slot

from gateway.storage.redis.address import Address, place
from gateway.storage.redis.batches import account_key
from gateway.storage.redis.link import Link, Script, connect
from gateway.storage.redis.node import Node, end
from gateway.storage.redis.queue import Entry
from gateway.storage.redis.refusals import Refusal
from gateway.storage.redis.single import CONNECT_SECONDS
from gateway.storage.redis.state import Limits

SLOTS = 16384
_MAP_SECONDS = 0.5  # for one node's answer, before another one is asked
_BETWEEN_SECONDS = 0.05
_KEPT_SECONDS = 60.0  # a node that holds no slot yet, but was pointed to while one moves there

Place = tuple[str, int]
Range = tuple[int, int, Place, list[Place]]
"""Slots from and to, their master, its replicas."""


class Cluster:
    """Implements `Owner` for the masters of a cluster.

    The map of slots is read from any node, and again whenever a node points elsewhere, cannot be reached or says that the
    cluster is down. Accounts whose slot nobody is known to hold belong to `_nowhere`, a node without a server.
    """

    elsewhere = False
    replicated_by_nature = True

    def __init__(self, address: Address, script: Script, limits: Limits, met: Callable[[str, str], None]) -> None:
        self._address = address
        self._script = script
        self._limits = limits
        self._met = met
        self._loop = asyncio.get_running_loop()
        self._nowhere = Node(str(address), self._no_connection, self, limits, keyed=True)
        self._slots: list[Node] = [self._nowhere] * SLOTS
        self._nodes: dict[Place, Node] = {}
        self._pointed_to: dict[Place, float] = {}
        self._replicas: list[Place] = []
        self._known = False
        self._wanted = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._closing = False
        self._left: list[Node] = []

    def open(self) -> None:
        self._wanted.set()
        self._follower = self._loop.create_task(self._follow(), name="redis cluster map")

    def node(self, account_id: str) -> Node:
        return self._slots[slot_of(account_id)]

    def nodes(self) -> list[Node]:
        """The known masters; while none is known, what stands for them."""
        return list(self._nodes.values()) or [self._nowhere]

    def holders(self) -> set[Node]:
        """The nodes that accounts belong to: of the known masters, those with slots, and what stands for an unknown one."""
        return set(self._slots)

    async def close(self) -> None:
        self._closing = True
        if self._follower is not None:
            await end(self._follower)
        nodes = [*self._nodes.values(), *self._left, self._nowhere]
        for node in nodes:
            node.close()
        for node in nodes:
            await node.closed()

    # What nodes tell

    def again(self, entries: list[Entry]) -> None:
        for entry in reversed(entries):
            self.node(entry.account_id).again(entry)

    def redirected(self, node: Node, entries: list[Entry], refusal: Refusal) -> bool:
        asked = next((at[0] for at, known in self._nodes.items() if known is node), "")
        try:
            target = refusal.target(asked)
        except ValueError:
            return False
        other = self._ensure(target)
        if refusal.code == "ASK":
            self._pointed_to[target] = self._loop.time()
            other.detour(entries)
            return True
        for account_id in {entry.account_id for entry in entries}:
            self._slots[slot_of(account_id)] = other
        self._pointed_to[target] = self._loop.time()
        self._wanted.set()
        self.again(entries)
        return True

    def troubled(self, node: Node) -> None:  # noqa: ARG002 — whichever it is, the map may have changed
        self._wanted.set()

    def met(self, node: Node, run_id: str) -> None:
        self._met(node.name, run_id)

    # The map

    async def _follow(self) -> None:
        while not self._closing:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                ranges = await self._read()
                if not self._closing:
                    self._adopt(ranges)
            except Exception as error:  # noqa: BLE001 — whatever is wrong with one reading of the map, the next one must come
                self._nowhere.trip(f"no node shows the cluster's slots: {error}")
                self._wanted.set()
            if any(node is self._nowhere for node in self._slots):
                self._wanted.set()
            await asyncio.sleep(self._nowhere.breaker.pause() if self._wanted.is_set() else _BETWEEN_SECONDS)

    async def _read(self) -> list[Range]:
        """The map as a node that is well shows it, or else as the last one does. Raises what went wrong if none shows any."""
        found: list[Range] | None = None
        wrong: Exception = ConnectionError("none can be reached")
        for host, port in self._sources():
            try:
                async with asyncio.timeout(_MAP_SECONDS):
                    well, found = await self._ask_for_map(host, port)
            except Exception as error:  # noqa: BLE001 — the next node is asked, whatever is wrong with this one
                wrong = error
            else:
                if well:
                    return found
        if found is None:
            raise wrong
        return found

    def _sources(self) -> Iterator[Place]:
        """Every place to ask, those that are up first."""
        up = [at for at, node in self._nodes.items() if node.state().up]
        rest = [*self._nodes, *self._replicas, *self._address.hosts]
        random.shuffle(up)
        random.shuffle(rest)
        yield from dict.fromkeys(up + rest)

    async def _ask_for_map(self, host: str, port: int) -> tuple[bool, list[Range]]:
        connection = self._address.connection(host, port)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("CLUSTER", "INFO", check_health=False)
            await connection.send_command("CLUSTER", "SLOTS", check_health=False)
            said = bytes(await connection.read_response())
            slots = await connection.read_response()
        finally:
            connection.forget()
        return b"cluster_state:ok" in said, [_range(line, host) for line in slots]

    def _adopt(self, ranges: list[Range]) -> None:
        """Use a new map: nodes that hold nothing any more leave, and what waited for them goes where their accounts are now."""
        slots = [self._nowhere] * SLOTS
        self._replicas = []
        for first, last, master, replicas in ranges:
            slots[first : last + 1] = [self._ensure(master)] * (last + 1 - first)
            self._replicas += replicas
        self._slots = slots
        self._known = True
        now = self._loop.time()
        self._pointed_to = {at: then for at, then in self._pointed_to.items() if now - then < _KEPT_SECONDS}
        masters = {master for _, _, master, _ in ranges}
        waiting = self._nowhere.take_queue()
        for at in self._nodes.keys() - masters - self._pointed_to.keys():
            node = self._nodes.pop(at)
            waiting += node.leave()
            self._left.append(node)
        self._left = [node for node in self._left if not node.ended]
        if self._nowhere in slots:
            self._nowhere.trip("no node holds the account's slot")
        else:
            self._nowhere.breaker.close()
            self._nowhere.breaker.answered()
        self.again(waiting)

    def _ensure(self, at: Place) -> Node:
        node = self._nodes.get(at)
        if node is None:

            async def connect_there() -> Link:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await connect(self._address, *at, self._script)

            # One that appears after the first map took over from another one, whose last writes it may lack.
            node = Node(place(*at), connect_there, self, self._limits, keyed=True, stands_in=self._known)
            self._nodes[at] = node
            node.start()
        return node

    async def _no_connection(self) -> Link:
        raise ConnectionError("no node is known")


def slot_of(account_id: str) -> int:
    """The slot of an account's keys."""
    if "}" in account_id or not account_id:
        return key_slot(account_key(account_id))
    return crc_hqx(account_id.encode(), 0) % SLOTS


def _range(line: list[Any], asked: str) -> Range:
    """A line of CLUSTER SLOTS. A node that does not know its own address leaves it out: it is the one that was `asked`."""
    first, last, *nodes = line
    (master, *replicas) = ((bytes(host).decode() if host else asked, int(port)) for host, port, *_ in nodes)
    return int(first), int(last), master, replicas
