"""The ledger: each entry stored once, whatever happens between the call and the database."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence

import pytest
import sqlalchemy as sa
from msgspec.structs import asdict

from gateway.domain.faults import StorageUnavailable
from gateway.domain.ledger import Entry
from gateway.storage.sql import ledger as sql_ledger
from gateway.storage.sql.engine import AsyncEngine, create_engine, writing
from gateway.storage.sql.entries import Stored, store
from gateway.storage.sql.ledger import SqlLedger
from gateway.storage.sql.tables import api_keys
from gateway.storage.sql.tables import ledger as table
from tests.storage.sql.rows import add_account, add_key, add_workspace, entry, rows

# Appends entries, says so a second after the last of them, and goes on appending until it is killed.
_KILLED = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from gateway.storage.sql.engine import create_engine
from gateway.storage.sql.ledger import SqlLedger
from tests.storage.sql.rows import entry

async def main():
    ledger = SqlLedger(create_engine(sys.argv[1]))
    await ledger.start()
    for number in range(2000):
        ledger.append(entry(call_id=f"early-{number}"))
        if number % 50 == 0:
            await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    print("now", flush=True)
    for number in range(10**9):
        ledger.append(entry(call_id=f"late-{number}"))
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def _rename(engine: AsyncEngine, old: str, new: str) -> None:
    async with writing(engine) as conn:
        await conn.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))


async def _calls(engine: AsyncEngine) -> list[str]:
    return [str(row[0]) for row in await rows(engine, table, "call_id")]


async def test_every_field_is_stored(engine: AsyncEngine) -> None:
    """What a call is billed by arrives in the database as it was recorded."""
    ledger = SqlLedger(engine)
    one = entry(stream=True, estimated=True, ttft_ms=None, input_tokens=2**40)
    ledger.append(one)
    await ledger.flush()
    assert await rows(engine, table, *asdict(one)) == [tuple(asdict(one).values())]
    assert (ledger.written, ledger.waiting, ledger.lost, ledger.failures) == (1, 0, 0, 0)


async def test_a_call_is_stored_once(engine: AsyncEngine) -> None:
    """An entry that is written again, in one batch or by another process, is neither doubled nor changed: it is billed once."""
    for input_tokens in (1, 2):
        ledger = SqlLedger(engine)
        for call_id in ("a", "b", "a"):
            ledger.append(entry(call_id=call_id, input_tokens=input_tokens))
        await ledger.flush()
    assert await rows(engine, table, "call_id", "input_tokens") == [("a", 1), ("b", 1)]


async def test_the_background_task_writes(engine: AsyncEngine) -> None:
    """Entries are stored soon without anybody asking, a few as well as many, also after a pause."""
    ledger = SqlLedger(engine)
    await ledger.start()
    for count in (1, 4500, 3):
        for _ in range(count):
            ledger.append(entry())
        await _until(lambda: ledger.waiting == 0)
        await asyncio.sleep(0.15)
    assert len(await _calls(engine)) == 4504
    await ledger.close()


async def test_entries_that_come_while_a_batch_is_written(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """They gather for the next batch, a tenth of a second after the one before, however fast writing is: batches stay large."""
    batches: list[tuple[float, int]] = []

    async def counted(to: AsyncEngine, entries: Sequence[Entry]) -> Stored:
        batches.append((time.monotonic(), len(entries)))
        return await store(to, entries)

    monkeypatch.setattr(sql_ledger, "store", counted)
    ledger = SqlLedger(engine)
    await ledger.start()
    started = time.monotonic()
    while time.monotonic() < started + 0.5:
        ledger.append(entry())
        await asyncio.sleep(0.001)
    ended = time.monotonic()
    await _until(lambda: ledger.waiting == 0)
    await ledger.close()
    assert batches[0][0] < started + 0.09  # the first one waits for nobody
    assert len([at for at, _ in batches if at < ended]) <= (ended - started) / 0.1 + 1
    assert sum(count for _, count in batches) == len(await _calls(engine)) == ledger.written


async def test_whoever_waits_hurries_a_batch(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`acknowledged` does not let entries gather, also if it is called while another batch is written."""
    monkeypatch.setattr(sql_ledger, "_BATCH_SECONDS", 60.0)
    ledger = SqlLedger(engine)
    await ledger.start()
    async with asyncio.timeout(20):
        for number in range(20):
            ledger.append(entry(call_id=f"{number:02}"))
            waiting = asyncio.create_task(ledger.acknowledged())
            await asyncio.sleep(0.002)
            ledger.append(entry(call_id=f"{number:02} too"))
            await ledger.acknowledged()
            await waiting
            assert len(await _calls(engine)) == 2 * number + 2
    await ledger.close()


async def test_the_last_use_of_a_key(engine: AsyncEngine) -> None:
    """A key shows when it was last used, and an entry that comes late does not set that back."""
    async with writing(engine) as conn:
        await add_account(conn, "acc-1")
        await add_workspace(conn, "acc-1", "llm-1")
        await add_key(conn, "acc-1", "llm-1", b"1" * 32, id="ak-1")
        await add_key(conn, "acc-1", "llm-1", b"2" * 32, id="ak-2")
    ledger = SqlLedger(engine)
    for at in (500, 700, 600):
        ledger.append(entry(at=at, key_id="ak-1"))
    await ledger.flush()
    ledger.append(entry(at=650, key_id="ak-1"))
    ledger.append(entry(at=800, key_id="ak-deleted"))
    await ledger.flush()
    assert await rows(engine, api_keys, "id", "last_used_at") == [("ak-1", 700), ("ak-2", None)]


