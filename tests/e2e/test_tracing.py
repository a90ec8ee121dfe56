"""Traces, from a client's header to a real collector: one trace through the gateway, and no call hurt by a collector."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.support.collector import Collector, Received
from tests.support.echo_upstream import EchoUpstream
from tests.support.gateway_process import ADMIN_TOKEN, KEY_PEPPER, GatewayProcess
from tests.support.processes import ROOT, free_port, wait_until
from tests.support.worker_gateway import WorkerGateway

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
STEPS = ["authenticate", "read", "admit", "forward", "relay"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[EchoUpstream]:
    with EchoUpstream() as server:
        yield server


def call(gateway: GatewayProcess, key: str, model: str = "good", **headers: str) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    return httpx2.post(
        f"{gateway.base_url}/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {key}", "connection": "close"} | headers,
        timeout=30,
        trust_env=False,
    )


def root_of(spans: list[Received]) -> Received:
    (root,) = [span for span in spans if span.kind == 2]
    return root


def test_one_trace_from_the_client_to_the_upstream(tmp_path: Path, upstream: EchoUpstream) -> None:
    """A client's trace goes on in the gateway and upstream: right parents, steps in order, IDs that join the ledger."""
    with Collector() as collector:
        env = {
            "GATEWAY_TRACING_ENDPOINT": collector.url,
            "GATEWAY_TRACING_HEADERS": "x-collector-key=for-the-collector-alone",
            "GATEWAY_TRACING_SERVICE_NAME": "gateway-of-the-test",
            "GATEWAY_LOG_CALLS": "true",
        }
        with GatewayProcess(tmp_path / "data", upstream=upstream.base_url, env=env) as gateway:
            key = gateway.create_key()
            before = time.time_ns()
            reply = call(gateway, key["key"], traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="vendor=1")
            after = time.time_ns()
            assert reply.status_code == 200
            up = upstream.seen[-1]
            wait_until(lambda: len(collector.of(TRACE)) >= 6, "the call's spans arrive")
            spans = collector.of(TRACE)
            root = root_of(spans)
            steps = sorted((span for span in spans if span is not root), key=lambda span: span.start)
            assert (root.name, root.parent_id) == ("chat good", PARENT)
            assert [span.name for span in steps] == STEPS
            assert {span.parent_id for span in steps} == {root.span_id}
            times = [time for span in steps for time in (span.start, span.end)]
            assert times == sorted(times)
            assert before <= root.start <= times[0]
            assert times[-1] <= root.end <= after + 50_000_000  # what is left once the client has its last byte
            (entry,) = gateway.metered(key["id"], 1)
            assert (
                root.attributes["gateway.request.id"] == entry["call_id"] == reply.headers["x-request-id"] == up["x-request-id"]
            )
            assert root.attributes["gen_ai.usage.input_tokens"] == 3
            forward = steps[3]
            assert forward.kind == 3
            assert (forward.attributes["server.address"], forward.attributes["http.response.status_code"]) == ("127.0.0.1", 200)
            assert up["traceparent"] == f"00-{TRACE}-{forward.span_id}-01"
            assert up["tracestate"] == "vendor=1"
            assert f'"trace_id":"{TRACE}"' in gateway.output()
            assert root.service == "gateway-of-the-test"
            assert collector.headers["x-collector-key"] == "for-the-collector-alone"
            assert collector.paths == {"/v1/traces"}


def test_what_is_left_out_goes_on_unrecorded(tmp_path: Path, upstream: EchoUpstream) -> None:
    """With a share of nothing, calls leave no spans, and the upstream is told so; a client that records is recorded; one that
    sends nonsense begins a new trace.
    """
    with Collector() as collector:
        env = {"GATEWAY_TRACING_ENDPOINT": collector.url, "GATEWAY_TRACING_SAMPLE": "0"}
        with GatewayProcess(tmp_path / "data", upstream=upstream.base_url, env=env) as gateway:
            key = gateway.create_key()["key"]
            assert call(gateway, key).status_code == 200
            assert upstream.seen[-1]["traceparent"].endswith("-00")
            assert call(gateway, key, traceparent=f"00-{TRACE}-{PARENT}-00").status_code == 200
            assert upstream.seen[-1]["traceparent"].startswith(f"00-{TRACE}-")
            assert upstream.seen[-1]["traceparent"].endswith("-00")
            assert call(gateway, key, traceparent=f"00-{'0' * 32}-{PARENT}-01").status_code == 200
            assert upstream.seen[-1]["traceparent"][3:35] != "0" * 32
            assert call(gateway, key, traceparent=f"00-{TRACE}-{PARENT}-01").status_code == 200
            gateway.signal(signal.SIGTERM)
            assert gateway.wait() == 0
        assert [span.trace_id for span in collector.spans] == [TRACE] * 6


