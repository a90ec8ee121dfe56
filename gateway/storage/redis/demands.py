"""What the gateway demands of the Redis that it is given: looked at by `gateway check`, and, where it matters most, at the start.

Each master is looked at. An answer that the server's access rules forbid is a warning where it was only asked to be sure.
"""

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 — redis-py's is not a kind of Python's own
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.domain.faults import LimitsUnavailable

_OLDEST = (6, 2)
_SLOTS = 16_384
_EXAMINE_SECONDS = 30.0
_SERVER_SECONDS = 5.0
_START_SECONDS = 2.0
_TAGS = 10_000  # tried until one belongs to a node: with a share of 1 % of the slots, all miss once in 10^43
_SCRATCH = """
redis.call('XADD', KEYS[1], '*', 'check', '1')
redis.call('PEXPIRE', KEYS[1], 10000)
redis.call('XGROUP', 'CREATE', KEYS[1], 'check', '0')
redis.call('XREADGROUP', 'GROUP', 'check', 'check', 'COUNT', 1, 'STREAMS', KEYS[1], '>')
redis.call('XAUTOCLAIM', KEYS[1], 'check', 'check', 0, '0', 'JUSTID')
redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
return redis.call('DEL', KEYS[1])
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: a problem if `grave`, else a warning. Neither text holds a secret."""

    problem: str
    remedy: str
    grave: bool = True


class UnfitRedis(Exception):  # noqa: N818 — says what Redis is
    """Redis answers, and the limits or revocations would not be safe in it."""


async def examine(client: Redis | RedisCluster, *, hold_seconds: float) -> list[Finding]:
    """Everything that is wrong with the Redis that `client` speaks to. Its keys stay as they are.

    `hold_seconds` is how long the gateway holds changes back after a fail-over. Raises LimitsUnavailable if nothing answers.
    """
    try:
        async with asyncio.timeout(_EXAMINE_SECONDS):
            servers = await _masters(client)
            findings = [each for server in servers for each in await server.findings(hold_seconds)]
            if isinstance(client, RedisCluster):
                findings += await _coverage(client, servers)
    except NoPermissionError as error:
        return [Finding(f"its access rules do not let the gateway look at it: {error}", _RIGHTS)]
    except (AuthenticationError, RedisClusterException) as error:
        if not (denied := _denied(error)):
            raise LimitsUnavailable(str(error)) from None
        return [Finding(f"it refuses the credential: {denied}", "Check the user and the password in GATEWAY_REDIS_URL.")]
    except TimeoutError:
        raise LimitsUnavailable(f"it did not answer within {_EXAMINE_SECONDS:g} s") from None
    except (RedisError, OSError) as error:
        raise LimitsUnavailable(str(error) or type(error).__name__) from None
    return findings


async def refuse_unfit(client: Redis | RedisCluster) -> None:
    """Raise UnfitRedis, with the remedy, for a server that is too old or may drop keys. A Redis that does not answer, or does not
    tell, is none of this: the gateway starts without it and uses it once it is there. Takes 2 seconds at most.
    """
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(_START_SECONDS):
            for server in await _masters(client):
                findings += of_info(server.name, await server.info())
    except (RedisError, RedisClusterException, OSError, TimeoutError):
        pass
    if findings:
        raise UnfitRedis(" ".join(f"{each.problem}. {each.remedy}" for each in findings))


_RIGHTS = (
    "Give its user the rights that docs/operations.md lists: on the keys ~gw:*, the commands of scripts, streams, strings, "
    "hashes and sorted sets; TIME, PUBLISH and INFO."
)


def of_info(name: str, info: Mapping[str, Any]) -> list[Finding]:
    """What INFO of a server shows that keeps the gateway from starting with it."""
    findings = []
    if _version(info) < _OLDEST:
        findings.append(Finding(f"{name} is Redis {info['redis_version']}", "Use Redis 6.2 or newer, or Valkey."))
    policy = info.get("maxmemory_policy")
    if policy not in (None, "noeviction"):
        findings.append(
            Finding(
                f"{name} has maxmemory-policy {policy}, so it may drop limits and revocations when its memory is full",
                "Set maxmemory-policy to noeviction (redis.conf, or CONFIG SET), and give the gateway a Redis of its own.",
            )
        )
    return findings


