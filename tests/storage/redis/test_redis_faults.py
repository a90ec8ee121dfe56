"""A server that hangs, dies, refuses or loses its memory."""

import asyncio
import contextlib
import time

import pytest

from gateway.domain.faults import LimitsUnavailable
from gateway.storage.redis.address import Address
from gateway.storage.redis.store import Store
from tests.storage.redis.redis_scripts import ECHO, eventually, opened
from tests.support.processes import free_port
from tests.support.redis_server import RedisServer


async def test_a_hung_server_is_given_up_within_the_deadline(redis_server: RedisServer) -> None:
    """A call to a server that hangs fails after the deadline, and no later answer of it reaches another call."""
    async with opened(redis_server.url, deadline_seconds=0.1) as store:
        redis_server.hang()
        began = time.monotonic()
        hung = [store.ask("a", f"hung {i}") for i in range(70)]
        for future in hung:
            with pytest.raises(LimitsUnavailable, match="no answer within 100 ms"):
                await future
        assert 0.09 < time.monotonic() - began < 5
        redis_server.resume()
        await eventually(lambda: store.nodes()[0].up, "the node to be up again")
        later = [store.ride("a", f"later {i}") for i in range(70)]  # which wait, should the machine be slow
        assert [(await answer)[0] for answer in later] == [f"later {i}" for i in range(70)]


async def test_the_breaker_opens_and_closes(redis_server: RedisServer) -> None:
    """After a few time-outs asking fails at once; once the server answers again, so do calls, with the same store."""
    async with opened(redis_server.url, deadline_seconds=0.2) as store:
        assert store.available("a")
        redis_server.hang()
        for _ in range(3):
            assert store.available("a")
            with pytest.raises(LimitsUnavailable):
                await store.ask("a", 1)
        assert not store.available("a")
        assert store.nodes()[0].breaker == "open"
        refused = store.ask("a", 1)
        assert refused.done()
        with pytest.raises(LimitsUnavailable, match="no answer"):
            await refused
        redis_server.resume()
        await eventually(lambda: store.available("a"), "the breaker to close")
        assert (await store.ask("a", 2))[0] == 2


async def test_the_gateway_starts_before_redis() -> None:
    """A server that is not there at the start is used once it is, and until then asking fails at once."""
    server = RedisServer(port=free_port())
    try:
        store = Store(Address.of(server.url), ECHO)
        await store.open()
        ride = store.ride("a", "kept")
        await eventually(lambda: not store.available("a"), "the breaker to open")
        with pytest.raises(LimitsUnavailable, match="cannot connect"):
            await store.ask("a", 1)
        server.start()
        assert (await ride)[0] == "kept"
        assert (await store.ask("a", 2))[0] == 2
        await store.close()
    finally:
        server.close()


async def test_a_restarted_server_is_a_new_one(redis_server: RedisServer) -> None:
    """Calls carry the run ID of the server that they reach; a restart is told to listeners, the first server is not."""
    async with opened(redis_server.url) as store:
        met: list[tuple[str, str]] = []
        store.on_new_server(lambda name, run_id: met.append((name, run_id)))
        first = (await store.ask("a", 1))[1]
        redis_server.kill()
        await eventually(lambda: not store.nodes()[0].up, "the connection to be lost")
        redis_server.start()
        await eventually(lambda: store.nodes()[0].up, "the node to be up again")
        second = (await store.ask("a", 1))[1]
        assert second != first
        assert second == redis_server.ask("INFO", "server")["run_id"] == store.nodes()[0].run_id
        assert met == [(f"127.0.0.1:{redis_server.port}", second)]


async def test_a_lost_connection_fails_what_it_carried(redis_server: RedisServer) -> None:
    """Calls on a connection that the server closes fail at once; the next ones go over a new connection to the same server."""
    async with opened(redis_server.url, deadline_seconds=20) as store:
        met: list[str] = []
        store.on_new_server(lambda name, run_id: met.append(run_id))
        await store.ask("a", 1)
        redis_server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(lambda: store.nodes()[0].connections == 2, "another connection")
        assert (await store.ask("a", 2))[0] == 2
        redis_server.hang()
        under_way = store.ask("a", 3)
        await asyncio.sleep(0.02)
        redis_server.kill()
        with pytest.raises(LimitsUnavailable, match="connection"):
            await under_way
        assert met == []