def test_a_failed_call_is_an_error_of_its_trace(tmp_path: Path, upstream: EchoUpstream) -> None:
    """An upstream's 401 and a name that is no model are seen in the trace, and neither credential nor name is."""
    with Collector() as collector:
        env = {"GATEWAY_TRACING_ENDPOINT": collector.url, "GATEWAY_UPSTREAM_API_KEY": "the-credential-of-the-upstream"}
        with GatewayProcess(tmp_path / "data", upstream=upstream.base_url, env=env) as gateway:
            key = gateway.create_key()["key"]
            assert call(gateway, key, "unauthorized").status_code == 502
            assert call(gateway, key, "made-up").status_code == 404
            gateway.signal(signal.SIGTERM)
            assert gateway.wait() == 0
        roots = {span.attributes["http.response.status_code"]: span for span in collector.spans if span.kind == 2}
        assert (roots[502].error, roots[404].error) == (True, False)
        assert roots[404].attributes["error.type"] == "model_not_found"
        (forward,) = [span for span in collector.spans if span.name == "forward"]
        assert (forward.error, forward.attributes["error.type"]) == (True, "401")
        for hidden in (key, "the-credential-of-the-upstream", "made-up"):
            assert hidden not in repr(collector.spans)


@pytest.mark.parametrize("kind", ["closed", "silent", "refusing"])
def test_a_collector_that_is_away_hurts_no_call(tmp_path: Path, upstream: EchoUpstream, kind: str) -> None:
    """Nobody listening, a collector that never answers, or one that refuses: calls go on, it is logged once, the end is soon."""
    with Collector() as collector:
        collector.status = 400
        silent = None
        url = collector.url
        if kind == "closed":
            url = f"http://127.0.0.1:{free_port()}"
        elif kind == "silent":
            import socket

            silent = socket.create_server(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with GatewayProcess(tmp_path / "data", upstream=upstream.base_url, env={"GATEWAY_TRACING_ENDPOINT": url}) as gateway:
            key = gateway.create_key()["key"]
            for _ in range(3):
                begun = time.monotonic()
                assert call(gateway, key).status_code == 200
                assert time.monotonic() - begun < 1
                time.sleep(1.2)  # a batch each
            begun = time.monotonic()
            gateway.signal(signal.SIGTERM)
            assert gateway.wait() == 0
            assert time.monotonic() - begun < 6
            said = gateway.output()
        if silent is not None:
            silent.close()
        assert said.count("traces cannot be sent") == 1
        assert "spans were lost" in said


def test_all_workers_send_their_spans(tmp_path: Path, upstream: EchoUpstream) -> None:
    """With two workers, the spans of both arrive, each from a process of its own, all of them by the end."""
    with Collector() as collector:
        env = {"GATEWAY_TRACING_ENDPOINT": collector.url}
        with WorkerGateway(tmp_path, workers=2, upstream=upstream.base_url, env=env) as gateway:
            key = gateway.create_key()["key"]
            with ThreadPoolExecutor(8) as pool:
                replies = list(pool.map(lambda _: call(gateway, key), range(100)))
            assert {reply.status_code for reply in replies} == {200}
            gateway.signal(signal.SIGTERM)
            assert gateway.wait() == 0
        roots = [span for span in collector.spans if span.kind == 2]
        assert {root.attributes["gateway.request.id"] for root in roots} == {reply.headers["x-request-id"] for reply in replies}
        assert len(collector.spans) == 600
        assert len({root.process for root in roots}) == 2


def test_switched_off_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    """Without an endpoint, a gateway that serves has loaded neither what makes spans, nor an exporter, nor what these need.

    FastAPI loads OpenTelemetry's bare interfaces, and redis-py the SDK's metrics, wherever they are installed.
    """
    script = """
import asyncio, os, sys, threading
from gateway.app import Gateway
from gateway.commands import database, secret_files
from gateway.config import from_environment
settings = from_environment()
settings.storage.data_dir.mkdir()
database.bring_up_to_date(settings)
async def main():
    gateway = Gateway(settings, secret_files.obtain(settings)[0], [])
    async with gateway.open():
        assert gateway.answer.keywords["plane"].ended is None
        assert "spans" not in {thread.name for thread in threading.enumerate()}
asyncio.run(main())
heavy = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto", "google.protobuf", "requests", "urllib3")
print(sorted(name for name in sys.modules if name.startswith(heavy)))
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")} | {
        "PYTHONPATH": str(ROOT),
        "GATEWAY_DATA_DIR": str(tmp_path / "data"),
        "GATEWAY_ADMIN_TOKEN": ADMIN_TOKEN,
        "GATEWAY_KEY_PEPPER": KEY_PEPPER,
    }
    done = subprocess.run([sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
