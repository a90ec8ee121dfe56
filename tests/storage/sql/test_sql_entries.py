"""Batches of ledger entries: what arrives in the database is what was handed in, row by row and in every sum."""

import asyncio
import itertools
import random
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import asdict, replace

from gateway.domain.ledger import Entry
from gateway.storage.sql.engine import AsyncEngine, writing
from gateway.storage.sql.entries import Stored, store
from gateway.storage.sql.tables import api_keys, ledger, usage_days, usage_hours
from tests.storage.sql.rows import add_account, add_key, add_workspace, entry, rows

ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
TEXTS = [
    "",
    " with spaces ",
    "'single' \"double\" `back`",
    "back\\slash \\u0041 \\n",
    "line\nfeed\r\ttab",
    "control \x01\x1f\x7f\x85",
    '{"json": [null, true]}',
    "%s %% $1 :name ? {0}",
    "Zürich 北京 \u2028\u2029\ufeff\uffff",
    "\U0001f600 e\u0301",
    "null",
    "x" * 255,
]
WHOLE = [0, 1, 2**31, 2**53 + 1, 2**62 - 1, 2**63 - 1]


async def _sums(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    """Calls, input tokens and key of each sum by hour, and by day, which are the same: all calls are of one hour."""
    names = ("calls", "input_tokens", "key_id")
    hours = await rows(engine, usage_hours, *names)
    assert hours == await rows(engine, usage_days, *names)
    return hours


async def test_values_arrive_as_they_are(engine: AsyncEngine) -> None:
    """Whatever a text, a number or a mark is, the row holds just that: nothing on the way reads it as anything else."""
    some = [entry(call_id=f"t{number:02}", model=text, deployment=text) for number, text in enumerate(TEXTS)]
    some += [entry(call_id=f"w{n:02}", key_id=f"ak-{n}", output_tokens=one, ttft_ms=one) for n, one in enumerate(WHOLE)]
    marks = itertools.product([True, False], [True, False], [None, 0, 7])
    some += [entry(call_id=f"m{n:02}", stream=a, estimated=b, ttft_ms=c) for n, (a, b, c) in enumerate(marks)]
    assert await store(engine, some) == Stored(len(some))
    found = await rows(engine, ledger, *Entry.__struct_fields__)
    assert found == sorted(tuple(asdict(one).values()) for one in some)
    assert {type(value) for row in found for value in row} == {str, int, bool, type(None)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_tokens": 2**63},
        {"input_tokens": 2**64},
        {"input_tokens": 2**70},
        {"at": -(2**63) - 1},
        {"model": "\ud800"},
        {"model": "a\udfffb"},
    ],
)
async def test_a_value_that_no_database_holds(engine: AsyncEngine, wrong: dict[str, Any]) -> None:
    """Its entry is refused by itself, and those beside it are stored and summed."""
    some = [entry(call_id=f"{number}") for number in range(9)]
    bad = replace(some[4], **wrong)
    assert await store(engine, [*some[:4], bad, *some[5:]]) == Stored(8, (bad,))
    assert [row[0] for row in await rows(engine, ledger, "call_id")] == [str(number) for number in range(9) if number != 4]
    assert await _sums(engine) == [(8, 80, "ak-1")]


@pytest.mark.parametrize("wrong", [{"model": "a\0b"}, {"model": "x" * 256}, {"status": 2**31}])
async def test_a_value_that_only_sqlite_holds(engine: AsyncEngine, wrong: dict[str, Any]) -> None:
    """SQLite keeps it whole; PostgreSQL refuses its entry and no other. Neither cuts it."""
    some = [entry(call_id="a"), entry(call_id="b", **wrong), entry(call_id="c")]
    kept = some if engine.dialect.name == "sqlite" else [some[0], some[2]]
    assert await store(engine, some) == Stored(len(kept), tuple(one for one in some if one not in kept))
    assert await rows(engine, ledger, *Entry.__struct_fields__) == [tuple(asdict(one).values()) for one in kept]


