"""Step 1: from a bearer key to its principal, by the headers alone.

Principals are cached by the key's digest, together with the epoch that they were read at; whether that epoch still holds is
asked at admission, so an entry needs no time to live. Digests that the store does not hold are remembered for a few seconds.
Reads are gathered: one query runs at a time, and a caller joins only a read that has not been sent yet (admission.md, Epochs 2),
so that what it gets is never older than its own question.

When the store is away, cached keys go on and unknown keys get 503, never 401.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from typing import TypeVar

from gateway.dataplane.ports import Catalogue, KeyStore
from gateway.domain.credentials import KeyKind, digest, kind_of
from gateway.domain.errors import InvalidKey, NoKey, ServiceUnavailable
from gateway.domain.faults import KeyStoreUnavailable
from gateway.domain.grants import Principal
from gateway.domain.upstreams import Fields, Headers
from gateway.ops.batches import Batches

_log = logging.getLogger(__name__)
_RETRY_MS = 1000
_STANDARD = frozenset({KeyKind.STANDARD})
_Value = TypeVar("_Value")


def bearer(headers: Headers, kinds: frozenset[KeyKind]) -> str:
    """The well-formed key of one of `kinds` that the Authorization field carries. Raises NoKey, InvalidKey."""
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        raise NoKey
    scheme, _, credential = values[0].partition(b" ")
    text = credential.strip().decode("latin-1")
    if scheme.lower() != b"bearer" or not text:
        raise NoKey
    if len(values) > 1 or kind_of(text) not in kinds:
        raise InvalidKey("malformed, mistyped, or of another kind")
    return text


class Keys:
    """The key cache of this process."""

    def __init__(
        self,
        store: KeyStore,
        catalogue: Catalogue,
        *,
        pepper: bytes,
        max_keys: int,
        miss_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._pepper = pepper
        self._max_keys = max_keys
        self._miss_seconds = miss_seconds
        self._clock = clock
        self._known: dict[bytes, Principal] = {}
        self._tag = hashlib.blake2b(digest_size=16, key=secrets.token_bytes(32))
        self._digests: dict[bytes, bytes] = {}
        self._misses: dict[bytes, float] = {}
        self._asked: dict[bytes, asyncio.Future[Principal | None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self.batches = Batches("keys")
        self.hits = 0
        self.reads = 0
        self.evictions = 0

    @property
    def size(self) -> int:
        """Keys whose principals are cached."""
        return len(self._known)

    def digest_of(self, headers: Headers, fields: Fields) -> bytes:
        """The digest of the standard key that a request carries; `fields` are its headers by name. Raises NoKey, InvalidKey.

        A key that was seen before is known by a tag of its header field, under a secret that only this process has ever had: a
        sixth of the work of checking and digesting it anew, and no key is kept.
        """
        value = fields.get(b"authorization")
        if value is None or len(fields) != len(headers):  # some name is there twice
            return digest(bearer(headers, _STANDARD), self._pepper)
        tagged = self._tag.copy()
        tagged.update(value)
        tag = tagged.digest()
        known = self._digests.get(tag)
        if known is None:
            known = digest(bearer(headers, _STANDARD), self._pepper)
            _bounded(self._digests, self._max_keys)[tag] = known
        return known

    def known(self, key_digest: bytes) -> Principal | None:
        """The principal of a digest, if it is cached."""
        principal = self._known.get(key_digest)
        if principal is not None:
            self.hits += 1
        return principal

    async def find(self, key_digest: bytes) -> Principal:
        """The principal of a digest, from the cache or the store. Raises InvalidKey, ServiceUnavailable."""
        principal = self.known(key_digest)
        if principal is not None:
            return principal
        until = self._misses.get(key_digest)
        if until is not None:
            if self._clock() < until:
                raise InvalidKey("remembered as unknown")
            del self._misses[key_digest]
        return await self.read(key_digest)

    async def read(self, key_digest: bytes) -> Principal:
        """The principal as the store has it now, whatever is cached. Raises InvalidKey, ServiceUnavailable."""
        answer = self._asked.get(key_digest)
        if answer is None:
            answer = self._asked[key_digest] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all())
        try:
            principal = await asyncio.shield(answer)
        except KeyStoreUnavailable as error:
            raise ServiceUnavailable(f"key store: {error}", retry_after_ms=_RETRY_MS) from error
        if principal is None:
            raise InvalidKey("unknown key")
        return principal

    async def _read_all(self) -> None:
        """Send what is asked, batch after batch, until nothing is."""
        try:
            while self._asked:
                batch, self._asked = self._asked, {}
                self.reads += 1
                try:
                    begun = time.monotonic()
                    found = await self._store.principals(list(batch))
                    self.batches.done(len(batch), time.monotonic() - begun)
                    newest = max((principal.catalogue_version for principal in found.values()), default=0)
                    await self._catalogue.at_least(newest)
                except KeyStoreUnavailable as error:
                    _fail(batch, error)
                except Exception as error:  # noqa: BLE001 — whatever it is, those who wait for a key must get an answer
                    _log.exception("the key store failed in an unforeseen way")
                    _fail(batch, KeyStoreUnavailable(type(error).__name__))
                except BaseException:
                    _fail(batch | self._asked, KeyStoreUnavailable("the read was broken off"))
                    self._asked = {}
                    raise
                else:
                    self._keep(batch, found)
        finally:
            self._reading = None

    def _keep(self, batch: dict[bytes, asyncio.Future[Principal | None]], found: dict[bytes, Principal]) -> None:
        for key_digest, answer in batch.items():
            principal = found.get(key_digest)
            self._known.pop(key_digest, None)
            if principal is None:
                _bounded(self._misses, self._max_keys)[key_digest] = self._clock() + self._miss_seconds
            else:
                self._misses.pop(key_digest, None)
                if len(self._known) >= self._max_keys:
                    self.evictions += 1
                _bounded(self._known, self._max_keys)[key_digest] = principal
            if not answer.done():
                answer.set_result(principal)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _fail(batch: dict[bytes, asyncio.Future[Principal | None]], error: KeyStoreUnavailable) -> None:
    for answer in batch.values():
        if not answer.done():
            answer.set_exception(error)
            answer.exception()  # nobody may be left to read it


def _bounded(entries: dict[bytes, _Value], most: int) -> dict[bytes, _Value]:
    while len(entries) >= most:
        del entries[next(iter(entries))]  # the oldest read
    return entries
