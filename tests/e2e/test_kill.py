"""What survives the end of the process, expected or not."""

import asyncio
import signal
import time
from pathlib import Path

import httpx2
import openai
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.processes import wait_until
from tests.support.sdk import Sdk, chunks, close

FINISHED = 40
STREAMS = 5
BUFFERED_SECONDS = 1.0
"""How long before a crash a call must have finished to be certain of its place in the ledger."""


async def test_kill_loses_nothing_that_was_done(tmp_path: Path) -> None:
    """After kill -9 with streams under way the database is sound, keys are valid, and every call that had finished more than a
    second before is in the ledger, with its tokens.
    """
    with GatewayProcess(tmp_path / "data") as gateway:
        key = gateway.create_key()["key"]
        sdk = Sdk(gateway.base_url, key, asynchronous=True, max_retries=0)
        answers = await asyncio.gather(*(sdk.chat() for _ in range(FINISHED)))
        finished = time.monotonic()
        streams = [await sdk.chat(stream=True, extra_body={"demo_delay_ms": 200}) for _ in range(STREAMS)]
        for stream in streams:
            await chunks(stream, 2)
        await asyncio.sleep(max(0.0, finished + BUFFERED_SECONDS + 0.1 - time.monotonic()))
        gateway.kill()
        for stream in streams:
            with pytest.raises((httpx2.TransportError, openai.APIConnectionError)):
                await chunks(stream)
            await close(stream)
        await sdk.close()

    with GatewayProcess(tmp_path / "data") as again:
        assert again.sql("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
        rows = [row for row in again.ledger() if row["outcome"] == "ok"]
        assert len(rows) == FINISHED
        assert sum(row["input_tokens"] for row in rows) == sum(answer.usage.prompt_tokens for answer in answers)
        assert sum(row["output_tokens"] for row in rows) == sum(answer.usage.completion_tokens for answer in answers)
        sdk = Sdk(again.base_url, key, asynchronous=True, max_retries=0)
        assert (await sdk.chat()).choices
        await sdk.close()


async def test_kill_takes_the_demo_along(tmp_path: Path) -> None:
    """The demo upstream ends with a gateway that was killed, and leaves no process behind."""
    with GatewayProcess(tmp_path / "data") as gateway:
        demo = gateway.demo_base_url()
        with httpx2.Client(base_url=demo, trust_env=False) as client:
            assert client.get("/models").status_code == 200
            gateway.kill()

            def gone() -> bool:
                try:
                    client.get("/models")
                except httpx2.TransportError:
                    return True
                return False

            wait_until(gone, "the demo upstream has ended")


async def test_sigterm_lets_streams_end(tmp_path: Path) -> None:
    """Told to stop, the gateway finishes the stream under way, refuses new calls, exits with 0, and the ledger is complete."""
    with GatewayProcess(tmp_path / "data") as gateway:
        sdk = Sdk(gateway.base_url, gateway.create_key()["key"], asynchronous=True, max_retries=0)
        usage = (await sdk.chat()).usage
        stream = await sdk.chat(stream=True, extra_body={"demo_delay_ms": 50})
        begun = await chunks(stream, 3)
        gateway.signal(signal.SIGTERM)
        rest = await chunks(stream)
        assert [chunk.choices[0].finish_reason for chunk in (*begun, *rest)][-1] == "stop"
        newcomer = Sdk(gateway.base_url, sdk.client.api_key, asynchronous=True, max_retries=0)
        with pytest.raises(openai.APIConnectionError):
            await newcomer.chat()
        await newcomer.close()
        await sdk.close()
        assert gateway.wait() == 0
        assert "Traceback" not in gateway.output()
        rows = gateway.ledger()
        assert [row["outcome"] for row in rows] == ["ok", "ok"]
        assert {(row["input_tokens"], row["output_tokens"]) for row in rows} == {(usage.prompt_tokens, usage.completion_tokens)}
