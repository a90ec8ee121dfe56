"""One table: each status, what causes it, and what the client and the ledger are told."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from gateway.domain.credentials import KeyKind, generate
from gateway.domain.errors import BodyTimeout
from gateway.domain.faults import UpstreamFault, UpstreamTimedOut
from gateway.domain.grants import NO_LIMITS, Limits, Model
from tests.dataplane.fakes import RecordingExchange
from tests.dataplane.world import CHAT, MODEL, PEPPER, World, completion, reply, world

Cause = Callable[[World], Awaitable[RecordingExchange]]
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class _Case:
    status: int
    code: str | None
    cause: Cause
    waits: bool = False
    recorded: str | None = None
    param: str | None = None
    limits: Limits = NO_LIMITS

    def __str__(self) -> str:
        return f"{self.status} {self.cause.__name__}"


async def no_key(w: World) -> RecordingExchange:
    return await w.call(key="")


async def wrong_key(w: World) -> RecordingExchange:
    return await w.call(key=generate(KeyKind.STANDARD, PEPPER).text)


async def plan_key(w: World) -> RecordingExchange:
    return await w.call(key=w.add_key("ak-plan", kind=KeyKind.PLAN).text)


async def wrong_key_on_an_unknown_path(w: World) -> RecordingExchange:
    return await w.call(key="sk-x", path="/compatible-mode/v1/nowhere")


async def broken_body(w: World) -> RecordingExchange:
    return await w.call(b"{")


async def deep_body(w: World) -> RecordingExchange:
    return await w.call(b"[" * 100_000)


async def repeated_model(w: World) -> RecordingExchange:
    return await w.call(b'{"model":"m","model":"m"}')


async def no_model(w: World) -> RecordingExchange:
    return await w.call({})


async def absurd_number(w: World) -> RecordingExchange:
    return await w.call(b'{"model":"m","n":1e400}')


async def not_granted(w: World) -> RecordingExchange:
    return await w.call(key=w.add_key("ak-sub", workspace_id="llm-sub", is_default=False).text)


async def not_open_to_the_key(w: World) -> RecordingExchange:
    return await w.call(key=w.add_key("ak-narrow", key_models=frozenset()).text)


async def unknown_path(w: World) -> RecordingExchange:
    return await w.call(path="/compatible-mode/v1/nowhere")


async def unknown_model(w: World) -> RecordingExchange:
    return await w.call({"model": "nobody's"})


async def model_not_listed_yet(w: World) -> RecordingExchange:
    w.catalogue.is_whole = False
    return await w.call({"model": "nobody's"})


async def model_of_another_kind(w: World) -> RecordingExchange:
    w.catalogue.known["e"] = Model("e", type="embedding")
    return await w.call({"model": "e"})


async def unknown_model_retrieved(w: World) -> RecordingExchange:
    return await w.call(method="GET", path="/compatible-mode/v1/models/nobody's")


async def other_method(w: World) -> RecordingExchange:
    return await w.call(method="GET")


async def slow_body(w: World) -> RecordingExchange:
    exchange = w.exchange()
    exchange.body_fault = BodyTimeout()
    return await w.run(exchange)


async def large_body(w: World) -> RecordingExchange:
    return await w.call(b" " * ((1 << 20) + 1))


async def bodies_of_others(w: World) -> RecordingExchange:
    with w.bodies.hold() as one, w.bodies.hold() as other:
        one.add(1 << 20)
        other.add((1 << 20) - 1)
        return await w.call()


async def too_many_requests(w: World) -> RecordingExchange:
    w.upstreams.serve(MODEL, completion())
    assert (await w.call()).status == 200
    w.ledger.rows.clear()
    return await w.call()


async def fault_of_ours(w: World) -> RecordingExchange:
    w.upstreams.serve(MODEL, RuntimeError("a bug"))
    return await w.call()


async def silent_upstream(w: World) -> RecordingExchange:
    w.upstreams.serve(MODEL, UpstreamTimedOut("no reply", reached=True))
    return await w.call()


async def unreachable_upstream(w: World) -> RecordingExchange:
    w.upstreams.serve(MODEL, UpstreamFault("refused", reached=False))
    return await w.call()


async def unreachable_in_time(w: World) -> RecordingExchange:
    w.upstreams.serve(MODEL, UpstreamTimedOut("no connection", reached=False))
    return await w.call()


async def broken_reply(w: World) -> RecordingExchange:
    w.upstreams.serve(MODEL, reply(200, [b'{"id":', UpstreamFault("reset", reached=True)]))
    return await w.call()


async def upstream_refuses_us(w: World) -> RecordingExchange:
    w.upstreams.serve(MODEL, reply(401, b'{"error":{"message":"key of the operator"}}'))
    return await w.call()


async def no_deployment(w: World) -> RecordingExchange:
    return await w.call()


async def store_away(w: World) -> RecordingExchange:
    w.store.away = True
    return await w.call()


_TABLE = [
    _Case(401, None, no_key),
    _Case(401, "invalid_api_key", wrong_key),
    _Case(401, "invalid_api_key", plan_key),
    _Case(401, "invalid_api_key", wrong_key_on_an_unknown_path),
    _Case(400, "invalid_parameter_error", broken_body),
    _Case(400, "invalid_parameter_error", deep_body),
    _Case(400, "invalid_parameter_error", repeated_model, param="model"),
    _Case(400, "invalid_parameter_error", no_model),
    _Case(400, "invalid_parameter_error", absurd_number, param="n"),
    _Case(403, "Model.AccessDenied", not_granted),
    _Case(403, "Model.AccessDenied", not_open_to_the_key),
    _Case(404, "not_found", unknown_path),
    _Case(404, "model_not_found", unknown_model, param="model"),
    _Case(404, "model_not_supported", model_of_another_kind, param="model"),
    _Case(404, "model_not_found", unknown_model_retrieved, param="model"),
    _Case(405, "method_not_allowed", other_method),
    _Case(408, "request_timeout", slow_body),
    _Case(413, "request_too_large", large_body),
    _Case(429, "limit_requests", too_many_requests, waits=True, limits=Limits(rpm=1)),
    _Case(429, "insufficient_quota", too_many_requests, waits=True, limits=Limits(rpm=100, tpm=10)),
    _Case(500, "internal_error", fault_of_ours, recorded="internal_error"),
    _Case(500, "RequestTimeOut", silent_upstream, recorded="upstream_error"),
    _Case(500, "RequestTimeOut", unreachable_in_time, recorded="upstream_error"),
    _Case(502, "upstream_error", unreachable_upstream, recorded="upstream_error"),
    _Case(502, "upstream_error", broken_reply, recorded="upstream_broke"),
    _Case(502, "upstream_error", upstream_refuses_us, recorded="upstream_error"),
    _Case(503, "ModelUnavailable", no_deployment, waits=True, recorded="upstream_error"),
    _Case(503, "ModelUnavailable", model_not_listed_yet, waits=True),
    _Case(503, "ServiceUnavailable", bodies_of_others, waits=True),
    _Case(503, "ServiceUnavailable", store_away, waits=True),
]


@pytest.mark.parametrize("case", _TABLE, ids=str)
async def test_each_status_has_its_cause_and_its_body(case: _Case, caplog: pytest.LogCaptureFixture) -> None:
    """Every refusal is an OpenAI-shaped error with its status, a request ID and, where it helps, how long to wait; nothing of
    it is left behind, and the ledger has a row exactly where the call was admitted."""
    async with world(limits=case.limits) as w:
        exchange = await case.cause(w)
        told = json.loads(exchange.text)
        assert exchange.status == case.status
        assert exchange.ended
        assert set(told) == {"error", "request_id"}
        assert set(told["error"]) == {"message", "type", "param", "code"}
        assert (told["error"]["code"], told["error"]["param"]) == (case.code, case.param)
        assert told["error"]["message"]
        assert "operator" not in told["error"]["message"]
        assert exchange.header("x-request-id") == told["request_id"]
        assert _UUID7.fullmatch(told["request_id"])
        assert exchange.header("content-type") == "application/json"
        assert exchange.header("content-length") == str(len(exchange.text))
        assert (exchange.header("retry-after-ms") is not None) is (exchange.header("retry-after") is not None) is case.waits
        assert (exchange.header("x-ratelimit-limit-requests") is not None) is (case.status == 429)
        assert [row.outcome for row in w.ledger.rows] == ([case.recorded] if case.recorded else [])
        assert all(row.status == case.status and row.call_id == told["request_id"] for row in w.ledger.rows)
        outcome = case.recorded or "refused"
        assert f'gateway_call_outcomes_total{{outcome="{outcome}"}} 1.0' in w.metrics.render().decode()
        told_to_operators = any(told["request_id"] in line for line in caplog.messages)
        assert told_to_operators is (case.status in (500, 502))
        assert ("failed inside the gateway" in caplog.text) is (case.cause is fault_of_ours)
        w.at_rest()


def test_the_table_is_whole() -> None:
    """A status that this gateway gives and the table does not show would be one that nobody tests."""
    assert {case.status for case in _TABLE} == {400, 401, 403, 404, 405, 408, 413, 429, 500, 502, 503}


async def test_a_method_not_allowed_names_the_one_that_is() -> None:
    """A 405 carries `allow` (RFC 9110, section 15.5.6)."""
    async with world() as w:
        assert (await w.call(method="DELETE")).header("allow") == "POST"
        assert (await w.call(method="POST", path="/compatible-mode/v1/models")).header("allow") == "GET"
        assert (await w.call(method="POST", path="/compatible-mode/v1/models/m")).header("allow") == "GET"


@pytest.mark.parametrize("limits", [Limits(rpm=7), Limits(rpm=1000, tpm=977)])
async def test_waiting_as_told_admits_a_call_that_is_alone(limits: Limits) -> None:
    """After `retry-after-ms` the same call passes; a millisecond less, rounded up as it is, can be too little."""
    async with world(limits=limits) as w:
        w.upstreams.serve(MODEL, completion())
        refused = 0
        while not refused:
            exchange = await w.call({"model": MODEL, "messages": ["x" * 400]})
            refused = int(exchange.header("retry-after-ms") or 0)
        early = w.clock.us
        w.clock.advance(ms=refused - 1)
        again = await w.call({"model": MODEL, "messages": ["x" * 400]})
        assert again.status == 429
        assert int(again.header("retry-after-ms") or 0) == 1
        w.clock.us = early
        w.clock.advance(ms=refused)
        assert (await w.call({"model": MODEL, "messages": ["x" * 400]})).status == 200
        w.at_rest()


async def test_limits_are_shown_on_admitted_calls_and_on_429s_only() -> None:
    """`x-ratelimit-*` come from the call's own decision, and never with any other refusal."""
    async with world(limits=Limits(rpm=2, tpm=1000)) as w:
        w.upstreams.serve(MODEL, completion())
        first = await w.call()
        assert (first.header("x-ratelimit-limit-requests"), first.header("x-ratelimit-remaining-requests")) == ("2", "1")
        assert first.header("x-ratelimit-reset-requests") == "30s"
        assert first.header("x-ratelimit-limit-tokens") == "1000"
        broken = await w.call(b"{")
        assert not [name for name, _ in broken.reply_headers if name.startswith(b"x-ratelimit")]
        await w.call()
        refused = await w.call()
        assert (refused.status, refused.header("x-ratelimit-remaining-requests")) == (429, "0")
        assert refused.header("retry-after") == "30"


