"""The reply to the client as it comes."""

import asyncio
import json

import pytest

from gateway.domain.faults import UpstreamFault, UpstreamTimedOut
from gateway.domain.grants import Limits, Model
from tests.dataplane.fakes import ScriptedReply
from tests.dataplane.world import (
    COMPLETION,
    DONE,
    MODEL,
    STREAM,
    USAGE,
    USAGE_EVENT,
    chunk,
    completion,
    events,
    reply,
    turns,
    until,
    world,
)

_BROKE = UpstreamFault("reset", reached=True)
_STALLED = UpstreamTimedOut("nothing more", reached=True)
_STREAMED = {"model": MODEL, "stream": True}
_MEBI = 1 << 20


async def test_a_json_reply_is_sent_whole_with_its_length() -> None:
    """A completion keeps the upstream's bytes, in one piece, with the length that it has."""
    async with world() as w:
        w.upstreams.serve(MODEL, reply(200, [COMPLETION[:9], COMPLETION[9:]], (b"content-length", b"999999")))
        exchange = await w.call()
        assert exchange.written == [COMPLETION]
        assert exchange.header("content-length") == str(len(COMPLETION))
        assert exchange.ended


@pytest.mark.parametrize("usage_first", [True, False])
async def test_a_long_json_reply_goes_on_as_it_comes(usage_first: bool) -> None:
    """More than a mebibyte is not kept: what came is sent while the rest is still on its way, and its usage is read all the
    same, whether it stands at the end or, as some servers of embeddings write it, at the beginning."""
    async with world() as w:
        told = b'"usage": ' + json.dumps(USAGE).encode()
        data = b'"data":["' + b"x" * (3 * _MEBI) + b'"]'
        body = b"{" + b",".join([told, data] if usage_first else [data, told]) + b"}"
        gate = asyncio.Event()
        w.upstreams.serve(MODEL, reply(200, [body[: 2 * _MEBI], gate, body[2 * _MEBI : -40], body[-40:]]))
        exchange = w.exchange()
        task = w.begin(exchange)
        await until(lambda: len(exchange.text) == 2 * _MEBI)
        gate.set()
        await task
        assert exchange.text == body
        assert exchange.ended
        assert (w.ledger.only.input_tokens, w.ledger.only.output_tokens, w.ledger.only.estimated) == (7, 5, False)


@pytest.mark.parametrize(("fault", "status"), [(_BROKE, 502), (_STALLED, 500)])
async def test_a_short_json_reply_that_breaks_off_is_a_clean_error(fault: Exception, status: int) -> None:
    """As long as nothing was sent, a broken reply is an error reply; what the upstream worked for is charged by estimate."""
    async with world() as w:
        w.upstreams.serve(MODEL, reply(200, [COMPLETION[:40], fault]))
        exchange = await w.call()
        assert exchange.status == status
        assert json.loads(exchange.text)["error"]
        assert not exchange.aborted
        row = w.ledger.only
        assert (row.outcome, row.status, row.estimated) == ("upstream_broke", status, True)
        assert row.input_tokens > 0


async def test_a_long_json_reply_that_breaks_off_breaks_the_connection() -> None:
    """A reply that was cut short after it began cannot look complete."""
    async with world() as w:
        w.upstreams.serve(MODEL, reply(200, [b"x" * (_MEBI + 1), b"y", _BROKE]))
        exchange = await w.call()
        assert exchange.aborted
        assert not exchange.ended
        assert (w.ledger.only.outcome, w.ledger.only.estimated) == ("upstream_broke", True)
        w.at_rest()


async def test_events_leave_as_they_arrive() -> None:
    """Each event reaches the client before the upstream gives the next one."""
    async with world() as w:
        gates = [asyncio.Event() for _ in STREAM]
        script = [step for pair in zip(STREAM, gates, strict=True) for step in pair]
        w.upstreams.serve(MODEL, events(*script))
        exchange = w.exchange({**_STREAMED, "stream_options": {"include_usage": True}})
        task = w.begin(exchange)
        for number, gate in enumerate(gates, start=1):
            await until(lambda number=number: len(exchange.written) == number)
            gate.set()
        await task
        assert exchange.written == STREAM
        assert exchange.header("content-type") == "text/event-stream; charset=utf-8"
        assert exchange.header("content-length") is None


@pytest.mark.parametrize("asks", [True, False])
async def test_usage_is_shown_to_whom_it_was_asked_by(asks: bool) -> None:
    """Upstream is always asked for a stream's usage; the extra event passes only where the client asked for it itself."""
    async with world() as w:
        w.upstreams.serve(MODEL, events())
        options = {"stream_options": {"include_usage": True}} if asks else {}
        exchange = await w.call({**_STREAMED, **options})
        assert json.loads(w.upstreams.sent[0].body)["stream_options"] == {"include_usage": True}
        assert exchange.text == b"".join(event for event in STREAM if asks or event != USAGE_EVENT)
        row = w.ledger.only
        assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.estimated) == (7, 5, 3, False)
        assert (row.stream, row.outcome, row.status, row.ttft_ms is None) == (True, "ok", 200, False)


async def test_what_was_not_asked_for_by_us_is_not_hidden() -> None:
    """Where the gateway asked for no usage, it keeps none back: an upstream that streams unasked is passed on whole."""
    async with world() as w:
        w.upstreams.serve(MODEL, events())
        exchange = await w.call({"model": MODEL})
        assert w.upstreams.sent[0].body == b'{"model": "m"}'
        assert exchange.text == b"".join(STREAM)
        assert w.ledger.only.input_tokens == 7


