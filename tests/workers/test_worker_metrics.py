"""The metrics of several workers as one, when one is killed as well."""

import asyncio
import os
import signal
from pathlib import Path

import httpx2

from tests.commands.test_serve import needs_proc
from tests.support.processes import wait_until
from tests.support.scraped import Scraped
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.worker_gateway import WorkerGateway

pytestmark = needs_proc
_WORKSPACE_CALLS = "gateway_workspace_calls_total"


async def _calls(gateway: WorkerGateway, key: str, count: int) -> None:
    """Calls that each open a connection, so that both workers take some; all of them succeed."""
    headers = {"authorization": f"Bearer {key}", "connection": "close"}
    limits = httpx2.Limits(max_connections=8)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    async with httpx2.AsyncClient(base_url=gateway.base_url, headers=headers, timeout=30, limits=limits) as client:
        replies = await asyncio.gather(*(client.post("/chat/completions", json=body) for _ in range(count)))
    assert {reply.status_code for reply in replies} == {200}


def _scraped(gateway: WorkerGateway) -> Scraped:
    return Scraped(httpx2.get(f"{gateway.address}/metrics", timeout=30, trust_env=False).text)


async def test_histograms_and_the_top_outlive_a_killed_worker(tmp_path: Path) -> None:
    """Counts of calls, of their times and of who made them are those of both workers, also after a `kill -9`."""
    async with ScriptedUpstream().running() as upstream:
        with await asyncio.to_thread(WorkerGateway, tmp_path, upstream=upstream.base_url) as gateway:
            key = gateway.create_key()["key"]
            workspace = gateway.default_workspace()
            await _calls(gateway, key, 200)

            def counts(seen: Scraped) -> list[float]:
                return [
                    seen.total("gateway_calls_total", status="200", model="m"),
                    seen.total("gen_ai_server_request_duration_seconds_count"),
                    seen.total("gateway_overhead_seconds_bucket", le="+Inf"),
                    seen.total("gateway_step_seconds_count", step="relay"),
                    seen.total(_WORKSPACE_CALLS),
                    seen.value(_WORKSPACE_CALLS, workspace=workspace),
                ]

            await asyncio.to_thread(wait_until, lambda: counts(_scraped(gateway)) == [200] * 6, "all calls are counted")
            before = _scraped(gateway)
            assert min(gateway.calls_of(1), gateway.calls_of(2)) > 0
            os.kill(gateway.worker_pids()[0], signal.SIGKILL)
            for _ in range(20):
                now = await asyncio.to_thread(_scraped, gateway)
                now.never_less_than(before)
                assert counts(now) == [200] * 6
                before = now
            await asyncio.to_thread(gateway.wait_until, lambda: len(gateway.worker_pids()) == 3, "the dead worker is replaced")
            await _calls(gateway, key, 50)
            await asyncio.to_thread(wait_until, lambda: counts(_scraped(gateway)) == [250] * 6, "the new worker's count too")
            _scraped(gateway).never_less_than(before)
