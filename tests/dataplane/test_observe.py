"""What metrics tell of calls that went through the whole data plane."""

import asyncio
import time
from dataclasses import replace

import pytest

from gateway.dataplane.admit import OpenAtOnce
from gateway.dataplane.call import begin
from gateway.dataplane.observe import STEPS, Observer
from gateway.domain.credentials import KeyKind, generate
from gateway.domain.grants import Limits
from tests.dataplane.world import ACCOUNT, DONE, MODEL, PEPPER, World, chunk, completion, events, world
from tests.support.scraped import Scraped

_GEN_AI = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai_compatible", "gen_ai_request_model": MODEL}


def scraped(w: World) -> Scraped:
    return Scraped(w.metrics.render())


def test_a_fault_in_the_metrics_hurts_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """Where calls cannot be looked at, that is logged, and the call that ended last ends as any other."""

    def broken(_name: str) -> bool:
        raise RuntimeError("the catalogue is broken")

    observer = Observer(broken, top=1)
    for _ in range(200):
        call = begin(time.monotonic())
        call.asked = MODEL
        observer.ended(call)
    assert "in no metric" in caplog.text


async def test_calls_are_told_by_model_status_and_reason() -> None:
    """A call that went well, one over its limit, one without a key, one for no model and one to no path: each has its series."""
    async with world(limits=Limits(rpm=1)) as w:
        w.upstreams.serve(MODEL, completion())
        await w.call()
        await w.call()
        await w.call(key="")
        await w.call({"model": "none", "messages": []})
        await w.call(path="/compatible-mode/v1/none")
        seen = scraped(w)

        def calls(endpoint: str, model: str, status: str, reason: str = "", level: str = "") -> float:
            return seen.value("gateway_calls_total", endpoint=endpoint, model=model, status=status, reason=reason, level=level)

        assert calls("chat.completions", MODEL, "200") == 1
        assert calls("chat.completions", MODEL, "429", "limit_requests", "account") == 1
        assert calls("chat.completions", "other", "404", "model_not_found") == 1
        assert calls("unknown", "", "401", "no_key") == 1
        assert calls("unknown", "", "404", "not_found") == 1
        assert seen.total("gateway_calls_total") == seen.total("gateway_call_outcomes_total") == 5
        assert seen.value("gateway_call_outcomes_total", outcome="refused") == 4


async def test_times_and_tokens_of_a_call() -> None:
    """One whole call: one duration, one overhead, one time in each step, and the tokens that its upstream named."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        await w.call()
        seen = scraped(w)
        assert seen.value("gen_ai_server_request_duration_seconds_count", **_GEN_AI, error_type="") == 1
        assert seen.value("gateway_overhead_seconds_count", stream="false") == 1
        assert seen.value("gateway_time_to_first_byte_seconds_count", stream="false") == 1
        assert [seen.value("gateway_step_seconds_count", step=step) for step in STEPS] == [1] * len(STEPS)
        assert seen.value("gateway_upstream_reply_seconds_count", upstream="up-1") == 1
        assert seen.value("gen_ai_client_token_usage_sum", **_GEN_AI, gen_ai_token_type="input") == 7
        assert seen.value("gen_ai_client_token_usage_sum", **_GEN_AI, gen_ai_token_type="output") == 5
        whole = seen.total("gen_ai_server_request_duration_seconds_sum")
        assert abs(seen.total("gateway_step_seconds_sum") - whole) < 1e-6  # the steps are all of it


async def test_times_of_a_stream() -> None:
    """Of a stream also the first token, the times between its parts and the time of each further token are told."""
    async with world() as w:
        pause = [asyncio.Event(), asyncio.Event()]
        w.upstreams.serve(MODEL, events(chunk("a"), pause[0], chunk(finish="stop"), pause[1], DONE))
        exchange = w.exchange({"model": MODEL, "messages": [], "stream": True})
        task = w.begin(exchange)
        for event in pause:
            await asyncio.sleep(0.03)
            event.set()
        await task
        w.upstreams.answers["up-1"] = [events()]
        await w.call({"model": MODEL, "messages": [], "stream": True})
        seen = scraped(w)
        between = "gen_ai_client_operation_time_per_output_chunk_seconds"
        assert seen.value(f"{between}_count", **_GEN_AI) == 2 + 4
        assert seen.value(f"{between}_bucket", **_GEN_AI, le="0.025") == 4
        assert 0.05 < seen.value(f"{between}_sum", **_GEN_AI) < 0.5
        assert seen.value("gen_ai_server_time_to_first_token_seconds_count", **_GEN_AI) == 2
        assert seen.value("gen_ai_server_time_per_output_token_seconds_count", **_GEN_AI) == 1  # of the one that named its tokens
        assert seen.value("gateway_overhead_seconds_count", stream="true") == 2


async def test_own_overhead_is_without_the_waits_for_others() -> None:
    """What a call waits for its upstream, for its client and for room that it asked to wait for is not the gateway's own time."""
    async with world() as w:
        reply = completion()
        reply.waited = 30.0
        w.upstreams.serve(MODEL, reply)
        exchange = w.exchange()
        exchange.waited, exchange.started = 7.0, time.monotonic() - 40.0
        await w.run(exchange)
        assert 2.9 < scraped(w).value("gateway_overhead_seconds_sum", stream="false") < 4.0


