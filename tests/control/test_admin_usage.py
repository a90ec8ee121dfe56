"""Usage through the admin API."""

from contextlib import suppress
from dataclasses import replace

import pytest

from gateway.control.problems import BadRequest
from gateway.control.services.usage import Span, read_span
from gateway.domain.ledger import Entry
from gateway.storage.sql.ledger import SqlLedger
from tests.control.admin_api import Control

HOUR = 3_600_000
NOW = 1_700_000_000_000


def entry(call_id: str, at: int, **fields: object) -> Entry:
    plain = Entry(
        call_id=call_id,
        at=at,
        account_id="acc-a",
        workspace_id="llm-a",
        key_id="ak-a",
        endpoint="chat/completions",
        model="m",
        deployment="d",
        stream=False,
        status=200,
        outcome="ok",
        input_tokens=10,
        output_tokens=5,
        cached_tokens=2,
        estimated=False,
        billing="payg",
        ttft_ms=100,
        duration_ms=300,
    )
    return replace(plain, **fields)  # type: ignore[arg-type]  # the tests name only fields of the entry


async def fill(control: Control, *entries: Entry) -> None:
    ledger = SqlLedger(control.services.engine)
    await ledger.start()
    for one in entries:
        ledger.append(one)
    await ledger.close()


async def test_usage_by_group_with_total(control: Control) -> None:
    """Usage is summed by model, workspace or key, the most tokens first, with a total over all."""
    await fill(
        control,
        entry("1", NOW - HOUR),
        entry("2", NOW - HOUR, model="v/m", input_tokens=100, ttft_ms=None, outcome="client_gone", estimated=True),
        entry("3", NOW - HOUR, workspace_id="llm-b", key_id="ak-b", duration_ms=100),
    )
    body = (await control.get("/usage")).json()
    assert body["next_cursor"] is None
    assert [(row["group"], row["calls"], row["total_tokens"]) for row in body["data"]] == [("v/m", 1, 105), ("m", 2, 30)]
    assert (body["data"][0]["failures"], body["data"][0]["estimated_calls"], body["data"][0]["ttft_ms"]) == (1, 1, None)
    assert body["data"][1]["duration_ms"] == 200
    assert body["total"] == {
        "calls": 3,
        "failures": 1,
        "refused": 0,
        "input_tokens": 120,
        "output_tokens": 15,
        "total_tokens": 135,
        "cached_tokens": 6,
        "estimated_calls": 1,
        "ttft_ms": 100.0,
        "duration_ms": 233.3,
    }
    by_key = (await control.get("/usage", params={"group_by": "key"})).json()["data"]
    assert [(row["group"], row["calls"]) for row in by_key] == [("ak-a", 2), ("ak-b", 1)]
    by_workspace = (await control.get("/usage", params={"group_by": "workspace", "model": "m"})).json()["data"]
    assert [(row["group"], row["calls"]) for row in by_workspace] == [("llm-a", 1), ("llm-b", 1)]


@pytest.mark.parametrize(
    ("params", "calls"),
    [
        ({}, 2),
        ({"range": "3h"}, 1),
        ({"range": "24h"}, 2),
        ({"range": "7d"}, 3),
        ({"range": "30d"}, 4),
        ({"start": "2023-11-14T00:00:00Z"}, 2),
        ({"start": "2023-10-01T00:00:00+02:00", "end": "1699000000"}, 1),
        ({"start": "0"}, 4),
        ({"start": "0", "account_id": "acc-a"}, 4),
        ({"start": "0", "account_id": "acc-b"}, 0),
        ({"start": "0", "workspace_id": "llm-a", "key_id": "ak-a", "model": "m"}, 4),
    ],
)
async def test_spans_and_filters(control: Control, params: dict[str, str], calls: int) -> None:
    """A range up to now, or a start and an end, say which calls count."""
    ages = (1, 10, 50, 20 * 24)
    await fill(control, *(entry(str(age), NOW - age * HOUR) for age in ages))
    body = (await control.get("/usage", params=params)).json()
    assert body["total"]["calls"] == calls


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"range": "1h"}, "range"),
        ({"range": "3h", "start": "0"}, "range"),
        ({"end": "5"}, "start"),
        ({"start": "yesterday"}, "start"),
        ({"start": "2023-11-14T00:00:00"}, "start"),
        ({"start": "9" * 20}, "start"),
        ({"start": "-5"}, "start"),
        ({"start": "5", "end": "5"}, "end"),
        ({"group_by": "account"}, "group_by"),
    ],
)
async def test_bad_spans_are_400(control: Control, params: dict[str, str], param: str) -> None:
    """What is no span of time, or no known group, is a 400 that names the parameter."""
    reply = await control.get("/usage", params=params)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("start", ["1970-01-01T00:00:01.5Z", "1970-01-01 00:00:01.500 00:00", "1970-01-01T02:00:01.5+02:00"])
def test_times_are_exact(start: str) -> None:
    """Times are read to the millisecond, whichever zone they are in, also where a plus sign arrived as a space."""
    assert read_span(10_000, range_=None, start=start.replace(" 00:00:01", "T00:00:01"), end=None) == Span(1500, 10_001)


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_times_at_the_ends_of_the_calendar(start: str) -> None:
    """The first and last days of the calendar are read or refused, never a fault."""
    with suppress(BadRequest):
        read_span(10_000, range_=None, start=start, end="253402300799")