async def test_a_database_that_is_away_for_a_while(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    """Entries wait while the database fails, in order, and all are stored when it is back; the log says it once."""
    caplog.set_level(logging.INFO)
    ledger = SqlLedger(engine)
    await ledger.start()
    await _rename(engine, "ledger", "elsewhere")
    ledger.append(entry(call_id="a"))
    await _until(lambda: ledger.failures >= 2)
    ledger.append(entry(call_id="b"))
    assert (ledger.waiting, ledger.written, ledger.lost) == (2, 0, 0)
    await _rename(engine, "elsewhere", "ledger")
    await _until(lambda: ledger.waiting == 0)
    assert await _calls(engine) == ["a", "b"]
    await ledger.close()
    said = [record.message for record in caplog.records if record.name == "gateway.storage.sql.ledger"]
    assert len(said) == 2
    assert said[0].startswith("the ledger cannot be written")


async def test_a_failed_flush_keeps_its_entries(engine: AsyncEngine) -> None:
    """Whoever asks for a flush is told that it failed, and nothing is lost by it."""
    ledger = SqlLedger(engine)
    ledger.append(entry(call_id="a"))
    await _rename(engine, "ledger", "elsewhere")
    with pytest.raises((StorageUnavailable, sa.exc.ProgrammingError)):
        await ledger.flush()
    assert ledger.waiting == 1
    await _rename(engine, "elsewhere", "ledger")
    await ledger.flush()
    assert await _calls(engine) == ["a"]


async def test_more_than_can_wait(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    """A database that stays away costs bounded memory: the oldest entries go, and are counted and logged, once."""
    ledger = SqlLedger(engine, capacity=100)
    for number in range(130):
        ledger.append(entry(call_id=f"{number:03}"))
    assert (ledger.waiting, ledger.lost) == (100, 30)
    await ledger.flush()
    assert await _calls(engine) == [f"{number:03}" for number in range(30, 130)]
    assert len(caplog.records) == 1


async def test_the_oldest_entries_go_first(engine: AsyncEngine) -> None:
    """A failed write does not turn the order round: what is lost in a long outage is its beginning, so that the gap is one."""
    ledger = SqlLedger(engine, capacity=3)
    for call_id in ("a", "b", "c"):
        ledger.append(entry(call_id=call_id))
    await _rename(engine, "ledger", "elsewhere")
    with pytest.raises((StorageUnavailable, sa.exc.ProgrammingError)):
        await ledger.flush()
    ledger.append(entry(call_id="d"))
    await _rename(engine, "elsewhere", "ledger")
    await ledger.flush()
    assert await _calls(engine) == ["b", "c", "d"]
    assert ledger.lost == 1


async def test_a_value_that_cannot_be_stored(engine: AsyncEngine) -> None:
    """One entry that the database refuses is lost and counted; it does not hold up those beside it for ever."""
    ledger = SqlLedger(engine)
    for number in range(10):
        ledger.append(entry(call_id=f"{number}", input_tokens=2**70 if number == 3 else 1))
    await ledger.flush()
    assert await _calls(engine) == [f"{number}" for number in range(10) if number != 3]
    assert (ledger.written, ledger.lost, ledger.waiting) == (9, 1, 0)


async def test_a_text_that_cannot_be_stored(engine: AsyncEngine) -> None:
    """A text that is no valid Unicode is refused in the same way."""
    ledger = SqlLedger(engine)
    ledger.append(entry(call_id="bad", model="\ud800"))
    ledger.append(entry(call_id="good"))
    await ledger.flush()
    assert await _calls(engine) == ["good"]
    assert ledger.lost == 1


async def test_closing_writes_what_waits(engine: AsyncEngine) -> None:
    """A process that stops in order loses no entry, though it stops in the midst of things."""
    ledger = SqlLedger(engine)
    await ledger.start()
    await asyncio.sleep(0)
    for number in range(1234):
        ledger.append(entry(call_id=f"{number:04}"))
    await ledger.close()
    assert len(await _calls(engine)) == 1234
    assert (ledger.written, ledger.lost) == (1234, 0)


async def test_closing_a_ledger_that_was_never_started(engine: AsyncEngine) -> None:
    """Also what was appended without a background task is written in the end."""
    ledger = SqlLedger(engine)
    ledger.append(entry(call_id="a"))
    await ledger.close()
    assert await _calls(engine) == ["a"]


async def test_closing_without_a_database(engine: AsyncEngine) -> None:
    """A process that stops does not wait for ever for a database that is away, and says what was lost."""
    ledger = SqlLedger(engine, close_seconds=0.3)
    await ledger.start()
    await _rename(engine, "ledger", "elsewhere")
    for _ in range(5):
        ledger.append(entry())
    await ledger.close()
    assert (ledger.lost, ledger.waiting, ledger.written) == (5, 0, 0)


async def test_a_process_that_is_killed(url: str, request: pytest.FixtureRequest) -> None:
    """Kill -9 loses no entry that is older than a second."""
    root = str(request.config.rootpath)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLED, url, root, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = await process.stdout.readline()
    await asyncio.sleep(0.3)
    process.kill()
    await process.communicate()
    assert line == b"now\n"
    engine = create_engine(url)
    calls = await _calls(engine)
    await engine.dispose()
    assert sum(call.startswith("early-") for call in calls) == 2000
