"""The models there are: those stored, and those that an enabled upstream serves."""

from collections.abc import Awaitable, Callable, Mapping

from gateway.domain.faults import KeyStoreUnavailable
from gateway.domain.grants import Model
from gateway.domain.upstreams import Deployment
from gateway.upstream.coalesce import Coalesced
from gateway.upstream.directory import Directory
from gateway.upstream.listing import Listings

_NOBODY = "unknown"


class Catalogue:
    """The data plane's port of that name. Look-ups are one dictionary access; the dictionary is rebuilt when a part changed.

    `read` gives the stored models by name, with the version of the catalogue that they are, and raises
    `domain.faults.KeyStoreUnavailable`. A stored model stays in the catalogue when nobody serves it.
    """

    def __init__(
        self, read: Callable[[], Awaitable[tuple[int, dict[str, Model]]]], directory: Directory, listings: Listings
    ) -> None:
        self._read = read
        self._directory = directory
        self._listings = listings
        self._version = -1
        self._stored: dict[str, Model] = {}
        self._served: Mapping[str, tuple[Deployment, ...]] = {}
        self._models: dict[str, Model] = {}
        self._owners: list[tuple[Model, str]] | None = None
        self._reload = Coalesced(self._read_stored)

    async def at_least(self, version: int) -> None:
        """Return once the stored part is at least as new as `version`.

        Raises `domain.faults.KeyStoreUnavailable` if it cannot be read, or is older still when read after this call.
        """
        if self._version >= version:
            return
        await self._reload()
        if self._version < version:
            raise KeyStoreUnavailable(f"the catalogue is at version {self._version}, and {version} is asked for")

    async def reload(self) -> None:
        """Read the stored part anew. Raises `domain.faults.KeyStoreUnavailable`; then what was known stays."""
        await self._reload()

    async def _read_stored(self) -> None:
        self._version, self._stored = await self._read()
        self._rebuild()

    def model(self, name: str) -> Model | None:
        if self._served is not self._directory.served:
            self._rebuild()
        return self._models.get(name)

    async def discover(self, name: str) -> Model | None:
        """The model, after the upstreams that list their own were asked once more if it is not known."""
        known = self.model(name)
        if known is not None:
            return known
        await self._listings.discover(name)
        return self.model(name)

    @property
    def is_whole(self) -> bool:
        """Whether a name that is not here is known to be no model: no upstream's list is still to be read for the first time."""
        return self._directory.is_whole

    def models(self) -> list[tuple[Model, str]]:
        """All models by name, each with its vendor, or else the name of the first upstream that serves it."""
        if self._served is not self._directory.served:
            self._rebuild()
        if self._owners is None:
            self._owners = [(self._models[name], self._owner(self._models[name])) for name in sorted(self._models)]
        return list(self._owners)

    def _rebuild(self) -> None:
        self._served = self._directory.served
        self._models = {name: Model(name) for name in self._served} | self._stored
        self._owners = None

    def _owner(self, model: Model) -> str:
        if model.vendor:
            return model.vendor
        deployments = self._served.get(model.name)
        return deployments[0].upstream_name if deployments else _NOBODY