@dataclass(frozen=True, slots=True)
class _Server:
    """A master. `node` is its node in a Cluster, and `key` one of its slot that is not in use; `name` is for messages."""

    client: Redis | RedisCluster
    name: str
    key: str
    node: Any = None

    async def _ask(self, *command: str) -> Any:
        client: Any = self.client
        if self.node is None:
            return await client.execute_command(*command)
        return await client.execute_command(*command, target_nodes=self.node)

    async def info(self) -> Mapping[str, Any]:
        """INFO; nothing where that is forbidden."""
        try:
            found: Mapping[str, Any] = await self._ask("INFO")
        except NoPermissionError:
            return {}
        return found

    async def cluster(self) -> Mapping[str, Any]:
        """CLUSTER INFO of a node; nothing where that is forbidden."""
        try:
            found: Mapping[str, Any] = await self._ask("CLUSTER INFO")
        except NoPermissionError:
            return {}
        return found

    async def _setting(self, name: str) -> str | None:
        """A setting; None where CONFIG is forbidden or unknown, as with most services that one rents."""
        try:
            found = await self._ask("CONFIG GET", name)
        except ResponseError:
            return None
        return {_text(key): _text(value) for key, value in found.items()}.get(name)

    async def findings(self, hold_seconds: float) -> list[Finding]:
        """What is wrong with it. Raises redis.RedisError if the only server does not answer."""
        try:
            async with asyncio.timeout(_SERVER_SECONDS):
                return await self._look(hold_seconds)
        except (ConnectionError, RedisTimeoutError, RedisClusterException, OSError, TimeoutError) as error:
            if self.node is None or _denied(error):
                raise
            return [Finding(f"{self.name}, a master of the Cluster, does not answer", "Bring the node back.")]

    async def _look(self, hold_seconds: float) -> list[Finding]:
        info = await self.info()
        if info.get("role") == "slave":
            return [Finding(f"{self.name} is a replica, which takes no writes", "Name its master in GATEWAY_REDIS_URL.")]
        if self.node is None and info.get("redis_mode") == "cluster":
            remedy = "Write GATEWAY_REDIS_URL as redis+cluster://host:port,host:port."
            return [Finding(f"{self.name} is a node of a Cluster", remedy)]
        found = of_info(self.name, info)
        if "run_id" not in info:
            # What a server stored is told from what another one stored before a fail-over by its run ID alone.
            return [Finding(f"{self.name} does not show its run ID in INFO", _RIGHTS)]
        found += await self._replicas(info, hold_seconds)
        found += await self._rights()
        if info.get("aof_enabled") == 0:
            found.append(
                Finding(
                    f"{self.name} keeps no append-only file: metered calls not yet in the database are lost if it crashes",
                    "Set appendonly to yes.",
                    grave=False,
                )
            )
        if self.node is not None and await self._setting("cluster-require-full-coverage") == "yes":
            found.append(
                Finding(
                    f"{self.name} has cluster-require-full-coverage yes: with one part of the Cluster away, no part answers",
                    "Set cluster-require-full-coverage to no.",
                    grave=False,
                )
            )
        return found

    async def _replicas(self, info: Mapping[str, Any], hold_seconds: float) -> list[Finding]:
        """Whether a master that is cut off from its replicas, one of which may be master by now, stops answering soon."""
        if not info.get("connected_slaves"):
            return []
        # Shown by INFO only where both settings are above 0.
        if "min_slaves_good_slaves" not in info:
            return [
                Finding(
                    f"{self.name} has replicas, and goes on answering when it is cut off from them: beside a new master, it "
                    "would not know of revoked keys",
                    f"Set min-replicas-to-write to 1 and min-replicas-max-lag to at most {hold_seconds:g}.",
                )
            ]
        return [*await self._enough_replicas(int(info["connected_slaves"])), *await self._lag(hold_seconds)]

    async def _enough_replicas(self, replicas: int) -> list[Finding]:
        """Whether a master that is cut off together with some of its replicas stops answering as well."""
        needed = await self._setting("min-replicas-to-write")
        if needed is None or int(needed) >= replicas:
            return []
        return [
            Finding(
                f"{self.name} has {replicas} replicas, and goes on answering with {needed}: cut off together with those, "
                "beside a new master, it would not know of revoked keys",
                f"Set min-replicas-to-write to {replicas}, or do with fewer replicas.",
                grave=False,
            )
        ]

    async def _lag(self, hold_seconds: float) -> list[Finding]:
        """Whether the gateway waits longer after a fail-over than a master goes on that is cut off."""
        lag = await self._setting("min-replicas-max-lag")
        if lag is None:
            remedy = f"See that it is at most {hold_seconds:g} (seconds), the gateway's limits.failover_hold_seconds."
            return [Finding(f"{self.name} does not let the gateway read min-replicas-max-lag", remedy, grave=False)]
        if int(lag) > hold_seconds:
            return [
                Finding(
                    f"{self.name} goes on answering for {lag} s when it is cut off from its replicas (min-replicas-max-lag), and "
                    f"after a fail-over the gateway holds changes back for only {hold_seconds:g} s",
                    f"Lower min-replicas-max-lag, or raise limits.failover_hold_seconds to {lag}.",
                )
            ]
        return []

    async def _rights(self) -> list[Finding]:
        """Whether it takes scripts and, by a key that is gone again at once, the commands of streams."""
        client: Any = self.client
        try:
            await self._ask("TIME")
        except ResponseError as error:
            return [Finding(f"{self.name} does not tell the time: {error}", _RIGHTS)]
        try:
            await client.eval("return redis.call('INFO', 'replication')", 1, self.key)
        except ResponseError as error:
            return [Finding(f"{self.name} does not run scripts: {error}", _RIGHTS)]
        try:
            await client.delete(self.key)  # by itself: Redis 6.2 asks within scripts for no replicas
            await client.eval(_SCRATCH, 1, self.key)
        except ResponseError as error:
            # Redis 6.2 and 7 say differently within a script what NOPERM says outside.
            forbidden = isinstance(error, NoPermissionError) or any(
                words in str(error) for words in ("NOPERM", "can't run this command", "ACL failure")
            )
            remedy = _RIGHTS if forbidden else "See in its log why it takes no writes: memory, disk, or too few replicas."
            return [Finding(f"{self.name} does not write a stream: {error}", remedy)]
        return []


