"""Usage through the admin API."""

from contextlib import suppress
from typing import Any

import pytest

from gateway.control.context import Caller
from gateway.control.problems import BadRequest
from gateway.control.services.usage import Span, Wanted, find, over_time, read_span
from gateway.domain.roles import Identity, Membership, Place, Role
from tests.control.admin_api import Control
from tests.control.usage_rows import HOUR, NOW, entry, fill, refuse


async def test_usage_by_group_with_total(control: Control) -> None:
    """Usage is summed by model, workspace or key, the most tokens first, with a total over all."""
    await fill(
        control.services.engine,
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
    await fill(control.services.engine, *(entry(str(age), NOW - age * HOUR) for age in ages))
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


SUMS = ("calls", "failures", "refused", "input_tokens", "output_tokens", "total_tokens", "cached_tokens", "estimated_calls")


async def test_groups_have_names(control: Control) -> None:
    """A group says what people call it: a workspace its name, a key its masked form and description; null once it is deleted."""
    workspace = await control.sub_workspace("research")
    keys = f"/workspaces/{workspace}/api-keys"
    kept = (await control.post(keys, {"description": "Nightly"})).json()
    gone = (await control.post(keys, {})).json()["id"]
    place = {"account_id": control.account_id, "workspace_id": workspace}
    engine = control.services.engine
    await fill(engine, entry("1", NOW - HOUR, key_id=kept["id"], **place), entry("2", NOW - HOUR, key_id=gone, **place))
    await control.delete(f"/api-keys/{gone}")

    async def named(group_by: str) -> dict[str, Any]:
        rows = (await control.get("/usage", params={"group_by": group_by})).json()["data"]
        return {row["group"]: row["name"] for row in rows}

    assert await named("model") == {"m": "m"}
    assert await named("workspace") == {workspace: "research"}
    assert await named("key") == {kept["id"]: f"{kept['masked']} Nightly", gone: None}


async def test_refused_calls_are_counted_apart(control: Control) -> None:
    """Refused calls are a number of their own, also of a group without any other call, and in no other number."""
    await fill(control.services.engine, entry("1", NOW - HOUR))
    await refuse(control.services.engine, NOW - HOUR, 3)
    await refuse(control.services.engine, NOW - HOUR, 2, model="")
    body = (await control.get("/usage")).json()
    assert {row["group"]: (row["calls"], row["refused"]) for row in body["data"]} == {"m": (1, 3), "": (0, 2)}
    assert (body["total"]["calls"], body["total"]["failures"], body["total"]["refused"]) == (1, 0, 5)


@pytest.mark.parametrize(
    ("name", "step", "points"), [("3h", 300, 37), ("24h", 3600, 25), ("7d", 21_600, 29), ("30d", 86_400, 31)]
)
async def test_series_agree_with_the_table(control: Control, name: str, step: int, points: int) -> None:
    """Over each range, the sums over all steps of a group are what the same span says as one."""
    # Now is 22:13:20 UTC: the first step of each range begins before it, and the last ends behind.
    ages = [minutes * 60_000 for minutes in (0, 1, 4, 14, 59, 61, 179, 181, 1439, 1441, 10_000, 43_000)]
    engine = control.services.engine
    await fill(engine, *(entry(str(age), NOW - age, model=f"m{age % 3}", outcome="ok" if age % 7 else "x") for age in ages))
    await refuse(engine, NOW - 120_000, 3)
    series = (await control.get("/usage/series", params={"range": name})).json()
    assert (series["step"], series["group_by"], series["next_cursor"]) == (step, "model", None)
    times = {row["at"] for row in series["data"]}
    assert min(times) >= series["start"]
    assert max(times) < series["end"]
    span = {"start": series["start"], "end": series["end"]}
    assert _seconds(series["end"]) - _seconds(series["start"]) == points * step
    assert all(_seconds(at) % step == 0 for at in (*times, *span.values()))
    table = (await control.get("/usage", params=span)).json()["data"]
    assert len(table) >= 2
    for row in table:
        parts = [point for point in series["data"] if point["group"] == row["group"]]
        assert {key: sum(part[key] for part in parts) for key in SUMS} == {key: row[key] for key in SUMS}


def _seconds(at: str) -> int:
    return read_span(10**15, range_=None, start=at, end=None).start_ms // 1000


async def test_series_take_a_span_and_a_step(control: Control) -> None:
    """A span is taken to the edges of the steps that hold it; without a step, one that shows it well is chosen."""
    asked = {"start": "2023-11-14T10:20:30Z", "end": "2023-11-14T12:00:01Z"}
    series = (await control.get("/usage/series", params=asked)).json()
    assert (series["step"], series["start"], series["end"]) == (300, "2023-11-14T10:20:00.000Z", "2023-11-14T12:05:00.000Z")
    series = (await control.get("/usage/series", params={**asked, "step": 86400})).json()
    assert (series["start"], series["end"]) == ("2023-11-14T00:00:00.000Z", "2023-11-15T00:00:00.000Z")
    long = (await control.get("/usage/series", params={"start": "2023-01-01T00:00:00Z"})).json()
    assert long["step"] == 86_400


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"step": "60"}, "step"),
        ({"step": "x"}, "step"),
        ({"range": "30d", "step": "300"}, "step"),
        ({"start": "0", "end": "253402300799"}, "step"),
        ({"range": "3h", "end": "5"}, "range"),
        ({"format": "xml"}, "format"),
    ],
)
async def test_bad_series_are_400(control: Control, params: dict[str, str], param: str) -> None:
    """What is no step, or would be over a thousand of them, is a 400 that names the parameter."""
    reply = await control.get("/usage/series", params=params)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


