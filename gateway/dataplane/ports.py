"""What the data plane needs of the world, as narrow protocols. `gateway/app.py` wires the real parts to them; nothing here
knows SQL, Redis, ASGI or an HTTP library.
"""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from gateway.domain.admission import Ask, Decision
from gateway.domain.grants import Model, Principal
from gateway.domain.ledger import Entry
from gateway.domain.upstreams import Deployment, Fields, Headers


class Exchange(Protocol):
    """One request and its reply, as a client sees them.

    `path` is as the client sent it, without the query; `fields` are the headers by name. `gone` says that the client has left;
    from then on every method raises ClientGone, and the task that serves the exchange is cancelled. `waited` is how many seconds
    the exchange waited for its client: for the rest of the body, and for it to take bytes. `started` is when the last of its
    headers came, or when its turn came on a connection that was not free, in `time.monotonic()` seconds.
    """

    method: str
    path: str
    headers: Headers
    gone: bool
    waited: float
    started: float

    @property
    def fields(self) -> Fields: ...

    async def body(self, hold: "Holding") -> bytes:
        """The whole body. Raises BodyTimeout past the deadline, and what `hold` raises."""

    async def start(self, status: int, headers: Headers) -> None: ...

    async def write(self, chunk: bytes) -> None:
        """Send a part of the body; returns when the client can take more (back-pressure)."""

    async def end(self) -> None: ...

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole reply at once, with its length: what `start`, `write` and `end` would do in turn."""

    def abort(self) -> None:
        """Break the connection, so that a reply cut short cannot look complete."""


class Holding(Protocol):
    """Who is asked before bytes of a body are kept."""

    def check(self, size: int) -> None:
        """Whether a body of `size` bytes may be kept. Raises BodyTooLarge, ServiceUnavailable."""

    def add(self, size: int) -> None:
        """Keep `size` more bytes. Raises as `check`."""


class ClientGone(Exception):  # noqa: N818 — an event, not a fault
    """The client has closed its connection."""


class KeyStore(Protocol):
    """Where principals are read."""

    async def principals(self, digests: Sequence[bytes]) -> dict[bytes, Principal]:
        """The principals of those digests that exist, each read in one statement with its account's epoch.

        Raises `domain.faults.KeyStoreUnavailable`.
        """


class Catalogue(Protocol):
    """The models there are, and who serves them."""

    async def at_least(self, version: int) -> None:
        """Return once the catalogue's stored part is at least as new as `version`."""

    def model(self, name: str) -> Model | None: ...

    async def discover(self, name: str) -> Model | None:
        """Ask the upstreams that list their own models once more, for a name that is not known yet."""

    @property
    def is_whole(self) -> bool:
        """Whether a name that is not here is known to be no model: no upstream has yet to list its own for the first time."""

    def models(self) -> list[tuple[Model, str]]:
        """All models, by name, each with who serves it (`owned_by`)."""


class Admissions(Protocol):
    """The store of limits and epochs."""

    async def admit(self, ask: Ask) -> Decision:
        """One atomic decision: epoch, then all claims or none. Reserves under `ask.call_id` if there are claims.

        Raises `domain.faults.StorageUnavailable`: then nobody knows whether something was reserved, until it is settled.
        """

    def settle(self, account_id: str, call_id: str, tokens: int) -> None:
        """Correct a reservation to the tokens really used; the second time for one call it does nothing."""

    async def renew(self, calls: Sequence[tuple[str, str, int]]) -> list[str]:
        """Push back the lease ends of open calls, given as (account ID, call ID, epoch).

        Answers the IDs of the calls whose epoch no longer holds. Raises `domain.faults.StorageUnavailable`.
        """


class Reply(Protocol):
    """An upstream's reply, its head read. Whoever gets one closes it, whatever happens; closing twice is harmless.

    `waited` is how many seconds were spent waiting for it: for a connection, its head, and each part of its body.
    """

    status: int
    headers: Headers

    @property
    def waited(self) -> float: ...

    @property
    def fields(self) -> Fields: ...

    def chunk(self) -> Awaitable[bytes]:
        """The next part of the body as it comes, empty at its end. Raises UpstreamFault when it breaks off, UpstreamTimedOut when
        it stalls.
        """

    async def close(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end."""


class Upstreams(Protocol):
    """The way to the model servers."""

    def choose(self, model: str, tried: Sequence[Deployment]) -> Deployment | None:
        """A healthy deployment of the model that was not tried yet, by weight; None if there is none."""

    async def send(self, deployment: Deployment, path: str, headers: Headers, body: bytes) -> Reply:
        """POST to the deployment with its own credential; `path` is relative to the base URL. Raises `faults.UpstreamFault`."""

    def report(self, deployment: Deployment, *, healthy: bool) -> None:
        """What a call met there: repeated failures eject a deployment for a while."""


class Refusals(Protocol):
    def count(self, at: int, caller: Principal, model: str, code: str) -> None:
        """One call that was refused before it was admitted, with the refusal's code. `at` is Unix time in milliseconds at its
        start; `model` is empty unless it is one of the catalogue. Never blocks, never raises.
        """


class Ledger(Protocol):
    def append(self, entry: Entry) -> None:
        """Take an entry; it is stored soon, once by call ID. Never blocks, never raises."""

    async def acknowledged(self) -> None:
        """Return once all that was appended so far is safe, whatever becomes of this process, or was counted as lost."""
