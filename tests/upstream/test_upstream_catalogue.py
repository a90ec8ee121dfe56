"""The catalogue: stored models and served names, as the data plane sees them."""

import asyncio

import pytest

from gateway.domain.faults import KeyStoreUnavailable
from gateway.domain.grants import Limits, Model
from gateway.domain.upstreams import Upstream
from gateway.upstream.catalogue import Catalogue
from gateway.upstream.client import HttpClient
from gateway.upstream.directory import Directory
from gateway.upstream.listing import Listings
from tests.upstream.raw_upstream import Call, raw_upstream

STORED = Model("stored", type="chat", vendor="acme", limits=Limits(rpm=10))
SERVED = Upstream(id="up-1", name="demo", base_url="http://h/v1", models={"stored": "s", "served": "x"}, source="demo")


class Store:
    """The stored part, with its version; `release` holds a read back."""

    def __init__(self, version: int = 1, *models: Model) -> None:
        self.version = version
        self.models = {model.name: model for model in models}
        self.reads = 0
        self.away = False
        self.release = asyncio.Event()
        self.release.set()

    async def read(self) -> tuple[int, dict[str, Model]]:
        self.reads += 1
        answer = self.version, dict(self.models)
        await self.release.wait()
        if self.away:
            raise KeyStoreUnavailable("away")
        return answer


async def nothing_stored() -> list[Upstream]:
    return []


def catalogue(store: Store, *upstreams: Upstream) -> Catalogue:
    directory = Directory(upstreams, nothing_stored)
    return Catalogue(store.read, directory, Listings(directory, HttpClient()))


async def test_stored_and_served_models_are_one_catalogue() -> None:
    """A stored model keeps its limits and type, a served one is known by its name, and nobody's model is a model still."""
    which = catalogue(Store(1, STORED, Model("nobody's")), SERVED)
    await which.reload()
    assert which.model("stored") is STORED
    assert which.model("served") == Model("served")
    assert which.model("nobody's") == Model("nobody's")
    assert which.model("unknown") is None
    assert which.models() == [(Model("nobody's"), "unknown"), (Model("served"), "demo"), (STORED, "acme")]


async def test_models_served_before_the_store_is_read() -> None:
    """What the settings name is served from the first moment."""
    assert catalogue(Store(), SERVED).model("served") == Model("served")


async def test_catalogue_follows_the_directory() -> None:
    """A name that an upstream begins or ceases to list is in the next look-up, or not."""
    directory = Directory([Upstream(id="up-1", name="one", base_url="http://h", lists_models=True)], nothing_stored)
    which = Catalogue(Store().read, directory, Listings(directory, HttpClient()))
    assert which.models() == []
    directory.listed_now(directory.listing()[0], ("a",))
    assert which.model("a") == Model("a")
    assert which.models() == [(Model("a"), "one")]
    directory.listed_now(directory.listing()[0], ("b",))
    assert (which.model("a"), which.model("b")) == (None, Model("b"))


async def test_models_belong_to_the_caller() -> None:
    """Whoever changes the list that they were given changes nothing here."""
    which = catalogue(Store(), SERVED)
    which.models().clear()
    assert len(which.models()) == 2


async def test_at_least_reads_only_when_it_must() -> None:
    """A version that is there costs no read; a newer one is read, and then is there."""
    store = Store(3)
    which = catalogue(store)
    await which.at_least(0)
    await which.at_least(3)
    assert store.reads == 1
    store.version, store.models = 4, {"stored": STORED}
    await which.at_least(4)
    assert (store.reads, which.model("stored")) == (2, STORED)


async def test_at_least_shares_only_reads_not_yet_sent() -> None:
    """Callers share a read, but one who needs a newer version than the read under way can bring waits for the next."""
    store = Store(1)
    which = catalogue(store)
    store.release.clear()
    early = asyncio.create_task(which.at_least(1))
    await asyncio.sleep(0.01)
    store.version, store.models = 2, {"stored": STORED}
    late = [asyncio.create_task(which.at_least(2)) for _ in range(50)]
    await asyncio.sleep(0.01)
    store.release.set()
    await asyncio.gather(early, *late)
    assert store.reads == 2
    assert which.model("stored") is STORED


async def test_at_least_never_gives_less() -> None:
    """With the store away, or older than what is asked for, the caller is told, and what was known stays."""
    store = Store(1, STORED)
    which = catalogue(store)
    await which.at_least(1)
    with pytest.raises(KeyStoreUnavailable):
        await which.at_least(2)
    store.away = True
    with pytest.raises(KeyStoreUnavailable):
        await which.at_least(2)
    with pytest.raises(KeyStoreUnavailable):
        await which.reload()
    await which.at_least(1)
    assert which.model("stored") is STORED


async def test_discover_asks_the_upstreams_for_unknown_names_only() -> None:
    """A known name costs nothing, one that is listed since is found, and one that is not listed is None."""

    async def lists(call: Call) -> None:
        await call.reply(b'{"data": [{"id": "new"}]}')

    async with raw_upstream(lists) as server:
        directory = Directory([server.upstream(models={"known": "k"}, lists_models=True)], nothing_stored)
        http = HttpClient()
        which = Catalogue(Store().read, directory, Listings(directory, http))
        assert await which.discover("known") == Model("known")
        assert server.requests == []
        assert await which.discover("new") == Model("new")
        assert await which.discover("unknown") is None
        assert len(server.requests) == 1
        await http.close()


async def test_whole_once_every_list_was_read() -> None:
    """Until each upstream that lists its own models was read once, an unknown name may still be one of theirs."""
    listing = [Upstream(id=name, name=name, base_url="http://h", lists_models=True) for name in ("one", "two")]
    directory = Directory([*listing, SERVED], nothing_stored)
    which = Catalogue(Store().read, directory, Listings(directory, HttpClient()))
    seen = [which.is_whole]
    for upstream, names in zip(listing, [(), ("a",)], strict=True):
        directory.listed_now(upstream, names)
        seen.append(which.is_whole)
    directory.listing_failed(listing[1], "away")
    seen.append(which.is_whole)
    assert seen == [False, False, True, True]
    assert catalogue(Store(), SERVED).is_whole
