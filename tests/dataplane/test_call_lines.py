"""The line that a call may have: what it says, when it is written, and that it costs nothing where it is not wanted."""

import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.call import begin
from gateway.dataplane.call_lines import CallLines, fields, is_sampled
from gateway.dataplane.ended import Observers
from gateway.domain.ids import call_id
from gateway.ops.logs import FIELDS, formatter
from tests.dataplane.world import MODEL, World, completion, events, reply, world

_PROMPT = "what nobody but the model should read"


def line_of(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The one line that was written, as it comes out of the whole chain."""
    (record,) = [record for record in caplog.records if record.name == "gateway.calls"]
    caplog.clear()
    found: dict[str, Any] = json.loads(formatter("x", pretty=False).format(record))
    return found


def watched(w: World, share: float = 1.0) -> None:
    w.plane = replace(w.plane, ended=Observers(lines=CallLines(share)))


async def test_a_line_tells_who_called_what_and_how_it_went(caplog: pytest.LogCaptureFixture) -> None:
    """The line of a streamed call has its IDs, model, status, tokens and times, and neither prompt nor key nor header."""
    async with world() as w:
        watched(w)
        w.upstreams.serve(MODEL, events())
        body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": _PROMPT}]}
        exchange = await w.call(body, (b"x-private", b"a header's value"))
        line = line_of(caplog)
        times = [line.pop(name) for name in ("ttft_ms", "duration_ms", "overhead_ms")]
        for name in ("timestamp", "pid", "process"):
            line.pop(name)
        entry = w.ledger.only
        assert line == {
            "level": "info",
            "logger": "gateway.calls",
            "event": "call",
            "request_id": entry.call_id,
            "account_id": entry.account_id,
            "workspace_id": entry.workspace_id,
            "key_id": entry.key_id,
            "endpoint": "chat.completions",
            "model": MODEL,
            "stream": True,
            "status": 200,
            "outcome": "ok",
            "upstream": line["upstream"],
            "input_tokens": 7,
            "output_tokens": 5,
        }
        assert exchange.header("x-request-id") == line["request_id"]
        assert 0 <= times[0] <= times[1]
        assert 0 <= times[2] <= times[1]


async def test_no_line_unless_wanted(caplog: pytest.LogCaptureFixture) -> None:
    """Switched off, which is the default, no call has a line."""
    caplog.set_level(logging.INFO)
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        await w.call()
        assert w.plane.ended is None
        assert [record for record in caplog.records if record.name == "gateway.calls"] == []


async def test_what_did_not_go_well_always_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """With a share of nothing, good calls have no line, and refusals, errors of upstreams and faults of ours have one each."""
    async with world() as w:
        watched(w, share=0.0)
        w.upstreams.serve(MODEL, completion(), reply(400, b"{}"), reply(401, b"{}"))
        await w.call()
        assert [record for record in caplog.records if record.name == "gateway.calls"] == []
        await w.call()
        line = line_of(caplog)
        assert (line["status"], line["outcome"], "code" in line) == (400, "upstream_error", False)
        await w.call()
        line = line_of(caplog)
        assert (line["status"], line["outcome"]) == (502, "upstream_error")
        assert line["code"]
        await w.call(key="sk-" + "0" * 38)
        line = line_of(caplog)
        assert (line["status"], line["outcome"], line["code"]) == (401, "refused", "invalid_api_key")
        assert "key_id" not in line


async def test_a_name_that_somebody_made_up_is_in_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """Of a call to a model that is none, the line leaves out what was typed."""
    async with world() as w:
        watched(w)
        await w.call({"model": "sk-typed-by-mistake", "messages": []})
        line = line_of(caplog)
        assert line["code"] == "model_not_found"
        assert "typed" not in json.dumps(line)


async def test_an_observer_that_fails_hurts_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """A fault in what is told of a call leaves its reply and its ledger entry as they are, and is logged with its ID."""

    class Broken(CallLines):
        def ended(self, call: object) -> None:
            raise ValueError("of the test")

    async with world() as w:
        w.plane = replace(w.plane, ended=Observers(lines=Broken(1.0)))
        w.upstreams.serve(MODEL, completion())
        exchange = await w.call()
        assert exchange.status == 200
        (record,) = [record for record in caplog.records if record.name == "gateway.dataplane.ended"]
        assert w.ledger.only.call_id in record.getMessage()
        w.at_rest()


@given(share=st.floats(0, 1), at=st.integers(0, 2**47))
def test_the_id_alone_decides_on_the_sample(share: float, at: int) -> None:
    """Whether a call is in the sample follows from its ID; a call in a small share is in every larger one."""
    name = call_id(at)
    assert is_sampled(name, share) == is_sampled(name, share)
    assert is_sampled(name, 1.0)
    assert not is_sampled(name, 0.0)
    if is_sampled(name, share):
        assert is_sampled(name, min(1.0, share * 2))


def test_a_share_is_that_share() -> None:
    """A tenth is a tenth, within what chance allows."""
    found = sum(is_sampled(call_id(1), 0.1) for _ in range(20_000))
    assert 1750 < found < 2250


def test_own_overhead_is_without_all_waits() -> None:
    """What a call waited for its upstream, its client, and for room that it asked to wait for is no overhead of ours."""
    call = begin(100.0)
    call.upstream_seconds, call.client_seconds, call.waited_seconds = 4.0, 2.0, 1.0
    said = fields(call, 107.5)
    assert (said["duration_ms"], said["overhead_ms"]) == (7500.0, 500.0)


def test_each_field_of_the_line_may_pass() -> None:
    """The log's list of fields has all that a call's line can say."""
    said = (
        "request_id account_id workspace_id key_id endpoint model stream status outcome code upstream input_tokens output_tokens"
    )
    assert {*said.split(), "ttft_ms", "duration_ms", "overhead_ms", "trace_id"} == set(FIELDS)