async def test_embeddings_are_never_asked_to_stream_usage() -> None:
    """An endpoint without streams gets the client's body unchanged, whatever it says of streams."""
    async with world() as w:
        w.catalogue.known["e"] = Model("e", type="embedding")
        w.upstreams.serve("e", completion())
        body = b'{"model":"e","stream":true,"input":"x"}'
        assert (await w.call(body, path="/compatible-mode/v1/embeddings")).status == 200
        assert w.upstreams.sent[0].body == body


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([chunk("a"), _BROKE], "upstream_error"),
        ([chunk("a"), chunk("b")[:-3], _BROKE], "upstream_error"),
        ([chunk("a"), _STALLED], "RequestTimeOut"),
        ([chunk("a")], "upstream_error"),
        ([chunk("a"), chunk(finish="stop"), _BROKE], "upstream_error"),
        ([_BROKE], "upstream_error"),
        ([b""], "upstream_error"),
    ],
)
async def test_a_stream_that_breaks_off_ends_with_an_error_event(script: list[bytes | Exception], code: str) -> None:
    """A cut stream never looks complete: whole events, then an error event, then the end, and no `[DONE]`."""
    async with world() as w:
        w.upstreams.serve(MODEL, events(*script))
        exchange = await w.call(_STREAMED)
        assert exchange.status == 200
        assert exchange.ended
        shown = exchange.text.split(b"\n\n")
        assert shown.pop() == b""
        last = json.loads(shown[-1].removeprefix(b"data: "))
        assert (last["error"]["code"], last["request_id"]) == (code, exchange.header("x-request-id"))
        assert all(b'"error"' not in event for event in shown[:-1])
        assert b"[DONE]" not in exchange.text
        row = w.ledger.only
        assert (row.outcome, row.status, row.estimated) == ("upstream_broke", 200, True)
        assert row.input_tokens > 0
        assert row.output_tokens == len(shown) - 1
        w.at_rest()


async def test_a_fault_after_the_end_is_none() -> None:
    """Once `[DONE]` has passed nothing can be missing, so a connection lost then spoils nothing."""
    async with world() as w:
        w.upstreams.serve(MODEL, events(*STREAM, _BROKE))
        exchange = await w.call({**_STREAMED, "stream_options": {"include_usage": True}})
        assert exchange.text == b"".join(STREAM)
        assert exchange.ended
        assert (w.ledger.only.outcome, w.ledger.only.output_tokens) == ("ok", 5)


async def test_usage_named_before_the_break_counts() -> None:
    """If the stream broke after its usage was named, that is what is charged."""
    async with world() as w:
        w.upstreams.serve(MODEL, events(chunk("a", usage=USAGE), _BROKE))
        await w.call(_STREAMED)
        assert (w.ledger.only.output_tokens, w.ledger.only.estimated) == (5, False)


async def test_an_error_status_is_no_stream() -> None:
    """An upstream's error passes as it is, even if it calls itself an event stream."""
    async with world() as w:
        body = b'event:error\ndata:{"code":"x"}\n\n'
        w.upstreams.serve(MODEL, reply(400, body, kind=b"text/event-stream"))
        exchange = await w.call(_STREAMED)
        assert (exchange.status, exchange.text) == (400, body)
        assert (w.ledger.only.outcome, w.ledger.only.stream) == ("upstream_error", False)


async def test_an_encoded_reply_passes_unread() -> None:
    """What an upstream compressed unasked goes through unchanged, and is charged by estimate."""
    async with world() as w:
        w.upstreams.serve(MODEL, reply(200, b"\x1f\x8b...", (b"content-encoding", b"gzip"), kind=b"text/event-stream"))
        exchange = await w.call(_STREAMED)
        assert (exchange.text, exchange.header("content-encoding")) == (b"\x1f\x8b...", "gzip")
        assert w.ledger.only.estimated


async def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    """Back-pressure: no more is pulled from the upstream than the client takes."""
    async with world() as w:
        endless = ScriptedReply(200, [(b"content-type", b"text/event-stream")], [chunk("x")] * 1000)
        w.upstreams.serve(MODEL, endless)
        exchange = w.exchange(_STREAMED)
        exchange.room.clear()
        task = w.begin(exchange)
        await until(lambda: endless.pulled == 1)
        await turns(100)
        assert endless.pulled == 1
        exchange.room.set()
        await task
        assert endless.pulled == 1000


async def test_settled_usage_is_what_the_limits_count() -> None:
    """Tokens are corrected to what the reply named, also into debt."""
    async with world(limits=Limits(rpm=1000, tpm=100)) as w:
        big = json.dumps({"usage": {"prompt_tokens": 150, "completion_tokens": 50}}).encode()
        w.upstreams.serve(MODEL, completion(), reply(200, big))
        await w.call()
        assert w.admissions.conservation().settled == 12
        await w.call()
        kept = w.admissions.conservation()
        assert (kept.settled, kept.live, kept.imbalance) == (212, 0, 0)
        third = await w.call()
        assert (third.status, third.header("x-ratelimit-remaining-tokens")) == (429, "0")


async def test_a_whole_stream_without_usage_is_charged_by_what_passed() -> None:
    """Missing usage is not zero: a token an event at the least, and the row says that it is an estimate."""
    async with world() as w:
        w.upstreams.serve(MODEL, events(chunk("a"), chunk(finish="stop"), DONE))
        exchange = await w.call(_STREAMED)
        assert exchange.text.endswith(DONE)
        assert (w.ledger.only.estimated, w.ledger.only.output_tokens) == (True, 3)
