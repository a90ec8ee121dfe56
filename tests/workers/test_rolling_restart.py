"""No call fails while workers are replaced, or while one of two gateways behind a load balancer ends."""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from gateway.storage.sql.migrate import upgrade
from tests.commands.test_serve import needs_proc, runs
from tests.support.gateway_process import GatewayProcess
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.sdk import Sdk
from tests.support.worker_gateway import WorkerGateway

pytestmark = needs_proc
CLIENTS = 8


@asynccontextmanager
async def load(base_url: str, key: str) -> AsyncIterator[list[str]]:
    """The real SDK, without retries, over kept connections: calls and streams, some busy all the time, some now and then. Gives
    the failures; at its end every client has been answered, and by then there are at least 100 calls.
    """
    failed: list[str] = []
    done = 0
    over = asyncio.Event()

    async def client(number: int) -> None:
        nonlocal done
        sdk = Sdk(base_url, key, asynchronous=True, max_retries=0)
        while not over.is_set():
            try:
                if number % 4 == 3:
                    assert [event async for event in await sdk.chat(stream=True)][-1].choices[0].finish_reason == "stop"
                else:
                    assert (await sdk.chat()).choices
            except Exception as error:  # noqa: BLE001 — every failure counts, whatever it is
                failed.append(repr(error))
            done += 1
            await asyncio.sleep((0, 0, 0.05, 0.05, 0.3, 0, 0, 0.7)[number])
        await sdk.close()

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    try:
        await asyncio.sleep(0.5)
        yield failed
        await asyncio.sleep(0.5)
    finally:
        over.set()
        await asyncio.gather(*clients)
    assert done >= 100


async def until(condition: Callable[[], bool], gateway: GatewayProcess, what: str) -> None:
    async with asyncio.timeout(60):
        while not condition():
            assert gateway.exit_code is None, f"{what}\n{gateway.output()}"
            await asyncio.sleep(0.05)


async def test_a_rolling_restart_fails_no_call(tmp_path: Path) -> None:
    """SIGHUP under load, on PostgreSQL and Redis: every worker is replaced, the changed settings are in force, and no call fails;
    settings that are wrong change nothing; the address, which cannot be changed so, stays, and that is told.
    """
    file = tmp_path / "gateway.toml"
    file.write_text("[server]\nmax_body_bytes = 1048576\n")
    with contextlib.ExitStack() as stack:
        postgres, redis = stack.enter_context(PostgresServer()), stack.enter_context(RedisServer())
        await asyncio.to_thread(upgrade, postgres.url)
        env = {"GATEWAY_DATABASE_URL": postgres.url, "GATEWAY_REDIS_URL": redis.url}
        env |= {"GATEWAY_CONFIG": str(file), "GATEWAY_HOST": ""}
        gateway = stack.enter_context(WorkerGateway(tmp_path, env=env))
        key = gateway.create_key()["key"]
        async with load(gateway.base_url, key) as failed:
            file.write_text("[server]\nmax_body_bytes = 'nonsense'\n")
            gateway.signal(signal.SIGHUP)
            await until(lambda: "no rolling restart" in gateway.output(), gateway, "the wrong settings are told")
            assert "max_body_bytes" in gateway.output()
            file.write_text("[server]\nmax_body_bytes = 2048\nhost = '127.0.0.2'\n")
            gateway.signal(signal.SIGHUP)
            await until(lambda: "rolling restart done" in gateway.output(), gateway, "the workers are replaced")
        assert failed == []
        assert "server.host is now '127.0.0.2'" in gateway.output()
        old, new = gateway.worker_pids()[:2], gateway.worker_pids()[2:]
        assert len(new) == 2
        assert not any(runs(pid) for pid in old)
        headers = {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=gateway.base_url, headers=headers) as client:
            reply = await client.post("/chat/completions", content=b'{"model": "demo-chat", "user": "' + b"x" * 3000 + b'"}')
        assert reply.status_code == 413
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0


class Balancer:
    """Shares TCP connections out over those backends whose `/readyz` answers 200, in turn."""

    def __init__(self, backends: list[GatewayProcess]) -> None:
        self._backends = backends
        self._ready: set[int] = {backend.port for backend in backends}
        self._turn = 0
        self._relays: set[asyncio.Task[None]] = set()
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Balancer"]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        probing = asyncio.create_task(self._probe())
        try:
            yield self
        finally:
            probing.cancel()
            server.close()
            await asyncio.gather(probing, *self._relays, return_exceptions=True)

    async def _probe(self) -> None:
        async with httpx2.AsyncClient(timeout=5, headers={"connection": "close"}) as client:
            while True:
                for backend in self._backends:
                    try:
                        ready = (await client.get(f"{backend.address}/readyz")).status_code == 200
                    except httpx2.TransportError:
                        ready = False
                    (self._ready.add if ready else self._ready.discard)(backend.port)
                await asyncio.sleep(0.1)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)
        ready = sorted(self._ready)
        self._turn += 1
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", ready[self._turn % len(ready)])
        await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_one_of_two_gateways_behind_a_load_balancer_ends_and_no_call_fails(tmp_path: Path) -> None:
    """SIGTERM to one of two gateways under load: `/readyz` turns to 503 while it still takes calls, the balancer sends new
    connections to the other one, kept ones are told to leave, and not one call fails.
    """
    with GatewayProcess(tmp_path / "one") as first:
        key = first.create_key()["key"]
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    drain = {"GATEWAY_SERVER_DRAIN_SECONDS": "1.5"}
    with GatewayProcess(tmp_path / "one", env=drain) as leaving, GatewayProcess(tmp_path / "two", env=drain) as staying:
        async with (
            Balancer([leaving, staying]).running() as balancer,
            load(f"http://127.0.0.1:{balancer.port}/compatible-mode/v1", key) as failed,
        ):
            leaving.signal(signal.SIGTERM)
            await until(lambda: leaving.get("/readyz").status_code == 503, leaving, "it says that it ends")
            assert leaving.get("/compatible-mode/v1/models").status_code == 401, "calls are still answered"
            seconds: Awaitable[int] = asyncio.to_thread(leaving.wait)
            assert await seconds == 0
        assert failed == []
        assert staying.exit_code is None