async def test_exactly_the_limit_of_a_crowd_is_admitted() -> None:
    """Two hundred calls at once against a limit of 50, while the clock stands still: exactly 50 pass."""
    async with world(limits=Limits(rpm=50)) as w:
        w.upstreams.serve(MODEL, *(completion() for _ in range(50)))
        statuses = [exchange.status for exchange in await asyncio.gather(*(w.call() for _ in range(200)))]
        assert (statuses.count(200), statuses.count(429)) == (50, 150)
        assert len(w.ledger.rows) == 50
        w.at_rest()


async def test_an_upstream_s_own_errors_pass_unchanged() -> None:
    """What an upstream says of the client's request reaches the client byte for byte and costs nothing."""
    async with world() as w:
        w.upstreams.serve(MODEL, reply(422, [b'{ "error": ', b'{"x":1}}\n'], (b"x-own", b"1"), (b"retry-after", b"7")))
        exchange = await w.call(path=CHAT)
        assert (exchange.status, exchange.text) == (422, b'{ "error": {"x":1}}\n')
        assert (exchange.header("x-own"), exchange.header("retry-after")) == ("1", "7")
        row = w.ledger.only
        assert (row.status, row.outcome, row.input_tokens, row.output_tokens, row.estimated) == (
            422,
            "upstream_error",
            0,
            0,
            False,
        )
        w.at_rest()


async def test_a_repeated_key_is_refused_however_well_it_is_known() -> None:
    """Two Authorization fields are a 401 also where each alone is let in, and was before: which one counts is not ours to say."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        assert (await w.call()).status == 200
        again = (b"authorization", b"Bearer " + w.key.text.encode())
        assert (await w.call(None, again)).status == 401


async def test_a_model_s_new_limits_hold_for_keys_that_have_called() -> None:
    """What is worked out of a key's policy and a model is worked out anew when the catalogue has another model of that name."""
    async with world(limits=Limits(rpm=10)) as w:
        w.upstreams.serve(MODEL, completion())
        assert (await w.call()).header("x-ratelimit-limit-requests") == "10"
        w.catalogue.known[MODEL] = Model(MODEL, limits=Limits(rpm=20))
        assert (await w.call()).header("x-ratelimit-limit-requests") == "20"
