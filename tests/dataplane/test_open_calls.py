"""Streams under way: cut when their key is withdrawn, kept otherwise; leases renewed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.dataplane import open_calls
from gateway.domain.grants import KeyStatus, Limits
from tests.dataplane.fakes import RecordingExchange, ScriptedReply
from tests.dataplane.world import ACCOUNT, COMPLETION, MODEL, STREAM, World, chunk, events, reply, until, world

_STREAMED = {"model": MODEL, "stream": True}


@asynccontextmanager
async def _watched(**how: object) -> AsyncIterator[World]:
    async with world(limits=Limits(rpm=1000, tpm=100_000), **how) as w:
        w.open_calls.start()
        try:
            yield w
        finally:
            await w.open_calls.stop()


async def _streaming(w: World) -> tuple[RecordingExchange, asyncio.Task[RecordingExchange], asyncio.Event, ScriptedReply]:
    """A stream that has begun and goes on when the event is set."""
    more = asyncio.Event()
    theirs = events(chunk("a"), more, *STREAM)
    w.upstreams.serve(MODEL, theirs)
    exchange = w.exchange(_STREAMED)
    task = w.begin(exchange)
    await until(lambda: exchange.written)
    assert (len(w.open_calls), w.open_calls.streams) == (1, 1)
    return exchange, task, more, theirs


@pytest.mark.parametrize("gone", [True, False])
async def test_a_stream_of_a_withdrawn_key_is_cut(gone: bool) -> None:
    """Within a second of the change being in force the stream ends with an error event and the upstream is let go."""
    async with _watched() as w:
        exchange, task, _, theirs = await _streaming(w)
        await w.change(gone=gone, status=KeyStatus.DISABLED)
        await asyncio.wait_for(task, 1)
        assert b'"invalid_api_key"' in exchange.written[-1]
        assert exchange.ended
        assert b"[DONE]" not in exchange.text
        assert theirs.closed
        assert (w.ledger.only.outcome, w.ledger.only.estimated) == ("key_cut", True)
        w.at_rest()


async def test_the_tick_finds_a_change_that_nobody_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hurrying word the next tick cuts the stream all the same."""
    monkeypatch.setattr(open_calls, "_TICK", 0.02)
    async with _watched() as w:
        _, task, _, _ = await _streaming(w)
        w.admissions._listeners.clear()
        await w.change(gone=True)
        await asyncio.wait_for(task, 5)
        assert w.ledger.only.outcome == "key_cut"


async def test_a_change_that_leaves_the_key_its_right_cuts_nothing() -> None:
    """Other changes of the account are looked at once and leave a stream alone."""
    async with _watched() as w:
        exchange, task, more, _ = await _streaming(w)
        w.add_key("ak-2")
        await w.change(account_limits={MODEL: Limits(rpm=5)})
        await until(lambda: w.keys.reads == 2)
        more.set()
        await task
        assert exchange.ended
        assert w.ledger.only.outcome == "ok"


async def test_a_store_that_is_away_cuts_nobody() -> None:
    """A key that cannot be checked is no withdrawn key; it is checked again until it can be."""
    async with _watched() as w:
        exchange, task, more, _ = await _streaming(w)
        w.store.away = True
        await w.change(gone=True)
        await until(lambda: w.keys.reads == 2)
        assert not task.done()
        w.store.away = False
        w.open_calls.policy_changed(ACCOUNT)
        await asyncio.wait_for(task, 5)
        assert b'"invalid_api_key"' in exchange.written[-1]
        assert not more.is_set()


async def test_a_store_that_hangs_does_not_stop_the_renewal_of_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases hang on the watch, so it waits for nobody longer than a moment."""
    monkeypatch.setattr(open_calls, "_TICK", 0.01)
    monkeypatch.setattr(open_calls, "_PATIENCE", 0.01)
    async with _watched() as w:
        _, task, more, _ = await _streaming(w)
        w.store.pause = asyncio.Event()
        await w.change()
        await until(lambda: len(w.store.asked) == 2)
        renewed: list[object] = []

        async def renew(calls: object) -> list[str]:
            renewed.append(calls)
            return []

        monkeypatch.setattr(w.admissions, "renew", renew)
        await asyncio.wait_for(until(lambda: len(renewed) == 3), 5)
        w.store.pause.set()
        more.set()
        await task
        assert w.admissions.conservation().settled == 12


async def test_a_fault_in_one_tick_does_not_end_the_watch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong once, the next tick comes."""
    monkeypatch.setattr(open_calls, "_TICK", 0.01)
    async with _watched() as w:
        _, task, _, _ = await _streaming(w)
        w.store.fault = RuntimeError("a bug")
        monkeypatch.setattr(w.admissions, "renew", lambda _: 1 / 0)
        await until(lambda: "failed once" in caplog.text)
        monkeypatch.undo()
        w.store.fault = None
        await w.change(gone=True)
        await asyncio.wait_for(task, 5)


async def test_what_is_no_stream_is_not_cut() -> None:
    """A reply that is sent whole is let through to its end: the call started while the key was good."""
    async with _watched() as w:
        more = asyncio.Event()
        w.upstreams.serve(MODEL, reply(200, [COMPLETION[:5], more, COMPLETION[5:]]))
        exchange = w.exchange(_STREAMED)
        task = w.begin(exchange)
        await until(lambda: len(w.open_calls) == 1 and w.open_calls.streams == 0)
        await w.change(gone=True)
        await asyncio.sleep(0.1)
        more.set()
        await task
        assert (exchange.status, exchange.text) == (200, COMPLETION)


async def test_stopping_twice_or_before_the_start_is_harmless() -> None:
    """The watch can be stopped at any time."""
    async with world() as w:
        await w.open_calls.stop()
        w.open_calls.start()
        await w.open_calls.stop()
        await w.open_calls.stop()


async def test_every_part_of_the_open_calls_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are looked at in parts, and those of the last part are cut like those of the first."""
    monkeypatch.setattr(open_calls, "_AT_ONCE", 2)
    monkeypatch.setattr(open_calls, "_TICK", 60.0)  # one look has to do
    async with _watched() as w:
        w.upstreams.serve(MODEL, *(events(chunk("a"), asyncio.Event()) for _ in range(5)))
        exchanges = [w.exchange(_STREAMED) for _ in range(5)]
        tasks = [w.begin(exchange) for exchange in exchanges]
        await until(lambda: all(exchange.written for exchange in exchanges))
        await w.change(gone=True)
        await asyncio.wait_for(asyncio.gather(*tasks), 2)
        assert {row.outcome for row in w.ledger.rows} == {"key_cut"}
