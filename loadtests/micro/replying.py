"""Steps of the reply, and of the call's end."""

import asyncio
from typing import Any

from gateway.dataplane import answers
from gateway.dataplane.call import Call, begin
from gateway.dataplane.http_exchange import HttpExchange
from gateway.domain.admission import Answer, Decision
from gateway.domain.errors import LimitRequests
from gateway.domain.ledger import Entry
from gateway.domain.usage import Usage
from gateway.storage.redis.streams import FIELD, decode, encode
from loadtests.micro.messages import COMPLETION, REPLY_HEADERS, SMALL, headers
from loadtests.micro.step import Run, Sink, Step, at_once
from loadtests.micro.world import Limited, admitted
from tests.dataplane.world import CHAT, MODEL

_GROUP = "4 the reply"
_BATCH = 32
_REPLY = [*REPLY_HEADERS, (b"content-length", b"%d" % len(COMPLETION))]


class _Flow:
    write_paused = False

    async def drain(self) -> None:
        """It never has to."""

    def pause_reading(self) -> None:
        """There is nothing to read."""

    def resume_reading(self) -> None:
        """There is nothing to read."""


class _Edge:
    """A connection of a client, without its socket."""

    write_seconds = body_seconds = 60.0
    received_at = 0.0

    def __init__(self) -> None:
        self.transport: Any = Sink()
        self.flow: Any = _Flow()
        self.loop = asyncio.get_running_loop()
        self.complete = 0

    def on_response_complete(self) -> None:
        self.complete += 1

    def exchange(self) -> HttpExchange:
        given = headers("sk-1", SMALL)
        return HttpExchange(self, "POST", CHAT, given, is_old=False, keep_alive=True)


async def _write() -> Run:
    edge = _Edge()

    async def reply() -> None:
        exchange = edge.exchange()
        await exchange.start(200, _REPLY)
        await exchange.write(COMPLETION)
        await exchange.end()

    def run() -> bytes:
        at_once(reply())
        return bytes(edge.transport.taken())

    written = run()
    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert written.endswith(b"\r\n\r\n" + COMPLETION)
    assert edge.complete == 1
    return run


async def _refuse() -> Run:
    edge, call = _Edge(), begin(0.0)
    gauges = (await admitted()).gauges
    call.decision = Decision(Answer.REFUSED, gauges, gauges[0].claim, 250_000)
    refusal = LimitRequests("workspace llm-2 m", retry_after_ms=250)

    def run() -> bytes:
        call.replied = False
        at_once(answers.refuse(edge.exchange(), call, refusal))
        return bytes(edge.transport.taken())

    written = run()
    assert written.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"retry-after-ms: 250\r\n" in written
    return run


async def _finished(world: Limited) -> Call:
    """A call that was answered and has yet to be settled."""
    call = begin(0.0)
    await world.plane.gate.authenticate(call, world.exchange(SMALL))
    call.decision, call.model = await admitted(), world.catalogue.model(MODEL)
    call.endpoint, call.body_bytes, call.status = "chat.completions", len(SMALL), 200
    call.usage, call.reply_bytes, call.first_byte = Usage(input=10, output=5), len(COMPLETION), call.started
    call.deployment = world.upstreams.serve(MODEL)
    return call


async def _record() -> Run:
    world = Limited()
    call = await _finished(world)
    meter, rows = world.plane.meter, world.ledger.rows

    def run() -> Entry:
        call.finished = False
        meter.finish(call)
        return rows.pop()

    entry = run()
    assert (entry.call_id, entry.input_tokens, entry.output_tokens, entry.outcome) == (call.id, 10, 5, "ok")
    return run


async def _encode() -> Run:
    world = Limited()
    world.plane.meter.finish(await _finished(world))
    entries = world.ledger.rows * _BATCH

    def run() -> bytes:
        return encode(entries)

    assert decode({FIELD: run()}) == entries
    return run


STEPS = [
    Step(_GROUP, "JSON reply written", _write),
    Step(_GROUP, "refusal written", _refuse),
    Step(_GROUP, "call recorded: ledger entry made, estimator taught", _record),
    Step(_GROUP, f"ledger entry encoded, of {_BATCH}", _encode, per=_BATCH),
]