async def _masters(client: Redis | RedisCluster) -> list[_Server]:
    scratch = f"gw:check:{secrets.token_hex(8)}"
    if isinstance(client, Redis):
        return [_Server(client, "it", scratch)]
    await client.initialize()
    found: list[_Server] = []
    for node in client.get_primaries():
        keys = (f"{scratch}:{{{number}}}" for number in range(_TAGS))
        key = next((key for key in keys if _holder(client, key) == node.name), None)
        if key is not None:  # else it has no slots, and is none of the gateway's business
            found.append(_Server(client, f"{node.host}:{node.port}", key, node))
    return found


def _holder(client: RedisCluster, key: str) -> str | None:
    """The name of the node that has a key's slot; None for a slot that nobody has."""
    nodes = client.nodes_manager.slots_cache.get(client.keyslot(key))
    return nodes[0].name if nodes else None


async def _coverage(client: RedisCluster, servers: list[_Server]) -> list[Finding]:
    """Whether each slot has a node, as the first master that answers sees it."""
    answering = _SLOTS
    for server in servers:
        try:
            info = await server.cluster()
        except (ConnectionError, RedisTimeoutError, RedisClusterException, OSError):
            continue
        answering = int(info.get("cluster_slots_ok", _SLOTS))
        break
    failing = _SLOTS - min(answering, len(client.nodes_manager.slots_cache))
    if not failing:
        return []
    return [
        Finding(
            f"the Cluster is not whole: {failing} of {_SLOTS} slots have no node that answers for them",
            "Bring its nodes back, or let redis-cli --cluster fix give the slots to others.",
        )
    ]


def _version(info: Mapping[str, Any]) -> tuple[int, ...]:
    """Major and minor version, of Valkey that of the Redis which it is like; beyond all where it is not told."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", str(info.get("redis_version", "")))[:2])
    return numbers or (1_000_000,)


def _denied(error: BaseException) -> str | None:
    """What Redis said to the credential, if an error comes of that."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AuthenticationError):
            return str(cause)
        cause = cause.__cause__
    return None


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
