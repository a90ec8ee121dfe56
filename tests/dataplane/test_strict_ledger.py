"""`ledger.strict`: a reply ends only after its entry is acknowledged."""

import asyncio

import pytest

from gateway.dataplane import meter
from gateway.dataplane.meter import Meter
from gateway.domain.grants import Limits
from tests.dataplane.fakes import MemoryLedger
from tests.dataplane.world import COMPLETION, MODEL, STREAM, World, completion, events, until, world


class SlowLedger(MemoryLedger):
    """Acknowledges when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.safe = asyncio.Event()

    async def acknowledged(self) -> None:
        await self.safe.wait()


def strict(w: World) -> SlowLedger:
    ledger = SlowLedger()
    w.ledger = ledger
    object.__setattr__(w.plane, "meter", Meter(w.admissions, ledger, w.estimator, strict=True))
    return ledger


async def test_a_whole_reply_waits_for_its_entry() -> None:
    """Not a byte of the body is sent before; the entry is complete."""
    async with world(limits=Limits(tpm=1000)) as w:
        ledger = strict(w)
        w.upstreams.serve(MODEL, completion())
        exchange = w.exchange()
        task = w.begin(exchange)
        await until(lambda: ledger.rows)
        assert exchange.status == 0
        ledger.safe.set()
        await task
        assert (exchange.status, exchange.text) == (200, COMPLETION)
        assert (ledger.only.status, ledger.only.outcome, ledger.only.estimated) == (200, "ok", False)
        w.at_rest()


async def test_a_streams_last_event_waits_for_its_entry() -> None:
    """Events go on as they come; the one that says that the stream is done does not."""
    async with world(limits=Limits(tpm=1000)) as w:
        ledger = strict(w)
        w.upstreams.serve(MODEL, events(*STREAM))
        exchange = w.exchange({"model": MODEL, "stream": True})
        task = w.begin(exchange)
        await until(lambda: ledger.rows)
        assert exchange.written
        assert b"[DONE]" not in exchange.text
        ledger.safe.set()
        await task
        assert exchange.ended
        assert b"[DONE]" in exchange.text
        assert (ledger.only.outcome, ledger.only.stream) == ("ok", True)
        w.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_entry_that_nobody_takes(monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    """The reply does not look complete: it is an error, or ends with one. The call is settled and recorded once."""
    monkeypatch.setattr(meter, "_STRICT_SECONDS", 0.05)
    async with world(limits=Limits(tpm=1000)) as w:
        ledger = strict(w)
        w.upstreams.serve(MODEL, events(*STREAM) if stream else completion())
        exchange = w.exchange({"model": MODEL, "stream": stream})
        await w.begin(exchange)
        assert b'"code":"service_unavailable"' in exchange.text or b"ServiceUnavailable" in exchange.text
        assert exchange.status == (200 if stream else 503)
        assert b"[DONE]" not in exchange.text
        assert len(ledger.rows) == 1
        w.at_rest()
