"""The live view as a stream of events: bounded, no longer than somebody may see it, and never in the way of a process's end."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.control.streams import Shared, Streams
from gateway.domain.faults import StorageUnavailable
from gateway.storage.sql import sessions
from gateway.storage.sql.engine import reading
from tests.control.admin_api import Control
from tests.control.live_world import Live, begin
from tests.control.people_world import OPERATOR, Person, add_person, add_workspace, browser, held, owner
from tests.support.gateway_process import ADMIN_TOKEN, GatewayProcess

EVENTS = {"accept": "text/event-stream"}


@pytest.fixture
async def live(control: Control) -> Live:
    return begin(control)


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a reply, with what they carry."""
    found = [dict(line.split(": ", 1) for line in part.splitlines() if ": " in line) for part in text.split("\n\n")]
    return [(each["event"], json.loads(each["data"])) for each in found if "event" in each]


async def watch(live: Live, person: Person | None = None) -> httpx2.Response:
    """The whole reply of a stream, once it has ended."""
    path = f"/admin/v1/accounts/{live.control.account_id}/live/events"
    if person is None:
        return await live.control.http.get(path, headers=EVENTS)
    async with browser(live.control, person) as page:
        return await page.get(path, headers=EVENTS)


async def until_open(streams: Streams, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while len(streams) != count:
            await asyncio.sleep(0.01)


async def test_events_carry_what_a_plain_request_answers(live: Live) -> None:
    """A stream says when to come back, and brings at once, and then again and again, the same JSON as the address without it."""
    streams = live.stream(longest_seconds=0.1)
    await live.calls(live.control.workspace_id, "ak-1")
    reply = await watch(live)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (reply.headers["cache-control"], reply.headers["x-accel-buffering"]) == ("no-store", "no")
    assert reply.text.startswith("retry: 2000\n\nevent: live\ndata: {")
    found = events(reply.text)
    assert len(found) > 2
    assert found == [("live", await live.read())] * len(found)
    assert len(streams) == 0


async def test_a_stream_ends_with_its_session(live: Live) -> None:
    """Whoever signs out, or is signed out, sees no more from then on; the last event says that it is so."""
    streams = live.stream()
    person = await add_person(live.control, owner(live.control.account_id))
    stream = asyncio.create_task(watch(live, person))
    await until_open(streams)
    async with browser(live.control, person) as page:
        assert (await page.send("DELETE", f"/me/sessions/{person.session_id}")).status_code == 204
    async with asyncio.timeout(2):
        name, ended = events((await stream).text)[-1]
    assert (name, ended["status"]) == ("ended", 401)


async def test_a_stream_ends_with_its_right(live: Live) -> None:
    """Whoever loses their last role in the account sees no more of it from then on."""
    streams = live.stream()
    account = live.control.account_id
    team = await add_workspace(live.control, account)
    person = await add_person(live.control, held("viewer", account, team))
    stream = asyncio.create_task(watch(live, person))
    await until_open(streams)
    assert (await live.control.delete(f"/members/{person.id}?workspace_id={team}")).status_code == 204
    async with asyncio.timeout(2):
        name, ended = events((await stream).text)[-1]
    assert (name, ended["status"]) == ("ended", 404)


async def test_watching_is_no_use_of_a_session(live: Live) -> None:
    """A page that is left open does not keep its session alive; whatever somebody does there does."""
    person = await add_person(live.control, OPERATOR)

    async def seen_at() -> int:
        async with reading(live.control.services.engine) as conn:
            [row] = await sessions.of_user(conn, person.id, alive_since=0, seen_since=0)
        return row.seen_at

    before = await seen_at()
    live.stream(longest_seconds=0.05)
    live.control.clock.now += 120_000
    assert len(events((await watch(live, person)).text)) > 1
    assert await seen_at() == before
    async with browser(live.control, person) as page:
        assert (await page.get(f"/admin/v1/accounts/{live.control.account_id}/live")).status_code == 200
    assert await seen_at() == live.control.clock.now


async def test_a_database_that_is_away_ends_no_stream(live: Live) -> None:
    """While the database cannot be asked a stream stays open, with a sign of life, and goes on when it can."""

    class Flaky(Shared):
        looks = 0

        async def get(self, *args: Any) -> Any:
            self.looks += 1
            if self.looks == 2:
                raise StorageUnavailable
            return await super().get(*args)

    live.stream(longest_seconds=0.1)
    live._replace(live=Flaky(0.0))
    text = (await watch(live)).text
    parts = text.strip().split("\n\n")
    assert parts[2] == ": the database cannot be reached"
    assert len(events(text)) > 1
    assert parts[-1].startswith("event: live")


async def test_streams_are_bounded(live: Live) -> None:
    """One person cannot take all places, all together not more than there are, and each place is free again afterwards."""
    streams = live.stream(most=3, most_each=2)
    one, two = [await add_person(live.control, OPERATOR) for _ in range(2)]
    open_ones = [asyncio.create_task(watch(live, one)) for _ in range(2)]
    await until_open(streams, 2)
    refused = await watch(live, one)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ServiceUnavailable")
    assert "2 streams" in refused.json()["detail"]
    open_ones.append(asyncio.create_task(watch(live, two)))
    await until_open(streams, 3)
    assert "(3)" in (await watch(live, two)).json()["detail"]
    for each in open_ones[:2]:
        each.cancel()
    await asyncio.gather(*open_ones[:2], return_exceptions=True)
    await until_open(streams, 1)
    streams.end()
    assert (await open_ones[2]).status_code == 200
    assert len(streams) == 0


async def test_a_process_that_ends_ends_its_streams(live: Live) -> None:
    """Once a process is about to end its streams end at once, however far the next event is, and it takes no new ones."""
    streams = live.stream(every_seconds=60.0, longest_seconds=600.0)
    stream = asyncio.create_task(watch(live))
    await until_open(streams)
    streams.end()
    async with asyncio.timeout(2):
        assert [name for name, _ in events((await stream).text)] == ["live"]
    reply = await watch(live)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


async def test_many_who_watch_ask_once() -> None:
    """However many ask within a second, the same is read once; who leaves takes it from nobody, and what failed is not kept."""
    shared, asked, hold = Shared(60.0), 0, asyncio.Event()

    async def read() -> int:
        nonlocal asked
        asked += 1
        await hold.wait()
        if asked == 2:
            raise StorageUnavailable
        return asked

    leaves, *stay = [asyncio.create_task(shared.get("a", read)) for _ in range(3)]
    await asyncio.sleep(0)
    leaves.cancel()
    hold.set()
    assert await asyncio.gather(*stay) == [1, 1]
    assert (await shared.get("a", read), asked) == (1, 1)
    with pytest.raises(StorageUnavailable):
        await shared.get("b", read)
    assert await shared.get("b", read) == 3


async def test_what_is_too_old_is_read_again() -> None:
    """An answer counts for a second, and one that takes longer is waited for rather than asked for twice."""
    shared, asked, hold = Shared(0.0), 0, asyncio.Event()

    async def read() -> int:
        nonlocal asked
        asked += 1
        await hold.wait()
        return asked

    first = asyncio.create_task(shared.get("a", read))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(shared.get("a", read))
    await asyncio.sleep(0.01)
    hold.set()
    assert (await first, await second) == (1, 1)
    assert await shared.get("a", read) == 2


def test_sigterm_is_not_held_up(tmp_path: Path) -> None:
    """A gateway that is told to stop ends its streams at once, so that watching people hold up no restart."""
    with GatewayProcess(tmp_path / "data") as gateway, httpx2.Client(base_url=gateway.address, timeout=30) as client:
        account = gateway.admin("GET", "/accounts")["data"][0]["id"]
        headers = {**EVENTS, "authorization": f"Bearer {ADMIN_TOKEN}"}
        with client.stream("GET", f"/admin/v1/accounts/{account}/live/events", headers=headers) as reply:
            lines = reply.iter_lines()
            while not next(lines).startswith("data: "):
                pass
            gateway.signal(signal.SIGTERM)
            told = time.monotonic()
            assert not [line for line in lines if line]
            assert time.monotonic() - told < 1.5
        assert gateway.wait(20) == 0
