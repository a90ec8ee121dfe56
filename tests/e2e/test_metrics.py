"""The metrics of a running gateway, scraped as Prometheus does, after calls of every kind."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.scraped import Scraped
from tests.support.scripted_upstream import ScriptedUpstream

TOKEN = "the-token-that-opens-the-metrics"
_GEN_AI = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai_compatible", "gen_ai_request_model": "m"}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    """A model server that takes 50 ms, in a thread of its own, since the tests wait for processes."""
    made, ready, over = ScriptedUpstream(), threading.Event(), threading.Event()
    made.delay, made.pause, made.events = 0.05, 0.02, 4

    async def serve() -> None:
        async with made.running():
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    yield made
    over.set()
    thread.join()


def _call(gateway: GatewayProcess, key: str, *, stream: bool = False, model: str = "m") -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    headers = {"authorization": f"Bearer {key}"}
    url = f"{gateway.base_url}/chat/completions"
    return httpx2.post(url, json=body, headers=headers, timeout=30, trust_env=False).status_code


def test_a_scrape_after_calls_and_refusals(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """Calls, streams and refusals are all there, with times that fit the upstream's, and the parts tell how they are."""
    with GatewayProcess(tmp_path / "data", upstream=upstream.base_url) as gateway:
        account = gateway.create_account("limited")
        gateway.admin("PUT", f"/accounts/{account['id']}/limits/m", {"rpm": 6})
        key = gateway.create_key(account["default_workspace_id"])
        statuses = [_call(gateway, key["key"]) for _ in range(4)]
        statuses += [_call(gateway, key["key"], stream=True) for _ in range(2)]
        statuses += [
            _call(gateway, key["key"]),
            _call(gateway, "sk-wrong"),
            _call(gateway, key["key"], model="x"),
        ]
        assert statuses == [200] * 6 + [429, 401, 404]
        seen = Scraped(gateway.get("/metrics").text)
        gateway.wait_until(lambda: Scraped(gateway.get("/metrics").text).value("gateway_ledger_waiting_entries") == 0, "stored")
        later = Scraped(gateway.get("/metrics").text)
        later.never_less_than(seen)

    calls = {"endpoint": "chat.completions", "model": "m", "reason": "", "level": ""}
    assert seen.value("gateway_calls_total", status="200", **calls) == 6
    refused = calls | {"reason": "limit_requests", "level": "account"}
    assert seen.value("gateway_calls_total", status="429", **refused) == 1
    assert seen.total("gateway_calls_total", status="401", reason="invalid_api_key") == 1
    assert seen.total("gateway_calls_total", status="404", model="other") == 1
    assert seen.value("gen_ai_server_request_duration_seconds_count", **_GEN_AI, error_type="") == 6
    assert seen.value("gen_ai_server_request_duration_seconds_count", **_GEN_AI, error_type="429") == 1
    assert seen.value("gen_ai_server_request_duration_seconds_bucket", **_GEN_AI, error_type="", le="0.04") == 0
    assert seen.value("gen_ai_server_time_to_first_token_seconds_count", **_GEN_AI) == 2
    assert seen.value("gen_ai_client_operation_time_per_output_chunk_seconds_count", **_GEN_AI) >= 6
    assert seen.total("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 6 * 5
    # The upstream's 50 ms are in the whole, and not in the gateway's own time.
    assert seen.total("gateway_overhead_seconds_count") == 6
    assert 0 < seen.value("gateway_overhead_seconds_sum", stream="false") / 4 < 0.04
    assert seen.total("gateway_upstream_reply_seconds_sum") / 6 > 0.045
    assert seen.value("gateway_workspace_limited_calls_total", workspace=account["default_workspace_id"]) == 1
    assert seen.value("gateway_key_calls_total", key=key["id"]) == 8
    assert seen.value("gateway_bucket_fill_ratio", level="account", kind="requests", model="m", owner=account["id"]) > 0.5
    assert seen.total("gateway_admission_decisions_total", mode="memory", answer="admitted") == 6
    assert seen.value("gateway_policy_change_seconds_count") >= 3
    assert seen.value("gateway_batch_seconds_count", kind="keys") >= 1
    assert later.value("gateway_batch_items_sum", kind="ledger") == 6
    assert later.value("gateway_ledger_oldest_entry_age_seconds") == 0
    assert seen.value("gateway_key_cache_keys") == 1
    assert seen.value("gateway_database_up") == 1
    assert seen.total("gateway_database_connections") >= 1
    assert seen.total("gateway_upstream_healthy") == seen.value("gateway_workers") == 1
    assert seen.total("gateway_upstream_connections") >= 1
    assert seen.value("gateway_event_loop_lag_seconds_count") >= 1
    assert seen.value("process_resident_memory_bytes") > 1 << 20
    assert abs(seen.value("process_start_time_seconds") - time.time()) < 120
    assert seen.total("gateway_build_info") == 1


def test_who_may_scrape(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """This machine may; what a proxy on it passes on may not without the token, which a file holds and nothing shows."""
    file = tmp_path / "metrics-token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    env = {"GATEWAY_METRICS_TOKEN_FILE": str(file)}
    with GatewayProcess(tmp_path / "data", upstream=upstream.base_url, env=env) as gateway:

        def scrape(**headers: str) -> httpx2.Response:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            return httpx2.get(f"{gateway.address}/metrics", headers=fields, timeout=30, trust_env=False)

        assert scrape().status_code == 200
        refused = scrape(x_forwarded_for="127.0.0.1")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "metrics.token" in refused.json()["error"]["message"]
        assert scrape(x_forwarded_for="127.0.0.1", authorization="Bearer wrong").status_code == 401
        assert scrape(x_forwarded_for="198.51.100.1", authorization=f"Bearer {TOKEN}").status_code == 200
        assert TOKEN not in gateway.output() + refused.text


def test_without_a_token_and_with_a_trusted_proxy(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """Without a token others are answered 403; behind a trusted proxy a network of the settings may read."""
    env = {"GATEWAY_SERVER_TRUSTED_PROXIES": "127.0.0.1", "GATEWAY_METRICS_ALLOW_NETWORKS": "192.0.2.0/24"}
    with GatewayProcess(tmp_path / "data", upstream=upstream.base_url, env=env) as gateway:

        def status(forwarded: str) -> int:
            headers = {"x-forwarded-for": forwarded}
            return httpx2.get(f"{gateway.address}/metrics", headers=headers, timeout=30, trust_env=False).status_code

        assert status("192.0.2.9") == 200
        assert status("198.51.100.1") == 403
        assert status("127.0.0.1") == 403
