"""Several workers: all take calls, a dead one is replaced, the parent's end is theirs, and counters are the sum of all."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx2

from tests.commands.test_serve import needs_proc, runs
from tests.support.gateway_process import ADMIN_TOKEN, KEY_PEPPER, GatewayProcess
from tests.support.processes import ROOT, ChildProcess, wait_until
from tests.support.sdk import Sdk, chunks
from tests.support.worker_gateway import WorkerGateway, lifted

pytestmark = needs_proc
STREAMS = 200


async def _models(gateway: WorkerGateway, key: str, count: int) -> None:
    """Calls that each open a connection, so that whichever worker is free takes it; all of them succeed."""
    headers = {"authorization": f"Bearer {key}", "connection": "close"}
    limits = httpx2.Limits(max_connections=16)
    async with httpx2.AsyncClient(base_url=gateway.base_url, headers=headers, timeout=30, limits=limits) as client:
        replies = await asyncio.gather(*(client.get("/models") for _ in range(count)))
    assert {reply.status_code for reply in replies} == {200}


async def test_counters_are_the_sum_of_all_workers_also_of_dead_ones(tmp_path: Path) -> None:
    """Both workers take calls; one is killed and replaced while the other goes on; the count of calls never goes back."""
    with WorkerGateway(tmp_path) as gateway:
        key = gateway.create_key()["key"]
        await _models(gateway, key, 300)
        wait_until(lambda: gateway.metric("gateway_calls_total") == 300, "both workers' calls are counted")
        assert min(gateway.calls_of(1), gateway.calls_of(2)) > 0
        assert gateway.calls_of(1) + gateway.calls_of(2) == 300
        assert gateway.metric("gateway_workers") == 2
        killed, other = gateway.worker_pids()
        os.kill(killed, signal.SIGKILL)
        seen = [gateway.metric("gateway_calls_total") for _ in range(20)]
        assert seen == [300] * 20
        gateway.wait_until(lambda: len(gateway.worker_pids()) == 3, "the dead worker is replaced")
        assert runs(other)
        await _models(gateway, key, 100)
        wait_until(lambda: gateway.metric("gateway_calls_total") == 400, "the new worker's calls are counted as well")
        assert gateway.metric("gateway_workers") == 2
        assert gateway.metric("gateway_workers_died_total") == 1
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert not any(runs(pid) for pid in gateway.worker_pids())


async def test_sigterm_during_many_streams(tmp_path: Path) -> None:
    """Told to stop during 200 open streams, over both workers, each one ends whole and is metered, and the exit code is 0."""
    with WorkerGateway(tmp_path) as gateway:
        key = gateway.create_key()
        limits = httpx2.Limits(max_connections=STREAMS)
        sdk = Sdk(
            gateway.base_url,
            key["key"],
            asynchronous=True,
            max_retries=0,
            http_client=httpx2.AsyncClient(limits=limits, timeout=60),
        )
        streams = await asyncio.gather(*(sdk.chat(stream=True, extra_body={"demo_delay_ms": 100}) for _ in range(STREAMS)))
        gateway.signal(signal.SIGTERM)
        ended = await asyncio.gather(*(chunks(stream) for stream in streams))
        assert [each[-1].choices[0].finish_reason for each in ended] == ["stop"] * STREAMS
        await sdk.close()
        assert gateway.wait() == 0
        assert "Traceback" not in gateway.output()
        assert [row["outcome"] for row in gateway.ledger(key["id"])] == ["ok"] * STREAMS


async def test_a_killed_parent_takes_its_workers_along(tmp_path: Path) -> None:
    """After kill -9 of the parent its workers finish the stream under way and end; nothing stays behind."""
    with WorkerGateway(tmp_path) as gateway:
        sdk = Sdk(gateway.base_url, gateway.create_key()["key"], asynchronous=True, max_retries=0)
        # The demo upstream ends with the parent, so the call is the gateway's own: a body that comes in two parts.
        host, port = "127.0.0.1", gateway.port
        reader, writer = await asyncio.open_connection(host, port)
        head = f"GET /compatible-mode/v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {sdk.client.api_key}\r\n"
        writer.write(head.encode())
        await writer.drain()
        workers = gateway.worker_pids()
        gateway.kill()
        await asyncio.sleep(0.3)
        writer.write(b"\r\n")
        assert b" 200 OK" in await reader.readline()
        assert b"connection: close" in (await reader.read()).lower()
        writer.close()
        await sdk.close()
        wait_until(lambda: not any(runs(pid) for pid in workers), "the workers have ended")


def test_workers_that_cannot_start_end_the_parent(tmp_path: Path) -> None:
    """Workers that die during their start, again and again, are given up with a message and exit code 1; nothing is left over."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment |= lifted(tmp_path) | {"TESTS_WORKER_FAILS": "1", "GATEWAY_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--workers", "2"]
    with ChildProcess(command, env=environment, cwd=tmp_path) as child:
        assert child.wait() == 1
        assert "ended during its start with exit code 7" in child.output()
        assert "Traceback" not in child.output()
    assert (tmp_path / "data" / "gateway.lock").read_bytes() == b""


def test_what_keeps_a_worker_from_starting_is_told_once(tmp_path: Path) -> None:
    """A worker's own words, such as a pepper that is not the database's, end the start at once with the same message."""
    with GatewayProcess(tmp_path / "data"):
        pass
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment |= lifted(tmp_path) | {"GATEWAY_KEY_PEPPER": f"not-{KEY_PEPPER}", "GATEWAY_ADMIN_TOKEN": ADMIN_TOKEN}
    environment |= {"GATEWAY_DATA_DIR": str(tmp_path / "data"), "GATEWAY_UPSTREAM_BASE_URL": "http://127.0.0.1:9/v1"}
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--workers", "2"]
    with ChildProcess(command, env=environment, cwd=ROOT) as child:
        assert child.wait() == 1
        assert child.output().count("The key pepper is not the one") == 1
        assert "Warning" not in child.output()
