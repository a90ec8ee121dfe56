"""What upstreams list themselves, read from real sockets."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.domain.upstreams import Upstream
from gateway.upstream.client import HttpClient
from gateway.upstream.directory import Directory
from gateway.upstream.listing import MAX_BYTES, MAX_NAMES, ListingRefused, Listings, names_in
from tests.upstream.raw_upstream import Call, RawUpstream, raw_upstream, unused_port


def listed(*names: object) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]}).encode()


class Lister:
    """An upstream with a list of models that a test can change, spoil or delay."""

    def __init__(self, *names: str) -> None:
        self.body = listed(*names)
        self.status = b"200 OK"
        self.release = asyncio.Event()
        self.release.set()

    async def __call__(self, call: Call) -> None:
        await self.release.wait()
        await call.reply(self.body, status=self.status)


class Setting:
    """One upstream with `*`, its directory and its listings, with a clock of the test's."""

    def __init__(self, server: RawUpstream, directory: Directory, listings: Listings) -> None:
        self.server = server
        self.directory = directory
        self.listings = listings
        self.now = 0.0

    def names(self) -> set[str]:
        return set(self.directory.served)

    def error(self) -> str | None:
        return self.directory.states()[0].last_error


@asynccontextmanager
async def setting(lister: Lister, **settings: Any) -> AsyncIterator[Setting]:
    async def nothing_stored() -> list[Upstream]:
        return []

    async with raw_upstream(lister) as server:
        http = HttpClient()
        directory = Directory([server.upstream(lists_models=True, api_key="secret")], nothing_stored)
        listings = Listings(directory, http, clock=lambda: made.now, **settings)
        made = Setting(server, directory, listings)
        try:
            yield made
        finally:
            await listings.close()
            await listings.close()
            await http.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_list_is_read_with_the_credential() -> None:
    """The upstream is asked for its models as its own client would ask."""
    async with setting(Lister("a", "b")) as one:
        await one.listings.start()
        assert one.names() == {"a", "b"}
        request = one.server.requests[0]
        assert request.startswith(b"GET /v1/models HTTP/1.1\r\n")
        assert b"\r\nauthorization: Bearer secret\r\n" in request


async def test_names_appear_and_disappear_by_themselves() -> None:
    """The list is read again and again, and what it no longer names is no longer served."""
    lister = Lister("a", "b")
    async with setting(lister, interval=0.02) as one:
        await one.listings.start()
        assert one.names() == {"a", "b"}
        lister.body = listed("b", "c")
        await until(lambda: one.names() == {"b", "c"})


async def test_failed_read_keeps_the_list(caplog: pytest.LogCaptureFixture) -> None:
    """An upstream that cannot be asked keeps its last list; the fault is shown, logged once, and gone with the next success."""
    lister = Lister("a")
    async with setting(lister) as one:
        await one.listings.refresh()
        lister.status = b"500 Internal Server Error"
        with caplog.at_level(logging.WARNING):
            await one.listings.refresh()
            await one.listings.refresh()
        assert one.names() == {"a"}
        assert one.error() == "GET models was answered 500"
        assert len(caplog.records) == 1
        assert "secret" not in caplog.text
        lister.status = b"200 OK"
        await one.listings.refresh()
        assert one.error() is None


async def test_refused_connection_keeps_the_list() -> None:
    """An upstream that is away is an error to show, never an exception to the caller."""

    async def nothing_stored() -> list[Upstream]:
        return []

    gone = Upstream(id="u", name="u", base_url=f"http://127.0.0.1:{unused_port()}", lists_models=True)
    directory = Directory([gone], nothing_stored)
    http = HttpClient()
    listings = Listings(directory, http)
    await listings.start()
    await listings.discover("a")
    assert directory.served == {}
    assert "Connect call failed" in (directory.states()[0].last_error or "")
    await listings.close()
    await http.close()


async def test_start_does_not_wait_for_a_slow_upstream() -> None:
    """Start-up goes on without a list that does not come, and takes it when it does."""
    lister = Lister("a")
    lister.release.clear()
    async with setting(lister) as one:
        await one.listings.start(wait=0.05)
        assert one.names() == set()
        lister.release.set()
        await until(lambda: one.names() == {"a"})


async def test_read_has_a_deadline() -> None:
    """A list that never comes is given up, and the upstream can be asked again."""
    lister = Lister("a")
    lister.release.clear()
    async with setting(lister, timeout=0.1) as one:
        await one.listings.refresh()
        assert "did not come" in (one.error() or "")
        lister.release.set()
        await one.listings.refresh()
        assert one.names() == {"a"}


async def test_unknown_name_is_looked_for_at_once() -> None:
    """A name that the upstream lists since the last read is found without waiting for the next minute."""
    lister = Lister("a")
    async with setting(lister) as one:
        await one.listings.refresh()
        lister.body = listed("a", "new")
        await one.listings.discover("new")
        assert one.names() == {"a", "new"}


