"""What waits to be stored: whoever waits for an entry hears of it once it is safe, and not before."""

import asyncio
import random

import pytest

from gateway.storage.backlog import Backlog, Batch
from tests.storage.sql.rows import entry


def _filled(count: int, *, capacity: int = 100) -> Backlog:
    backlog = Backlog(capacity, "the database")
    for number in range(count):
        backlog.append(entry(call_id=f"{number:03}"))
    return backlog


def _ids(batch: Batch) -> list[str]:
    return [one.call_id for one in batch.entries]


async def _waiting(backlog: Backlog) -> asyncio.Task[None]:
    waiter = asyncio.create_task(backlog.acknowledged())
    await asyncio.sleep(0)
    return waiter


async def _told(waiter: asyncio.Task[None]) -> bool:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return waiter.done()


def test_an_append_tells_how_many_wait() -> None:
    """Those of batches under way are not among them."""
    backlog = _filled(3)
    backlog.take(2)
    assert backlog.append(entry()) == 2
    assert (len(backlog), backlog.waiting) == (2, 4)


async def test_batches_that_end_in_any_order() -> None:
    """An entry is safe once all before it are; those that come later do not matter."""
    backlog = _filled(6)
    first, second = backlog.take(2), backlog.take(2)
    waiter = await _waiting(backlog)
    third = backlog.take(2)
    backlog.append(entry())
    for batch in (third, first):
        backlog.done(batch)
        assert not await _told(waiter)
    backlog.done(second)
    assert await _told(waiter)
    assert not await _told(await _waiting(backlog))


async def test_a_batch_that_is_given_back() -> None:
    """Its entries stand in front again, and are waited for as before."""
    backlog = _filled(4)
    batch = backlog.take(3)
    early = await _waiting(backlog)
    backlog.append(entry(call_id="late"))
    late = await _waiting(backlog)
    backlog.give_back(batch)
    assert not await _told(early)
    again = backlog.take(4)
    assert _ids(again) == ["000", "001", "002", "003"]
    backlog.done(again)
    assert await _told(early)
    assert not await _told(late)
    backlog.done(backlog.take(1))
    assert await _told(late)


async def test_what_is_lost_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Neither what is beyond the capacity, nor what is given up."""
    backlog = _filled(3, capacity=3)
    waiter = await _waiting(backlog)
    for _ in range(3):
        assert not await _told(waiter)
        backlog.append(entry())
    assert await _told(waiter)
    assert (backlog.lost, backlog.waiting) == (3, 3)
    waiter = await _waiting(backlog)
    backlog.take(1)
    assert backlog.give_up() == 3
    assert await _told(waiter)
    assert (backlog.lost, backlog.waiting) == (6, 0)
    await backlog.acknowledged()
    backlog.append(entry(call_id="next"))
    waiter = await _waiting(backlog)
    assert not await _told(waiter)
    backlog.done(backlog.take(1))
    assert await _told(waiter)


async def test_any_history() -> None:
    """Whatever is taken, stored and given back, in whatever order: nobody hears too early, and in the end everybody has."""
    chance = random.Random(7)
    for _ in range(50):
        backlog, under_way, stored, appended = Backlog(1000, "the database"), [], set[str](), 0
        waiters: list[tuple[int, asyncio.Task[None]]] = []
        last: Batch | None = None
        for _ in range(60):
            step = chance.random()
            if step < 0.4:
                backlog.append(entry(call_id=f"{appended:03}"))
                appended += 1
            elif step < 0.6 and len(backlog):
                last = backlog.take(chance.randrange(1, 4))
                under_way.append(last)
            elif step < 0.7 and last is not None and last in under_way:
                under_way.remove(last)
                backlog.give_back(last)
            elif step < 0.9 and under_way:
                batch = under_way.pop(chance.randrange(len(under_way)))
                stored.update(_ids(batch))
                backlog.done(batch)
            else:
                waiters.append((appended, await _waiting(backlog)))
            for count, waiter in waiters:
                assert await _told(waiter) == all(f"{number:03}" in stored for number in range(count))
        for batch in (*under_way, backlog.take(1000)):
            backlog.done(batch)
        await asyncio.gather(*(waiter for _, waiter in waiters))


def test_the_age_of_the_oldest() -> None:
    """The oldest is the first that is not stored, whether a batch holds it or not; its age counts from its call's end."""
    backlog = Backlog(10, "the database")
    assert [backlog.oldest] == [None]
    for number in range(4):
        backlog.append(entry(call_id=f"{number}", at=1000 * number, duration_ms=7))
    assert backlog.oldest == 7
    first, second = backlog.take(1), backlog.take(1)
    assert backlog.oldest == 7
    backlog.done(first)
    assert backlog.oldest == 1007
    backlog.done(second)
    assert backlog.oldest == 2007
    backlog.done(backlog.take(2))
    assert backlog.oldest is None
