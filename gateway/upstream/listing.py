"""What upstreams list themselves: for those with `*`, `GET models` is read anew each minute, and once on an unknown name."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from gateway.domain.faults import UpstreamFault
from gateway.domain.upstreams import Headers, Upstream, is_model_name
from gateway.upstream.client import HttpClient
from gateway.upstream.directory import Directory

MAX_BYTES = 4 * 1024 * 1024
MAX_NAMES = 10_000

_HEADERS: Headers = [(b"accept", b"application/json"), (b"accept-encoding", b"identity")]
_OK = 200
_JITTER = 0.1  # a pause between reads is up to this part shorter or longer

_log = logging.getLogger(__name__)


class _Listed(msgspec.Struct):
    id: Any = None


class _Reply(msgspec.Struct):
    data: list[_Listed]


class ListingRefused(Exception):  # noqa: N818 — says what was done with the reply
    """A reply to `GET models` that cannot be taken as a list of models."""


def names_in(body: bytes) -> tuple[str, ...]:
    """The names of a list of models in OpenAI's form, each once, in order; entries without a usable name are left out.

    Raises ListingRefused for what is no such list, or too long a one.
    """
    try:
        listed = msgspec.json.decode(body, type=_Reply).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ListingRefused("the list of models is not of the form that OpenAI's API has") from None
    if len(listed) > MAX_NAMES:
        raise ListingRefused(f"the list of models has {len(listed):,} entries; at most {MAX_NAMES:,} are taken")
    return tuple(dict.fromkeys(one.id for one in listed if isinstance(one.id, str) and is_model_name(one.id)))


class Listings:
    """Keeps the directory's listed names fresh.

    Times in seconds: `interval` lies between reads, `forced` at least between two reads of one upstream that unknown names
    cause, so that unknown names cannot be used to flood an upstream; `timeout` bounds one read.
    """

    def __init__(
        self,
        directory: Directory,
        client: HttpClient,
        *,
        interval: float = 60.0,
        forced: float = 5.0,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._directory = directory
        self._client = client
        self._interval = interval
        self._forced = forced
        self._timeout = timeout
        self._clock = clock
        self._chance = chance
        self._reading: dict[tuple[str, str, str | None], asyncio.Task[None]] = {}
        self._forced_at: dict[str, float] = {}
        self._failing: set[str] = set()
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        directory.on_reload(self._wake.set)

    async def start(self, wait: float = 3.0) -> None:
        """Read all lists, waiting at most `wait` seconds for them, and go on reading in the background until `close`."""
        first = asyncio.Event()
        self._loop = asyncio.create_task(self._keep_reading(first))
        with suppress(TimeoutError):
            await asyncio.wait_for(first.wait(), wait)

    async def close(self) -> None:
        """Stop reading. Closing twice is harmless."""
        tasks = [*self._reading.values(), *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _keep_reading(self, first: asyncio.Event) -> None:
        await self.refresh()
        first.set()
        while True:
            due = asyncio.get_running_loop().time() + self._interval * (1 + _JITTER * (2 * self._chance() - 1))
            while await self._woken_before(due):
                await self._read_all([one for one in self._directory.listing() if self._directory.listed(one.id) is None])
            await self.refresh()

    async def _woken_before(self, due: float) -> bool:
        """Wait for a reload of the directory: whether one came before `due`, a time of the event loop's clock."""
        try:
            async with asyncio.timeout_at(due):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def refresh(self) -> None:
        """Read the list of every upstream that has one."""
        await self._read_all(self._directory.listing())

    async def _read_all(self, upstreams: list[Upstream]) -> None:
        if upstreams:
            await asyncio.wait([self._read(upstream) for upstream in upstreams])

    async def discover(self, name: str) -> None:
        """Look for an unknown name: read the lists once more, as far as the bound on forced reads allows.

        Returns as soon as the name is served, or when every list is read. Calls at the same time share the reads.
        """
        if not is_model_name(name):
            return
        pending = {task for upstream in self._directory.listing() if (task := self._forced_read(upstream)) is not None}
        while pending and name not in self._directory.served:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    def _forced_read(self, upstream: Upstream) -> asyncio.Task[None] | None:
        """The read under way, or a new one if the last that was forced lies long enough back."""
        if (task := self._reading.get(_key(upstream))) is not None:
            return task
        now = self._clock()
        if now - self._forced_at.get(upstream.id, -math.inf) < self._forced:
            return None
        self._forced_at[upstream.id] = now
        return self._read(upstream)

    def _read(self, upstream: Upstream) -> asyncio.Task[None]:
        """The read of an upstream's list: the one under way, or a new one."""
        key = _key(upstream)
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read_one(upstream))
            task.add_done_callback(lambda _: self._reading.pop(key, None))
        return task

    async def _read_one(self, upstream: Upstream) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                names = await self._names(upstream)
        except TimeoutError:
            self._failed(upstream, f"the list of models did not come within {self._timeout:g} s")
        except (UpstreamFault, ListingRefused) as error:
            self._failed(upstream, str(error))
        else:
            self._failing.discard(upstream.id)
            self._directory.listed_now(upstream, names)

    async def _names(self, upstream: Upstream) -> tuple[str, ...]:
        reply = await self._client.send(upstream, "/models", _HEADERS, b"", method="GET")
        try:
            if reply.status != _OK:
                raise ListingRefused(f"GET models was answered {reply.status}")
            body = bytearray()
            while chunk := await reply.chunk():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ListingRefused(f"the list of models is larger than {MAX_BYTES:,} bytes")
            return names_in(bytes(body))
        finally:
            await reply.close()

    def _failed(self, upstream: Upstream, error: str) -> None:
        if upstream.id not in self._failing:
            self._failing.add(upstream.id)
            _log.warning("upstream %s: its models cannot be read, the last list stays: %s", upstream.name, error)
        self._directory.listing_failed(upstream, error)


def _key(upstream: Upstream) -> tuple[str, str, str | None]:
    return upstream.id, upstream.base_url, upstream.api_key