async def test_waiting_for_room_is_not_own_overhead() -> None:
    """A call that asked to wait instead of a 429 waits because it wants to."""
    async with world(open_at_once=OpenAtOnce(account=1)) as w:
        w.upstreams.serve(MODEL, completion())
        w.upstreams.pause = asyncio.Event()
        first = w.begin(w.exchange())
        await asyncio.sleep(0.01)
        second = w.begin(w.exchange(None, (b"x-dashscope-wait-timeout", b"8")))
        await asyncio.sleep(0.2)
        w.upstreams.pause.set()
        await first
        assert (await second).status == 200
        seen = scraped(w)
        # The scripted upstream says nothing of the first one's wait there, which is short; the second waits a second for room.
        assert seen.value("gateway_step_seconds_sum", step="admit") > 0.9
        assert seen.value("gateway_overhead_seconds_sum", stream="false") < 0.6
        assert (
            seen.value(
                "gateway_admission_decisions_total",
                model=MODEL,
                level="account",
                kind="concurrency",
                answer="admitted",
                mode="memory",
            )
            == 2
        )


async def test_the_step_in_which_a_call_ends_lasts_until_its_end() -> None:
    """A refused call has been in the steps up to its refusal, and in none behind."""
    async with world(limits=Limits(rpm=1)) as w:
        w.upstreams.serve(MODEL, completion())
        await w.call()
        await w.call()
        await w.call(b"no JSON")
        await w.call(key="")
        counts = {step: scraped(w).value("gateway_step_seconds_count", step=step) for step in STEPS}
        assert counts == {"authenticate": 4, "read": 3, "admit": 2, "prepare": 1, "upstream": 1, "relay": 1}


async def test_workspaces_keys_and_buckets_are_named() -> None:
    """Who calls and who is over a limit is named, and how full the bucket is that refused."""
    async with world(limits=Limits(rpm=2)) as w:
        w.upstreams.serve(MODEL, completion())
        for _ in range(5):
            await w.call()
        await w.call(key="")
        seen = scraped(w)
        assert seen.value("gateway_workspace_calls_total", workspace="llm-1") == 5
        assert seen.value("gateway_workspace_limited_calls_total", workspace="llm-1") == 3
        assert seen.value("gateway_key_limited_calls_total", key="ak-1") == 3
        assert seen.value("gateway_key_calls_total", key="other") == 0
        fill = seen.value("gateway_bucket_fill_ratio", level="account", kind="requests", model=MODEL, owner=ACCOUNT)
        assert 0.9 < fill <= 1.0


async def test_calls_are_counted_right_however_many_are_looked_at_together() -> None:
    """A thousand calls of several kinds, more than are looked at at once, are all there, each with its times."""
    async with world(defaults=Limits(rpm=600)) as w:
        w.upstreams.serve(MODEL, completion())
        for _ in range(100):
            await asyncio.gather(*(w.call() for _ in range(7)), w.call(key=""), w.call({"model": "x"}), w.call(method="GET"))
        seen = scraped(w)
        assert seen.total("gateway_calls_total") == 1000
        assert seen.total("gateway_calls_total", status="200") == seen.total("gateway_overhead_seconds_count") == 600
        assert seen.total("gateway_calls_total", status="429") == seen.total("gateway_workspace_limited_calls_total") == 100
        assert seen.total("gateway_step_seconds_count", step="authenticate") == 1000


async def test_nothing_that_a_caller_makes_up_becomes_a_series() -> None:
    """Ten thousand made-up models, keys, paths, methods and header values leave the series that ten of them made."""
    async with world(max_keys=50) as w:
        w.upstreams.serve(MODEL, completion())

        async def strange(number: int) -> None:
            await w.call({"model": f"model-{number}", "messages": []})
            await w.call(key=generate(KeyKind.STANDARD, PEPPER).text)
            await w.call(path=f"/compatible-mode/v1/path-{number}")
            await w.call(method=f"M{number}")
            await w.call(path=f"/compatible-mode/v1/models/name-{number}", method="GET")
            await w.call(None, (b"x-made-up", b"%d" % number), (b"user-agent", b"agent-%d" % number))

        for number in range(10):
            await strange(number)
        before = scraped(w)
        for number in range(10, 10_000, 6):
            await strange(number)
        after = scraped(w)
        assert after.series == before.series
        assert after.total("gateway_calls_total") > 9_900
        after.never_less_than(before)


async def test_workspaces_beyond_the_top_are_the_others() -> None:
    """With ten thousand workspaces as many are named as may be, and no call is missing."""
    async with world(max_keys=20_000) as w:
        w.upstreams.serve(MODEL, completion())
        principal = w.principal("ak-x")
        for number in range(2_000):
            key = generate(KeyKind.STANDARD, PEPPER)
            w.store.rows[key.digest] = replace(principal, key_id=f"ak-{number}", workspace_id=f"llm-{number}")
            await w.call(key=key.text)
        seen = scraped(w)
        assert len([each for each in seen.series if each[0] == "gateway_workspace_calls_total"]) == 11
        assert seen.total("gateway_workspace_calls_total") == seen.total("gateway_key_calls_total") == 2_000


async def test_looking_twice_changes_nothing() -> None:
    """A scrape counts each call once."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        await w.call()
        once, twice = scraped(w), scraped(w)
        assert once.total("gateway_calls_total") == twice.total("gateway_calls_total") == 1
        assert once.total("gateway_step_seconds_count") == twice.total("gateway_step_seconds_count") == len(STEPS)
