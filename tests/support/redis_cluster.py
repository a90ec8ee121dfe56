"""A real Redis Cluster as child processes of a test: three masters and three replicas, any of which can be killed or hung."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot

from tests.support.processes import wait_until
from tests.support.redis_server import RedisServer, free_ports

_MASTERS = 3
_NODE_TIMEOUT_MS = 1000


@dataclass(frozen=True, slots=True)
class _Seen:
    """A node as a line of CLUSTER NODES shows it."""

    port: int
    flags: frozenset[str]
    slots: int


class RedisCluster:
    """Nodes 0, 1 and 2 begin as masters, 3, 4 and 5 as their replicas. A lost master is replaced in about two seconds.

    Without `full_coverage`, a master that is away takes only its own slots with it, as the gateway wants it. `options` are
    settings of every node, as of RedisServer.
    """

    def __init__(self, *, aof: bool = False, full_coverage: bool = False, **options: str) -> None:
        settings = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": str(_NODE_TIMEOUT_MS),
            "cluster_replica_validity_factor": "0",
            "cluster_require_full_coverage": "yes" if full_coverage else "no",
            "repl_diskless_sync": "yes",
            "repl_diskless_sync_delay": "0",
        } | options
        self.nodes = [RedisServer(aof=aof, port=port, **settings) for port in free_ports(2 * _MASTERS)]

    @property
    def url(self) -> str:
        """Names three nodes of the six, one of them a replica: the rest is for the client to find out."""
        named = (self.nodes[0], self.nodes[1], self.nodes[5])
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in named)

    @property
    def serving(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.serves]

    def start(self) -> Self:
        """Start the nodes, make them a Cluster, and return once it takes commands: two to three seconds."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_answering()
        masters, replicas = self.nodes[:_MASTERS], self.nodes[_MASTERS:]
        for number, node in enumerate(masters):
            slots = range(number * SLOTS // _MASTERS, (number + 1) * SLOTS // _MASTERS)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.ask("CLUSTER", "ADDSLOTS", *slots)
        for number, node in enumerate(self.nodes):
            for other in self.nodes[:number]:
                node.ask("CLUSTER", "MEET", "127.0.0.1", other.port)
        for pair in zip(replicas, masters, strict=True):
            wait_until(functools.partial(self._follows, *pair), "a replica follows its master")
        self.wait_healthy()
        return self

    @staticmethod
    def _follows(replica: RedisServer, master: RedisServer) -> bool:
        try:
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        except redis.ResponseError:  # the handshake between the two is not done
            return False
        return True

    def wait_healthy(self, seconds: float = 20.0) -> None:
        """Return once all nodes that serve agree on who holds the slots, each of which a master that serves holds, and every
        replica is in step.
        """
        wait_until(self._healthy, "a healthy Cluster", seconds)

    def _healthy(self) -> bool:
        ports = {node.port for node in self.serving}
        views = set()
        for node in self.serving:
            try:
                seen = self._seen_by(node)
                info = node.ask("INFO", "replication")
                state = str(node.ask("CLUSTER", "INFO"))
            except redis.RedisError:
                return False
            views.add(frozenset((each.port, each.slots) for each in seen if each.slots))
            failing = any(each.port in ports and each.flags & {"fail", "fail?", "handshake", "noaddr"} for each in seen)
            in_step = info["role"] == "master" or info["master_link_status"] == "up"
            if failing or not in_step or "cluster_state:ok" not in state:
                return False
        return len(views) == 1 and sum(slots for port, slots in views.pop() if port in ports) == SLOTS

    @staticmethod
    def _seen_by(node: RedisServer) -> list[_Seen]:
        """The nodes that `node` knows, itself included."""
        found = []
        for line in str(node.ask("CLUSTER", "NODES")).splitlines():
            _, place, flags, _, _, _, _, _, *slots = line.split()
            ranges = [each.partition("-") for each in slots if not each.startswith("[")]
            count = sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
            found.append(_Seen(int(place.partition("@")[0].rpartition(":")[2]), frozenset(flags.split(",")), count))
        return found

    def master_of(self, account_id: str) -> RedisServer:
        """The node that holds an account's keys now."""
        return self.master_of_slot(key_slot(f"gw:{{{account_id}}}:epoch".encode()))

    def master_of_slot(self, slot: int) -> RedisServer:
        """The node that holds a slot now. Raises AssertionError if it does not serve."""
        for first, last, (_, port, *_), *_ in self.serving[0].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.serving if node.port == port)
        raise AssertionError(f"nobody holds slot {slot}")

    def masters(self) -> list[RedisServer]:
        """The nodes that serve as masters now."""
        return [node for node in self.serving if node.ask("INFO", "replication")["role"] == "master"]

    def replica_of(self, master: RedisServer) -> RedisServer:
        """A node that serves as a replica of `master` now."""
        for node in self.serving:
            info = node.ask("INFO", "replication")
            if info["role"] == "slave" and info["master_port"] == master.port:
                return node
        raise AssertionError(f"the master on port {master.port} has no replica")

    def kill(self, node: RedisServer) -> None:
        """End a node at once; `restart` brings it back in its place, with its data only if there is an append-only file."""
        node.kill()

    def restart(self, node: RedisServer) -> None:
        node.start()

    @contextlib.contextmanager
    def moving(self, slot: int, to: RedisServer) -> Iterator[RedisServer]:
        """Within it, a slot is between two masters, the source being what it yields: the source answers ASK for a key that it
        does not hold. At its end all keys are moved and the slot with them, so that the source answers MOVED.
        """
        source = self.master_of_slot(slot)
        source_id, target_id = source.ask("CLUSTER", "MYID"), to.ask("CLUSTER", "MYID")
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        yield source
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.move_keys(source, to, *keys)
        for node in (to, source, *(each for each in self.masters() if each not in (to, source))):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    @staticmethod
    def move_keys(source: RedisServer, to: RedisServer, *keys: str) -> None:
        """Move keys of a slot that is between two masters."""
        source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)

    def move_slot(self, slot: int, to: RedisServer) -> None:
        """Move a slot and its keys to another master."""
        with self.moving(slot, to):
            pass

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
