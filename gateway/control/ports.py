"""What the admin API needs of the running gateway besides the database; `gateway/app.py` wires the real parts to it."""

from collections.abc import Sequence
from typing import Protocol

from gateway.domain import admission
from gateway.domain.buckets import Claim
from gateway.domain.faults import LimitsUnavailable
from gateway.domain.grants import Model
from gateway.domain.trials import Outcome, Trial
from gateway.domain.upstreams import Upstream


class Catalogue(Protocol):
    """The models there are: those that an operator stored, and those that upstreams serve."""

    def models(self) -> list[tuple[Model, str]]:
        """All models, by name, each with who serves it (`owned_by`)."""

    def model(self, name: str) -> Model | None: ...

    async def discover(self, name: str) -> Model | None:
        """Ask the upstreams that list their own models once more, for a name that is not known yet."""

    async def reload(self) -> None:
        """Read the stored part, and what the upstreams serve, anew. Raises `domain.faults.StorageUnavailable`."""


class UpstreamState(Protocol):
    """One upstream as this process sees it. `state` is `healthy`, `ejected` or `disabled`; `models` are the public names that it
    serves; `last_error` says what went wrong there last, without any secret.
    """

    @property
    def upstream(self) -> Upstream: ...

    @property
    def state(self) -> str: ...

    @property
    def models(self) -> Sequence[str]: ...

    @property
    def last_error(self) -> str | None: ...


class Upstreams(Protocol):
    """The way to the model servers, as far as managing them goes."""

    async def reload(self) -> None:
        """Read the stored upstreams anew and take them into use. Raises `domain.faults.StorageUnavailable`."""

    def states(self) -> Sequence[UpstreamState]:
        """Every upstream in use, those of settings and the demo included."""

    async def try_out(self, upstream: Upstream, trial: Trial) -> Outcome:
        """Make one small call there, bounded in time and size, which neither health nor usage counts."""


class Levels(Protocol):
    """Who keeps the buckets of limits."""

    async def levels(self, account_id: str, claims: Sequence[Claim]) -> admission.Levels:
        """How full the buckets of these claims are, all of one account, and how many of its calls are open.

        Raises `domain.faults.LimitsUnavailable` while nobody can tell.
        """


class NoLevels:
    """Where no calls are taken, as in a management command, nobody keeps buckets."""

    async def levels(self, account_id: str, claims: Sequence[Claim]) -> admission.Levels:
        raise LimitsUnavailable(f"nobody keeps the {len(claims)} buckets of {account_id} here")