async def test_a_forgotten_script_is_loaded_again(redis_server: RedisServer) -> None:
    """After SCRIPT FLUSH every call under way is answered all the same."""
    async with opened(redis_server.url) as store:
        redis_server.ask("SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(store.ask("a", i) for i in range(200)))
        assert [answer[0] for answer in answers] == list(range(200))
        assert store.nodes()[0].failures == 0


@pytest.mark.parametrize("refusal", ["OOM no memory", "NOREPLICAS too few", "MISCONF no disk", "WRONG of no known kind"])
async def test_a_refusal_fails_the_call_alone(redis_server: RedisServer, refusal: str) -> None:
    """What the server refuses fails with its reason, at once, and the connection goes on."""
    async with opened(redis_server.url, deadline_seconds=20) as store:
        with pytest.raises(LimitsUnavailable, match=refusal):
            await store.ask("a", {"error": refusal})
        assert (await store.ask("a", 1))[0] == 1
        assert (store.nodes()[0].connections, store.nodes()[0].failures) == (1, 1)


@pytest.mark.parametrize("reply", ["no packed list", "\x91\x01\x02", "\x01"])
async def test_a_senseless_reply_fails_the_call_alone(redis_server: RedisServer, reply: str) -> None:
    """A reply that does not hold one answer for each item answers nobody."""
    async with opened(redis_server.url) as store:
        pair = store.ask("a", {"raw": reply}), store.ask("a", 1)
        for future in pair:
            with pytest.raises(LimitsUnavailable, match="did not answer each item"):
                await future
        assert (await store.ask("a", 1))[0] == 1


async def test_a_full_server_is_unavailable(redis_server: RedisServer) -> None:
    """A server without memory left refuses the script's write; once there is room, calls work again."""
    async with opened(redis_server.url) as store:
        redis_server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(LimitsUnavailable, match="OOM"):
            await store.ask("a", {"write": "x"})
        redis_server.ask("CONFIG", "SET", "maxmemory", "0")
        assert (await store.ask("a", {"write": "x"}))[2] == 1


async def test_a_demoted_server_is_left_until_it_is_master_again(redis_server: RedisServer) -> None:
    """A server that has become a replica takes no calls: they fail at once, until a probe finds a master."""
    async with opened(redis_server.url) as store:
        redis_server.ask("REPLICAOF", "127.0.0.1", 1)
        with pytest.raises(LimitsUnavailable, match="READONLY"):
            await store.ask("a", 1)
        assert store.ask("a", 1).done()
        await eventually(lambda: "is a replica" in str(store.nodes()[0].error), "a probe that finds a replica")
        redis_server.ask("REPLICAOF", "NO", "ONE")
        await eventually(lambda: store.available("a"), "the breaker to close")
        assert (await store.ask("a", 2))[0] == 2


WAITING = b"""
if redis.call('INCR', 'tries') < 4 then return redis.error_reply(cmsgpack.unpack(ARGV[2])[1]) end
return cmsgpack.pack({redis.call('GET', 'tries')})
"""


@pytest.mark.parametrize("refusal", ["TRYAGAIN keys are moving", "LOADING the dataset"])
async def test_a_server_that_says_wait_is_asked_again(redis_server: RedisServer, refusal: str) -> None:
    """TRYAGAIN and LOADING are repeated, but not beyond the deadline."""
    async with opened(redis_server.url, WAITING, deadline_seconds=5) as store:
        assert await store.ask("a", refusal) == "4"
    async with opened(redis_server.url, ECHO, deadline_seconds=0.1) as store:
        with pytest.raises(LimitsUnavailable, match=refusal):
            await store.ask("a", {"error": refusal})


async def test_rides_wait_for_a_server_within_bounds(redis_server: RedisServer) -> None:
    """Settlements outlast a restart of the server, but wait no longer than they may."""
    async with opened(redis_server.url, patience_seconds=0.3) as store:
        redis_server.kill()
        await eventually(lambda: not store.available("a"), "the breaker to open")
        lost = store.ride("a", 1)
        with pytest.raises(LimitsUnavailable):
            await lost
        redis_server.start()
        await eventually(lambda: store.available("a"), "the breaker to close")
        assert (await store.ride("a", 2))[0] == 2


async def test_whether_a_server_has_replicas(redis_server: RedisServer) -> None:
    """A server that has replicas may be replaced by one that lacks its last writes; a lone one may not."""
    async with opened(redis_server.url) as store:
        assert not store.replicated
    with RedisServer(replicaof=f"127.0.0.1 {redis_server.port}") as replica:
        await asyncio.to_thread(_in_step, replica)
        async with opened(redis_server.url) as store:
            assert store.replicated


def _in_step(replica: RedisServer) -> None:
    while replica.ask("INFO", "replication")["master_link_status"] != "up":
        time.sleep(0.02)


async def test_a_listener_that_fails_stops_nothing(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The connection is used, and other listeners hear of a new server, whatever one of them does."""
    async with opened(redis_server.url) as store:
        met: list[str] = []
        store.on_new_server(_failing)
        store.on_new_server(lambda name, run_id: met.append(run_id))
        redis_server.kill()
        redis_server.start()
        await eventually(lambda: bool(met), "the listener to be called")
        await eventually(lambda: store.nodes()[0].up, "the node to be up again")
        assert "a listener to new Redis servers failed" in caplog.text


def _failing(name: str, run_id: str) -> None:
    raise RuntimeError(name)


async def test_a_master_without_its_replicas_decides_nothing() -> None:
    """A master that was cut off, as `min-replicas-to-write` has it, is refused as unavailable, although its scripts would run."""
    with (
        RedisServer(min_replicas_to_write="1", min_replicas_max_lag="3", repl_diskless_sync_delay="0") as master,
        RedisServer(replicaof=f"127.0.0.1 {master.port}") as replica,
    ):
        await eventually(lambda: _replicas(master) == 1, "a replica")
        async with opened(master.url, deadline_seconds=1) as store:
            assert store.replicated
            await eventually_answers(store)
            replica.hang()
            assert "NOREPLICAS" in await _refusal(store)
            replica.resume()
            await eventually_answers(store)


async def eventually_answers(store: Store) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(LimitsUnavailable):
                await store.ask("a", "answered")
                return
            await asyncio.sleep(0.05)


async def _refusal(store: Store) -> str:
    """Ask until it is refused, and why."""
    async with asyncio.timeout(20):
        while True:
            try:
                await store.ask("a", "again")
            except LimitsUnavailable as error:
                return str(error)
            await asyncio.sleep(0.05)


def _replicas(master: RedisServer) -> int:
    said: dict[str, int] = master.ask("INFO", "replication")
    return int(said["connected_slaves"])
