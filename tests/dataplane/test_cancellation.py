"""A call that ends before its time, at every point where it can wait: nothing of it is left, and it is settled once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.domain.admission import Ask, Decision
from gateway.domain.errors import InvalidKey
from gateway.domain.grants import Limits
from gateway.storage.memory.admission import MemoryAdmissions
from tests.dataplane.fakes import RecordingExchange, ScriptedReply
from tests.dataplane.world import MODEL, STREAM, World, chunk, completion, events, turns, until, world

_LIMITS = Limits(rpm=1000, tpm=100_000)
_STREAMED = {"model": MODEL, "stream": True, "messages": ["some words"]}


class _Slow(MemoryAdmissions):
    """Takes its time before a decision, after one, or for neither; counts what is settled."""

    before: asyncio.Event | None = None
    after: asyncio.Event | None = None
    reached = False

    async def admit(self, ask: Ask) -> Decision:
        if self.before is not None and ask.claims:
            self.reached = True
            await self.before.wait()
        decision = await super().admit(ask)
        if self.after is not None and ask.claims:
            self.reached = True
            await self.after.wait()
        return decision


@dataclass
class _Held:
    """A call that waits at one point for ever."""

    w: World
    exchange: RecordingExchange
    reply: ScriptedReply

    @property
    def slow(self) -> _Slow:
        assert isinstance(self.w.admissions, _Slow)
        return self.w.admissions


def key_read(held: _Held) -> Callable[[], bool]:
    held.w.store.pause = asyncio.Event()
    return lambda: bool(held.w.store.asked)


def body(held: _Held) -> Callable[[], bool]:
    held.exchange.body_pause = asyncio.Event()
    return lambda: held.exchange.body_asked


def before_admission(held: _Held) -> Callable[[], bool]:
    held.slow.before = asyncio.Event()
    return lambda: held.slow.reached


def after_admission(held: _Held) -> Callable[[], bool]:
    held.slow.after = asyncio.Event()
    return lambda: held.slow.reached


def send(held: _Held) -> Callable[[], bool]:
    held.w.upstreams.pause = asyncio.Event()
    return lambda: bool(held.w.upstreams.sent)


def first_chunk(held: _Held) -> Callable[[], bool]:
    held.reply.script = [asyncio.Event(), *STREAM]
    return lambda: held.exchange.status == 200


def mid_stream(held: _Held) -> Callable[[], bool]:
    held.reply.script = [chunk("a"), chunk("b"), asyncio.Event(), *STREAM]
    return lambda: len(held.exchange.written) == 2


def write(held: _Held) -> Callable[[], bool]:
    held.exchange.room.clear()
    return lambda: held.reply.pulled == 1


def end(held: _Held) -> Callable[[], bool]:
    held.exchange.end_pause = asyncio.Event()
    return lambda: len(held.exchange.written) == len(STREAM) - 1


_POINTS = [key_read, body, before_admission, after_admission, send, first_chunk, mid_stream, write, end]
_ADMITTED = _POINTS[4:]
_ANSWERED = _POINTS[5:]


async def _hold(w: World, point: Callable[[_Held], Callable[[], bool]]) -> tuple[_Held, asyncio.Task[RecordingExchange]]:
    reply = events()
    w.upstreams.serve(MODEL, reply)
    held = _Held(w, w.exchange(_STREAMED), reply)
    reached = point(held)
    task = w.begin(held.exchange)
    await until(reached)
    await turns()
    assert not task.done()
    return held, task


def _nothing_is_left(held: _Held, *, answered: bool) -> None:
    w = held.w
    if answered:
        assert held.reply.closed
    kept = w.admissions.conservation()
    assert kept.expired == 0
    w.at_rest()


@pytest.mark.parametrize("point", _POINTS)
async def test_a_client_that_leaves(point: Callable[[_Held], Callable[[], bool]]) -> None:
    """Wherever a call waits when its client leaves, the upstream's reply is closed, the lease gone, every token accounted for
    and, if the call was admitted, one row says what happened and what it cost."""
    async with world(limits=_LIMITS, admissions=_Slow) as w:
        held, task = await _hold(w, point)
        held.exchange.leave()
        await task
        _nothing_is_left(held, answered=point in _ANSWERED)
        if point not in _ADMITTED:
            assert w.ledger.rows == []
            assert w.admissions.conservation().settled == 0
        else:
            row = w.ledger.only
            assert (row.outcome, row.status) == ("client_gone", 200 if point in _ANSWERED else 499)
            assert row.input_tokens > 0
            assert w.admissions.conservation().settled == row.input_tokens + row.output_tokens
            assert row.estimated is (point is not end)
        assert 'gateway_call_outcomes_total{outcome="client_gone"} 1.0' in w.metrics.render().decode()
        if w.store.pause:
            w.store.pause.set()


@pytest.mark.parametrize("point", _ADMITTED)
async def test_a_key_that_is_cut_off(point: Callable[[_Held], Callable[[], bool]]) -> None:
    """A call whose key was withdrawn is told so, in an event of its own once its stream has begun, and is charged what passed."""
    async with world(limits=_LIMITS, admissions=_Slow) as w:
        held, task = await _hold(w, point)
        ((call, serving),) = w.open_calls._calls.values()
        call.cut = InvalidKey("withdrawn")
        held.exchange.room.set()
        held.exchange.end_pause = None
        serving.cancel()
        exchange = await task
        assert serving.cancelling() == 0
        _nothing_is_left(held, answered=point in _ANSWERED)
        assert exchange.ended
        assert exchange.status == (200 if point in _ANSWERED else 401)
        assert b'"invalid_api_key"' in exchange.written[-1]
        assert exchange.written[-1].startswith(b"data: ") is (point in _ANSWERED)
        assert (w.ledger.only.outcome, w.ledger.only.status) == ("key_cut", exchange.status)
        assert w.ledger.only.input_tokens > 0


@pytest.mark.parametrize("point", _POINTS)
async def test_a_gateway_that_stops(point: Callable[[_Held], Callable[[], bool]]) -> None:
    """When the server cancels its tasks, calls are settled and recorded like any other, and the cancellation goes on."""
    async with world(limits=_LIMITS, admissions=_Slow) as w:
        held, task = await _hold(w, point)
        assert held.exchange.task is not None
        held.exchange.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        _nothing_is_left(held, answered=point in _ANSWERED)
        assert [row.outcome for row in w.ledger.rows] == (["gateway_stopped"] if point in _ADMITTED else [])
        assert 'gateway_call_outcomes_total{outcome="gateway_stopped"} 1.0' in w.metrics.render().decode()
        if w.store.pause:
            w.store.pause.set()


async def test_leaving_while_waiting_for_room() -> None:
    """A client that leaves the line for a limit costs nothing and leaves no line behind."""
    async with world(limits=Limits(rpm=1)) as w:
        w.upstreams.serve(MODEL, completion())
        assert (await w.call()).status == 200
        exchange = w.exchange(None, (b"x-dashscope-wait-timeout", b"10"))
        task = w.begin(exchange)
        await until(lambda: w.waiting.waiting == 1)
        exchange.leave()
        await task
        assert not w.waiting._lines
        assert len(w.ledger.rows) == 1
        w.at_rest()


async def test_an_internal_fault_in_mid_stream(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the gateway's own ends a stream with an error event, closes the upstream and charges what passed."""
    async with world(limits=_LIMITS) as w:
        reply = events(chunk("a"), ZeroDivisionError("a bug"))
        w.upstreams.serve(MODEL, reply)
        exchange = await w.call(_STREAMED)
        assert exchange.ended
        assert b'"internal_error"' in exchange.written[-1]
        assert b"a bug" not in exchange.text
        assert "failed inside the gateway" in caplog.text
        assert reply.closed
        row = w.ledger.only
        assert (row.outcome, row.status, row.output_tokens, row.estimated) == ("internal_error", 200, 1, True)
        w.at_rest()


async def test_a_call_is_settled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ending settles exactly once."""
    async with world(limits=_LIMITS) as w:
        settled: list[str] = []
        settle = w.admissions.settle

        def counting(account_id: str, call_id: str, tokens: int) -> None:
            settled.append(call_id)
            settle(account_id, call_id, tokens)

        monkeypatch.setattr(w.admissions, "settle", counting)
        w.upstreams.serve(MODEL, completion(), events(), events(chunk("a")), RuntimeError("a bug"))
        for _ in range(4):
            await w.call(_STREAMED)
        await w.call({"model": "nobody's"})
        assert len(settled) == len(set(settled)) == 5
        assert [row.call_id for row in w.ledger.rows] == settled[:4]
