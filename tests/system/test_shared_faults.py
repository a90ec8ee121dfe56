"""What happens to calls, changes and the ledger while Redis or PostgreSQL is away, with callers at every process all the time.

GATEWAY_TEST_REDIS_AWAY_SECONDS and GATEWAY_TEST_POSTGRES_AWAY_SECONDS say for how long, GATEWAY_TEST_FIGURES which file takes the
figures, a line of JSON a fault.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.faults import CALLERS, POSTGRES_SECONDS, REDIS_SECONDS, Scene, until
from tests.support.load import GONE, Call, Load
from tests.support.pgbouncer import PgBouncer
from tests.support.redis_server import RedisServer
from tests.support.shared_profile import SharedProfile

pytestmark = [pytest.mark.xdist_group("shared"), pytest.mark.timeout(300)]
STREAMS, EVENTS = 200, 25


@pytest.fixture(scope="module")
def shared() -> Iterator[SharedProfile]:
    with SharedProfile(2) as shared:
        yield shared


def hang(redis: RedisServer) -> Callable[[], None]:
    redis.hang()
    return redis.resume


def crash(redis: RedisServer) -> Callable[[], object]:
    redis.kill()
    return redis.start


def crash_and_lose(redis: RedisServer) -> Callable[[], object]:
    redis.kill()
    (redis.folder / "appendonly.aof").unlink()
    return redis.start


@pytest.mark.parametrize("fault", [hang, crash_and_lose, crash])
async def test_redis_is_away(shared: SharedProfile, fault: Callable[[RedisServer], Callable[[], object]]) -> None:
    """No call fails; what was deleted before, meanwhile or later is refused; each call stands in the ledger once, unless Redis
    lost it.
    """
    async with Scene(shared, f"Redis: {fault.__name__}") as scene:
        async with scene.load:
            await scene.load.until(200)
            assert (await scene.delete(scene.before)).status_code == 204
            back: list[Callable[[], object]] = []
            await scene.begin(lambda: back.append(fault(shared.redis)))
            reply = await scene.delete(scene.during)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_yet_in_force")
            await asyncio.sleep(REDIS_SECONDS)
            await scene.balanced()
            await scene.end(*back)
            await scene.recovered()
            assert (await scene.delete(scene.during)).status_code == 404
            assert (await scene.delete(scene.after, 1)).status_code == 204
            await scene.load.until(200)
            await scene.exact_again()
            await scene.load.until(200)
        assert scene.statuses(scene.away)[200] > 0
        expect_only_deleted_keys_fail(scene)
        # An empty Redis has lost the entries that were not moved to the database yet.
        await scene.settled(lost=scene.may_be_lost() if fault is crash_and_lose else 0)
        await until_nothing_is_reserved(shared.redis, scene)


def expect_only_deleted_keys_fail(scene: Scene) -> None:
    scene.expect({200}, lambda call: call.key == scene.known)
    scene.expect({200}, lambda call: call.ended < scene.asked.get(call.key, float("inf")))
    scene.expect({200, 401}, lambda _: True)


async def until_nothing_is_reserved(redis: RedisServer, scene: Scene) -> None:
    async def empty() -> bool:
        return int(redis.ask("ZCARD", f"gw:{{{scene.account}}}:open")) == 0

    await until(empty, "no reservation is left")


async def test_postgres_is_away(shared: SharedProfile) -> None:
    """Known keys go on; unknown ones are answered 503, never 401, and changes 503; no entry of the ledger is lost."""
    async with Scene(shared, "PostgreSQL away") as scene:
        await postgres_away(scene, refused={503})


async def test_postgres_is_away_behind_pgbouncer(shared: SharedProfile) -> None:
    """The same with PgBouncer in between, which lets a statement wait for its server: who waits long enough may be let in."""
    with PgBouncer(shared.postgres.folder) as bouncer:
        env = {
            "GATEWAY_DATABASE_URL": bouncer.url("gateway"),
            "GATEWAY_STORAGE_PGBOUNCER": "true",
            "GATEWAY_STORAGE_STATEMENT_SECONDS": "1",
        }
        with ExitStack() as stack:
            started = await asyncio.gather(*(asyncio.to_thread(shared.gateway, **env) for _ in range(2)))
            gateways = [stack.enter_context(gateway) for gateway in started]
            async with Scene(shared, "PostgreSQL away, PgBouncer in between", gateways) as scene:
                await postgres_away(scene, refused={503, 200})


async def postgres_away(scene: Scene, refused: set[int]) -> None:
    postgres = scene.shared.postgres
    async with scene.load:
        await scene.load.until(200)
        assert (await scene.delete(scene.before)).status_code == 204
        await scene.used()
        await scene.begin(postgres.stop)
        away = asyncio.gather(*(scene.call(key, process) for key in (*scene.unseen, scene.wrong) for process in (0, 1)))
        change = asyncio.create_task(scene.put_limits(0))
        await asyncio.sleep(POSTGRES_SECONDS)
        await scene.end(postgres.start)
        assert set(await away) <= refused | ({401} if 200 in refused else set())
        assert await change in refused
        await scene.recovered()
        assert [await scene.call(scene.unseen[0], process) for process in (0, 1)] == [200, 200]
        assert [await scene.call(scene.wrong, process) for process in (0, 1)] == [401, 401]
        assert (await scene.delete(scene.after, 1)).status_code == 204
        await scene.load.until(200)
    scene.figures.exact = 0.0
    assert scene.statuses(scene.away)[200] > 0

    def in_use(call: Call) -> bool:
        return call.key in (scene.known, scene.during)

    scene.expect({200}, in_use)
    scene.expect({200}, lambda call: call.ended < scene.asked.get(call.key, 0))
    await scene.settled()


async def test_both_are_away(shared: SharedProfile) -> None:
    """Calls are answered 503, at once, and 200 again when both are back."""
    redis, postgres = shared.redis, shared.postgres
    async with Scene(shared, "Redis and PostgreSQL away") as scene:
        async with scene.load:
            await scene.load.until(200)
            assert (await scene.delete(scene.before)).status_code == 204
            await scene.begin(redis.kill, postgres.stop)
            gone = asyncio.get_running_loop().time()
            await asyncio.sleep(REDIS_SECONDS)
            back = asyncio.get_running_loop().time()
            await scene.end(postgres.start, redis.start)
            await scene.recovered()
            assert (await scene.delete(scene.after, 1)).status_code == 204
            await scene.exact_again()
            await scene.load.until(200)
        without = scene.statuses(lambda call: gone < call.started and call.ended < back and call.key == scene.known)
        assert set(without) == {503}
        scene.expect({200}, lambda call: call.ended < scene.began and call.key == scene.known)
        scene.expect({200, 503}, lambda call: call.key == scene.known)
        scene.expect({200, 503, 401}, lambda _: True)
        await scene.settled()


async def test_a_process_is_killed(shared: SharedProfile) -> None:
    """Only the calls that were open at that process fail; of its finished ones, at most the last entries are lost."""
    victim = await asyncio.to_thread(shared.gateway)
    with victim:
        async with Scene(shared, "a gateway process killed") as scene:
            others = Load([victim.port], [scene.known], callers=CALLERS)
            async with scene.load:
                async with others:
                    await others.until(200)
                    assert (await scene.delete(scene.before)).status_code == 204
                    await scene.begin(victim.kill)
                    others.stopped = True
                await scene.load.until(200)
                await scene.end()
                await scene.recovered()
                assert (await scene.delete(scene.after)).status_code == 204
                await scene.load.until(200)
            expect_only_deleted_keys_fail(scene)
            at_once = scene.began
            broken = [call for call in others.calls if call.status == GONE and call.started < at_once]
            assert set(others.statuses(lambda call: call.ended < at_once)) == {200}
            assert len(broken) <= CALLERS
            scene.load.calls += others.calls
            scene.figures.failed += len(broken)
            await scene.settled(broken=len(broken), lost=scene.may_be_lost(others.calls))


async def test_a_process_is_told_to_stop(shared: SharedProfile) -> None:
    """Open streams run to their end, and it ends well; calls at the other processes notice nothing."""
    leaving = await asyncio.to_thread(shared.gateway)
    with leaving:
        async with Scene(shared, "SIGTERM during 200 streams", [*shared.gateways, leaving]) as scene:
            scene.load.ports = [gateway.port for gateway in shared.gateways]
            async with scene.load:
                streams = [asyncio.create_task(scene.stream(2, events=EVENTS, pause_ms=200)) for _ in range(STREAMS)]

                async def open_() -> bool:
                    text = (await asyncio.to_thread(leaving.get, "/metrics")).text
                    return f"gateway_open_streams {STREAMS}.0" in text

                await until(open_, "the streams are open")
                assert (await scene.delete(scene.before)).status_code == 204
                await scene.begin(lambda: leaving.signal(signal.SIGTERM))
                bodies = await asyncio.gather(*streams)
                assert await asyncio.to_thread(leaving.wait) == 0
                await scene.end()
                scene.gateways.remove(leaving)
                await scene.recovered()
                assert (await scene.delete(scene.after)).status_code == 204
                await scene.load.until(100)
            assert all(body.count(b"data: ") == EVENTS + 1 and body.endswith(b"[DONE]\n\n") for body in bodies)
            assert "Traceback" not in leaving.output()
            expect_only_deleted_keys_fail(scene)
            await scene.settled()