async def test_the_last_day_of_the_calendar_has_steps(control: Control) -> None:
    """A span at the very end of the calendar is answered, though its last step ends behind it."""
    asked = {"start": "9999-12-31T00:00:00Z", "end": "9999-12-31T23:59:59Z"}
    assert (await control.get("/usage/series", params=asked)).json()["end"].startswith("9999-12-31T23:59:59.")


async def test_of_many_groups_the_largest_are_told_apart(control: Control) -> None:
    """Over time a hundred groups are told apart; the others are one, so that an answer is bounded and yet complete."""
    calls = [entry(str(n), NOW - HOUR, model=f"m{n:03}", input_tokens=n) for n in range(103)]
    await fill(control.services.engine, *calls)
    series = (await control.get("/usage/series")).json()["data"]
    assert len(series) == 101
    assert [row["calls"] for row in series if row["group"] is None] == [3]
    assert sum(row["input_tokens"] for row in series) == sum(range(103))


def _caller(*memberships: Membership) -> Caller:
    return Caller(Identity("usr-1", "a@example.com", "A", memberships))


@pytest.mark.parametrize(
    ("held", "calls"),
    [
        ([], 0),
        ([Membership(Role.VIEWER, Place("acc-a", "llm-a"))], 1),
        ([Membership(Role.VIEWER, Place("acc-a"))], 2),
        ([Membership(Role.OWNER, Place("acc-a"))], 2),
        ([Membership(Role.MEMBER, Place("acc-a", "llm-b")), Membership(Role.ADMIN, Place("acc-b", "llm-c"))], 2),
        ([Membership(Role.OPERATOR, Place())], 3),
    ],
)
async def test_everybody_sees_only_their_own(control: Control, held: list[Membership], calls: int) -> None:
    """What is summed is what the caller may see; the ID of somebody else's workspace gives nothing, not an error."""
    engine = control.services.engine
    places = (("acc-a", "llm-a"), ("acc-a", "llm-b"), ("acc-b", "llm-c"))
    for account, workspace in places:
        await fill(engine, entry(workspace, NOW - HOUR, account_id=account, workspace_id=workspace))
        await refuse(engine, NOW - HOUR, account_id=account, workspace_id=workspace)
    caller, span = _caller(*held), Span(NOW - 2 * HOUR, NOW)
    found = await find(control.services, caller, span, Wanted())
    assert (found.total.calls, found.total.refused) == (calls, calls)
    series = await over_time(control.services, caller, span, HOUR, Wanted(group_by="workspace"))
    assert sum(point.calls for point in series.points) == sum(point.refused for point in series.points) == calls
    seen = caller.identity.visible()
    for account, workspace in places:
        one = (await find(control.services, caller, span, Wanted(workspace_id=workspace))).total.calls
        assert one == (seen.everything or account in seen.accounts or workspace in seen.workspaces)