@pytest.mark.parametrize("count", [1, 2, 3, 127, 128, 129, 255, 2600])
async def test_batches_of_any_size(engine: AsyncEngine, count: int) -> None:
    """None is lost and none is counted twice, however a batch is cut into statements."""
    some = [entry(call_id=f"{number:05}", key_id=f"ak-{number % 3}", input_tokens=number) for number in range(count)]
    assert await store(engine, some) == Stored(count)
    assert [row[0] for row in await rows(engine, ledger, "call_id")] == [one.call_id for one in some]
    expected = [
        (len(of), sum(one.input_tokens for one in of), key)
        for key in ("ak-0", "ak-1", "ak-2")
        if (of := [one for one in some if one.key_id == key])
    ]
    assert await _sums(engine) == sorted(expected)


async def test_a_part_is_there_already(engine: AsyncEngine) -> None:
    """Only what is new counts, wherever in the batch it stands, also if a part of the batch stands in it twice."""
    some = [entry(call_id=f"{number:05}", key_id=f"ak-{number % 2}", input_tokens=1) for number in range(1200)]
    there = random.sample(some, 500)
    assert await store(engine, there) == Stored(500)
    again = [replace(one, input_tokens=1000, key_id="ak-3") for one in there]
    batch = random.sample([*some, *again, *some[:100]], 1800)
    assert await store(engine, batch) == Stored(700)
    assert await rows(engine, ledger, "call_id", "input_tokens") == [(one.call_id, 1) for one in some]
    assert await _sums(engine) == [(600, 600, "ak-0"), (600, 600, "ak-1")]
    assert await store(engine, some) == Stored(0)


async def test_the_first_of_two_stays(engine: AsyncEngine) -> None:
    """Of entries with one call ID in one batch it is the first that is stored, and summed."""
    some = [entry(call_id=f"{number % 50:02}", input_tokens=number) for number in range(1000)]
    assert await store(engine, some) == Stored(50)
    assert await rows(engine, ledger, "input_tokens") == [(number,) for number in range(50)]
    assert await _sums(engine) == [(50, sum(range(50)), "ak-1")]


async def test_rows_that_retention_took(engine: AsyncEngine) -> None:
    """The sums rise by what is inserted now, also where the rows inserted last, or all of them, are gone."""
    for number, left in enumerate([7, 3, 0, 10]):
        await store(engine, [entry(call_id=f"{number}-{each}") for each in range(10)])
        assert await _sums(engine) == [(10 * number + 10, 100 * number + 100, "ak-1")]
        async with writing(engine) as connection:
            kept = sa.select(ledger.c.call_id).order_by(ledger.c.call_id).limit(left)
            await connection.execute(sa.delete(ledger).where(ledger.c.call_id.not_in(kept)))


@ON_SQLITE
async def test_sums_beyond_what_sqlite_can_add(engine: AsyncEngine) -> None:
    """Numbers whose sum is too large, each of which can be stored, do not hold up the batch for ever."""
    large = [entry(call_id=f"{number}", input_tokens=2**62, key_id=f"ak-{number // 2}") for number in range(4)]
    assert await store(engine, [*large, entry(call_id="4", key_id="ak-9")]) == Stored(5)
    assert len(await rows(engine, ledger, "call_id")) == 5


async def test_writers_do_not_block_each_other(engine: AsyncEngine) -> None:
    """Writers whose calls are of the same keys, and some of the same sums, all succeed: no two of them wait for each other."""
    keys = [f"ak-{number:02}" for number in range(40)]
    async with writing(engine) as connection:
        await add_account(connection, "acc-1")
        await add_workspace(connection, "acc-1", "llm-1")
        for number, key in enumerate(random.sample(keys, len(keys))):
            await add_key(connection, "acc-1", "llm-1", b"%032d" % number, id=key)

    async def write(writer: int) -> None:
        for turn in range(8):
            some = [
                entry(call_id=f"{writer}-{turn}-{key}", key_id=key, at=turn * 1000 + writer, model=f"m{writer % 3}")
                for key in keys
            ]
            await store(engine, random.sample(some, len(some)))

    await asyncio.gather(*(write(writer) for writer in range(6)))
    assert await _sums(engine) == sorted([(16, 160, key) for key in keys] * 3)
    assert await rows(engine, api_keys, "id", "last_used_at") == [(key, 7005) for key in keys]
