"""One read for many callers."""

import asyncio

import pytest

from gateway.upstream.coalesce import Coalesced


class Source:
    """Something to read, that takes until `release` is set, and counts."""

    def __init__(self) -> None:
        self.begun = 0
        self.release = asyncio.Event()
        self.error: Exception | None = None

    async def read(self) -> None:
        self.begun += 1
        await self.release.wait()
        if self.error is not None:
            raise self.error


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_at_once_share_a_read() -> None:
    """A hundred callers at once cost one read."""
    source = Source()
    read = Coalesced(source.read)
    callers = [asyncio.create_task(read()) for _ in range(100)]
    await _turns()
    source.release.set()
    await asyncio.gather(*callers)
    assert source.begun == 1


async def test_nobody_joins_a_read_that_was_sent() -> None:
    """Whoever calls during a read waits for the next one, which they all share: an older answer is never taken for theirs."""
    source = Source()
    read = Coalesced(source.read)
    first = asyncio.create_task(read())
    await _turns()
    later = [asyncio.create_task(read()) for _ in range(10)]
    await _turns()
    assert source.begun == 1
    source.release.set()
    await asyncio.gather(first, *later)
    assert source.begun == 2


async def test_failure_reaches_those_who_asked_and_nobody_after() -> None:
    """A failed read is raised to all its callers, and the next call reads again."""
    source = Source()
    source.release.set()
    source.error = ConnectionError("away")
    read = Coalesced(source.read)
    results = await asyncio.gather(read(), read(), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError, ConnectionError]
    source.error = None
    await read()
    assert source.begun == 2


async def test_cancelled_caller_takes_nobody_along() -> None:
    """A caller that leaves does not end the read that others wait for."""
    source = Source()
    read = Coalesced(source.read)
    leaving, staying = asyncio.create_task(read()), asyncio.create_task(read())
    await _turns()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    source.release.set()
    await staying
    assert source.begun == 1