async def test_discovery_is_single_flight() -> None:
    """A hundred calls for unknown names at once cost the upstream one request."""
    lister = Lister("a")
    async with setting(lister) as one:
        lister.release.clear()
        calls = [asyncio.create_task(one.listings.discover(f"unknown-{number % 10}")) for number in range(100)]
        await one.server.asked.wait()
        lister.release.set()
        await asyncio.gather(*calls)
        assert len(one.server.requests) == 1


async def test_discovery_is_throttled() -> None:
    """Unknown names, one after the other, cost an upstream one request in five seconds, whether it answers or not."""
    lister = Lister("a")
    lister.status = b"500 Internal Server Error"
    async with setting(lister) as one:
        for number in range(20):
            await one.listings.discover(f"unknown-{number}")
        assert len(one.server.requests) == 1
        one.now += 4.9
        await one.listings.discover("unknown")
        assert len(one.server.requests) == 1
        one.now += 0.2
        await one.listings.discover("unknown")
        assert len(one.server.requests) == 2


@pytest.mark.parametrize("name", ["", "x" * 256, "line\nbreak", "\udc80"])
async def test_impossible_names_are_not_looked_for(name: str) -> None:
    """A name that no list could hold costs no request."""
    async with setting(Lister("a")) as one:
        await one.listings.discover(name)
        assert one.server.requests == []


async def test_cancelled_discovery_takes_nobody_along() -> None:
    """A caller that leaves does not end the read that others wait for."""
    lister = Lister("a")
    lister.release.clear()
    async with setting(lister) as one:
        leaving = asyncio.create_task(one.listings.discover("a"))
        staying = asyncio.create_task(one.listings.discover("a"))
        await one.server.asked.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        lister.release.set()
        await staying
        assert one.names() == {"a"}


async def test_discovery_does_not_wait_for_the_slowest() -> None:
    """Once one upstream lists the name, an upstream that hangs holds nobody."""

    async def nothing_stored() -> list[Upstream]:
        return []

    hanging = Lister()
    hanging.release.clear()
    async with raw_upstream(hanging) as slow, raw_upstream(Lister("a")) as quick:
        upstreams = [slow.upstream(lists_models=True), quick.upstream(id="up-2", lists_models=True)]
        directory = Directory(upstreams, nothing_stored)
        http = HttpClient()
        listings = Listings(directory, http)
        await asyncio.wait_for(listings.discover("a"), 5)
        assert set(directory.served) == {"a"}
        await listings.close()
        await http.close()


async def test_upstream_that_is_added_is_read_at_once() -> None:
    """The list of an upstream that a reload brings is read without waiting for the next minute."""
    stored: list[Upstream] = []

    async def read() -> list[Upstream]:
        return list(stored)

    async with raw_upstream(Lister("a")) as server:
        directory = Directory([], read)
        http = HttpClient()
        listings = Listings(directory, http)
        await listings.start()
        stored.append(server.upstream(lists_models=True))
        await directory.reload()
        await until(lambda: "a" in directory.served)
        assert len(server.requests) == 1
        await listings.close()
        await http.close()


async def test_disabled_upstream_is_not_asked() -> None:
    """Neither the minute nor an unknown name sends a request to a disabled upstream."""

    async def nothing_stored() -> list[Upstream]:
        return []

    async with raw_upstream(Lister("a")) as server:
        directory = Directory([server.upstream(lists_models=True, enabled=False)], nothing_stored)
        http = HttpClient()
        listings = Listings(directory, http)
        await listings.start()
        await listings.discover("a")
        assert server.requests == []
        await listings.close()
        await http.close()


# Replies that are no lists


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b'{"data": [',
        b"[]",
        b"null",
        b"{}",
        b'{"data": {}}',
        b'{"data": ["name"]}',
        b'{"data": [{"id": "\xff"}]}',
        b'{"data": ' + b"[" * 100_000,
        b'{"data": [{"id": ' + b"[" * 100_000,
        listed(*map(str, range(MAX_NAMES + 1))),
    ],
)
def test_what_is_no_list_is_refused(body: bytes) -> None:
    """A reply that is not a list of models, or too long a one, is refused as a whole and raises nothing else."""
    with pytest.raises(ListingRefused):
        names_in(body)


def test_names_that_cannot_be_are_left_out() -> None:
    """A name of another type, empty, too long or not printable is left out, the others stay; a repeated one counts once."""
    body = listed("a", 1, None, ["b"], {"id": "c"}, "", "x" * 256, "x" * 255, "line\nbreak", "org/model:free", "ü", "a")
    assert names_in(body) == ("a", "x" * 255, "org/model:free", "ü")
    assert names_in(b'{"data": [{"id": "a"}, {}]}') == ("a",)
    assert len(names_in(listed(*map(str, range(MAX_NAMES))))) == MAX_NAMES


async def test_huge_reply_is_cut_off() -> None:
    """A list without end is given up at the bound, and its connection broken; the last list stays."""
    lister = Lister("a")
    async with setting(lister) as one:
        await one.listings.refresh()
        lister.body = b" " * MAX_BYTES + listed("b")
        await one.listings.refresh()
        assert one.names() == {"a"}
        assert "larger than" in (one.error() or "")
        lister.body = listed("b")
        await one.listings.refresh()
        assert one.names() == {"b"}
