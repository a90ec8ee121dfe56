"""What admission uses: hand in items, get answers, whichever way Redis is set up."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from typing import Any

from gateway.ops.batches import Batches
from gateway.storage.redis.address import Address
from gateway.storage.redis.cluster import Cluster
from gateway.storage.redis.link import Script
from gateway.storage.redis.single import Single
from gateway.storage.redis.state import Limits, NodeState

_log = logging.getLogger(__name__)

_FLUSH_SECONDS = 1.0  # how long closing waits for what was handed in


class Store:
    """Sends items of accounts to the script on the node that has the account, many at a time.

    An item is anything msgspec packs; an answer is the script's for that item, unpacked. A future fails with LimitsUnavailable,
    which says what happened; the script may have run all the same, so items are made to be repeated. Cancelling a future takes
    its item back if it was not sent yet. All methods belong to the event loop that called `open`.

    `deadline_seconds` runs from handing in an admission, or from sending anything else; what is not an admission waits up to
    `patience_seconds` before for a node that is away, `ride_limit` items for each node.
    """

    def __init__(
        self,
        address: Address,
        script: bytes,
        *,
        deadline_seconds: float = 0.1,
        ride_seconds: float = 0.005,
        patience_seconds: float = 5.0,
        ride_limit: int = 100_000,
    ) -> None:
        self._address = address
        # SHA-1 is how EVALSHA names a script, not a protection.
        self._script = Script(script, hashlib.sha1(script, usedforsecurity=False).hexdigest())
        self._limits = Limits(deadline_seconds, ride_seconds, patience_seconds, ride_limit)
        self._listeners: list[Callable[[str, str], None]] = []
        self._nodes: Single | Cluster | None = None

    async def open(self) -> None:
        """Begin to connect. Never fails: a Redis that is away is connected to once it is back."""
        kind = Cluster if self._address.kind == "cluster" else Single
        self._nodes = kind(self._address, self._script, self._limits, self._new_server)
        self._nodes.open()

    async def close(self) -> None:
        """Send what waits, within a second, fail the rest, and disconnect."""
        nodes = self._nodes
        if nodes is None:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + _FLUSH_SECONDS
        while any(not node.idle and not node.breaker.open for node in nodes.nodes()) and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(self._limits.ride)  # what is under way changes in many places; nobody waits for a stop but this
        await nodes.close()

    def ask(self, account_id: str, item: object) -> asyncio.Future[Any]:
        """An admission: sent at the end of this turn of the event loop, with the others of the turn."""
        return self._opened.node(account_id).ask(account_id, item)

    def ride(self, account_id: str, item: object) -> asyncio.Future[Any]:
        """Anything that nobody's call waits for: sent behind the next admissions, or by itself after `ride_seconds`."""
        return self._opened.node(account_id).ride(account_id, item)

    def node_of(self, account_id: str) -> str:
        """The name of the node that has an account."""
        return self._opened.node(account_id).name

    def available(self, account_id: str) -> bool:
        """Whether the node of an account is thought to be up: its breaker is closed."""
        return not self._opened.node(account_id).breaker.open

    def has_accounts(self, node: str) -> bool:
        """Whether any account belongs to the node of that name now."""
        return any(each.name == node for each in self._opened.holders())

    @property
    def replicated(self) -> bool:
        """Whether a failover can lose acknowledged writes: Sentinel, Cluster, or a server that has or had replicas."""
        nodes = self._opened
        return nodes.replicated_by_nature or any(node.replicated for node in nodes.nodes())

    def on_new_server(self, listener: Callable[[str, str], None]) -> None:
        """Call `listener(node name, run ID)` when a node's connection meets another server than before, before using it."""
        self._listeners.append(listener)

    @property
    def batches(self) -> Batches:
        """The batches that were answered, of all nodes."""
        return self._limits.done

    def nodes(self) -> list[NodeState]:
        """Every node as it is now, for metrics."""
        return [node.state() for node in self._opened.nodes()] if self._nodes is not None else []

    @property
    def _opened(self) -> Single | Cluster:
        if self._nodes is None:
            raise RuntimeError("the store is not open")
        return self._nodes

    def _new_server(self, name: str, run_id: str) -> None:
        for listener in self._listeners:
            try:
                listener(name, run_id)
            except Exception:  # noqa: BLE001 — one listener's fault must not stop the connection
                _log.exception("a listener to new Redis servers failed")
