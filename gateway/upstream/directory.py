"""All upstreams, and which of them serves a model: the fixed ones of the settings and those of the database."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.domain.upstreams import Deployment, Upstream
from gateway.upstream.coalesce import Coalesced
from gateway.upstream.health import Health


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """An upstream as the admin API shows it: `models` are the public names it serves, explicit and listed, by name.

    `last_error` is what went wrong in the last call there, else in reading its list, until that goes well again.
    """

    upstream: Upstream
    state: Literal["healthy", "ejected", "disabled"]
    models: list[str]
    last_error: str | None


class Directory:
    """Upstreams by ID, and deployments by public model name.

    `read` gives the database's upstreams and raises `domain.faults.KeyStoreUnavailable`. Where an ID is in both, the fixed one
    counts. `chance` gives numbers from 0 to below 1.
    """

    def __init__(
        self,
        fixed: Sequence[Upstream],
        read: Callable[[], Awaitable[list[Upstream]]],
        *,
        health: Health | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._fixed = list(fixed)
        self._read = read
        self._health = health or Health()
        self._chance = chance
        self._upstreams: dict[str, Upstream] = {}
        self._listed: dict[str, tuple[str, ...]] = {}
        self._errors: dict[str, str] = {}
        self._listing_errors: dict[str, str] = {}
        self._served: Mapping[str, tuple[Deployment, ...]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._reload = Coalesced(self._read_all)
        self._replace(self._fixed)

    @property
    def served(self) -> Mapping[str, tuple[Deployment, ...]]:
        """The deployments of each public model name, of enabled upstreams, fixed ones first; never changed, only replaced."""
        return self._served

    def upstream(self, upstream_id: str) -> Upstream | None:
        return self._upstreams.get(upstream_id)

    def listing(self) -> list[Upstream]:
        """The enabled upstreams whose own list of models counts."""
        return [upstream for upstream in self._upstreams.values() if upstream.enabled and upstream.lists_models]

    def listed(self, upstream_id: str) -> tuple[str, ...] | None:
        """The names an upstream listed when it was last read; None if it never was."""
        return self._listed.get(upstream_id)

    @property
    def is_whole(self) -> bool:
        """Whether every upstream whose own list counts has been read at least once, so that an unknown name is served by none."""
        return all(upstream.id in self._listed for upstream in self.listing())

    def on_reload(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every reload."""
        self._listeners.append(listener)

    async def reload(self) -> None:
        """Read the database's upstreams; returns once a read that began after this call is in use.

        Raises `domain.faults.KeyStoreUnavailable`; then what was known stays.
        """
        await self._reload()

    async def _read_all(self) -> None:
        fixed = {upstream.id for upstream in self._fixed}
        stored = [upstream for upstream in await self._read() if upstream.id not in fixed]
        self._replace(self._fixed + stored)
        for listener in self._listeners:
            listener()

    def _replace(self, upstreams: Sequence[Upstream]) -> None:
        new = {upstream.id: upstream for upstream in upstreams}
        for upstream_id, old in self._upstreams.items():
            if upstream_id not in new or _server(new[upstream_id]) != _server(old):
                self._health.forget(upstream_id)
                self._listed.pop(upstream_id, None)
                self._errors.pop(upstream_id, None)
                self._listing_errors.pop(upstream_id, None)
        self._upstreams = new
        self._rebuild()

    def listed_now(self, upstream: Upstream, names: tuple[str, ...]) -> None:
        """Take the names that `upstream` lists, unless it was changed while it was asked."""
        if not self._is_same(upstream):
            return
        self._listing_errors.pop(upstream.id, None)
        if self._listed.get(upstream.id) != names:
            self._listed[upstream.id] = names
            self._rebuild()

    def listing_failed(self, upstream: Upstream, error: str) -> None:
        """Keep why `upstream` could not be asked for its list, to be shown; the last list stays."""
        if self._is_same(upstream):
            self._listing_errors[upstream.id] = error

    def _is_same(self, upstream: Upstream) -> bool:
        current = self._upstreams.get(upstream.id)
        return current is not None and _server(current) == _server(upstream)

    def _rebuild(self) -> None:
        served: dict[str, list[Deployment]] = {}
        for upstream in self._upstreams.values():
            if upstream.enabled:
                for public, own in self._names(upstream).items():
                    served.setdefault(public, []).append(
                        Deployment(
                            upstream_id=upstream.id,
                            upstream_name=upstream.name,
                            model=public,
                            upstream_model=own,
                            base_url=upstream.base_url,
                            weight=upstream.weight,
                        )
                    )
        self._served = {model: tuple(deployments) for model, deployments in served.items()}

    def _names(self, upstream: Upstream) -> dict[str, str]:
        """Public names and the upstream's own: what it lists, and over that what the settings say."""
        listed = self._listed.get(upstream.id, ()) if upstream.lists_models else ()
        return {name: name for name in listed} | dict(upstream.models)

    def choose(self, model: str, tried: Sequence[Deployment]) -> Deployment | None:
        """A healthy deployment of the model that was not tried yet, drawn by weight; None if there is none.

        A weight of 0 is drawn only where nothing else is left.
        """
        deployments = self._served.get(model, ())
        if self._health.calm and not tried:
            return self._draw(deployments) if len(deployments) > 1 else deployments[0] if deployments else None
        open_ = [one for one in deployments if one not in tried and self._health.admits(one.upstream_id)]
        if not open_:
            return None
        chosen = open_[0] if len(open_) == 1 else self._draw(open_)
        self._health.chosen(chosen.upstream_id)
        return chosen

    def _draw(self, deployments: Sequence[Deployment]) -> Deployment:
        point = self._chance() * sum(deployment.weight for deployment in deployments)
        for deployment in deployments:
            point -= deployment.weight
            if point < 0:
                return deployment
        return deployments[-1]

    def report(self, deployment: Deployment, *, healthy: bool) -> None:
        """What a call met there: failures in a row eject the upstream for a while."""
        if healthy and self._health.calm and not self._errors:
            return
        if deployment.upstream_id in self._upstreams:
            self._health.report(deployment.upstream_id, healthy=healthy)
            if healthy and not self._health.ejected(deployment.upstream_id):
                self._errors.pop(deployment.upstream_id, None)

    def call_failed(self, upstream: Upstream, error: str) -> None:
        """Keep what a call met, to be shown; what counts for health comes by `report`."""
        if self._is_same(upstream):
            self._errors[upstream.id] = error

    def states(self) -> list[UpstreamState]:
        """Every upstream with how it is, fixed ones first."""
        return [
            UpstreamState(
                upstream=upstream,
                state=self._state(upstream),
                models=sorted(self._names(upstream)),
                last_error=self._errors.get(upstream.id) or self._listing_errors.get(upstream.id),
            )
            for upstream in self._upstreams.values()
        ]

    def _state(self, upstream: Upstream) -> Literal["healthy", "ejected", "disabled"]:
        if not upstream.enabled:
            return "disabled"
        return "ejected" if self._health.ejected(upstream.id) else "healthy"


def _server(upstream: Upstream) -> tuple[str, str | None]:
    """What makes it the same server as before: health and listed names belong to this, not to the ID."""
    return upstream.base_url, upstream.api_key
