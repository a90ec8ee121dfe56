"""The queue of finished spans: bounded, counted, never waited for, and emptied at the end within its time."""

import logging
import threading
import time

import pytest

from gateway.ops.spans import Span, SpanQueue


def span(number: int) -> Span:
    return Span("s", "internal", 1, number + 1, 0, 0, 1)


class Collector:
    """Takes spans, or says `problem`; while `open` is not set, it keeps its callers waiting."""

    def __init__(self) -> None:
        self.taken: list[Span] = []
        self.problem = ""
        self.open = threading.Event()
        self.open.set()
        self.interrupted = False

    def export(self, spans: list[Span]) -> str:
        self.open.wait(30)
        if self.problem == "raise":
            raise OSError("of the test")
        if not self.problem:
            self.taken += spans
        return self.problem

    def interrupt(self) -> None:
        self.interrupted = True
        self.open.set()


async def test_what_was_added_arrives_at_the_end() -> None:
    """All spans that were added before the end are sent, in order, and counted."""
    collector = Collector()
    queue = SpanQueue(collector)
    queue.start()
    for number in range(1200):
        queue.add([span(number)])
    await queue.close()
    assert [each.span_id for each in collector.taken] == list(range(1, 1201))
    assert (queue.sent, queue.failed, queue.dropped, len(queue)) == (1200, 0, 0, 0)


async def test_a_full_queue_drops_and_counts() -> None:
    """While the collector hangs, the queue takes what it has room for and drops the rest; the end does not wait for it."""
    collector = Collector()
    collector.open.clear()
    queue = SpanQueue(collector, most=10)
    queue.start()
    begun = time.monotonic()
    for number in range(0, 40, 2):
        queue.add([span(number), span(number + 1)])
    assert time.monotonic() - begun < 1
    assert len(queue) <= 10
    assert queue.dropped >= 20
    await queue.close(0.2)
    assert time.monotonic() - begun < 3
    assert collector.interrupted
    assert len(queue) == 0


@pytest.mark.parametrize("problem", ["refused", "raise"])
async def test_an_outage_is_told_once(problem: str, caplog: pytest.LogCaptureFixture) -> None:
    """A collector that is away is logged when it goes and when it is back, not for each batch; its losses are counted."""
    caplog.set_level(logging.INFO)
    collector = Collector()
    collector.problem = problem
    queue = SpanQueue(collector)
    for _ in range(3):
        queue.add([span(0)])
        queue._empty()
    collector.problem = ""
    queue.add([span(0)])
    queue._empty()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert (queue.sent, queue.failed) == (1, 3)


async def test_after_the_end_nothing_is_kept() -> None:
    """A call that ends after the queue was closed drops its spans; closing twice does nothing."""
    queue = SpanQueue(Collector())
    queue.start()
    await queue.close()
    queue.add([span(0)])
    await queue.close()
    assert (len(queue), queue.dropped) == (0, 1)
