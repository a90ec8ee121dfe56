"""The whole data plane, put together from real parts over the fakes, and the calls that tests make to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from gateway.dataplane.admit import Gate, OpenAtOnce
from gateway.dataplane.authenticate import Keys
from gateway.dataplane.bodies import Bodies
from gateway.dataplane.endpoints import ENDPOINTS, PREFIX, Routes
from gateway.dataplane.estimate import Estimator
from gateway.dataplane.forward import Forwarder
from gateway.dataplane.meter import Meter
from gateway.dataplane.observe import Observer
from gateway.dataplane.open_calls import OpenCalls
from gateway.dataplane.pipeline import DataPlane, serve
from gateway.dataplane.ports import ClientGone
from gateway.dataplane.waiting import WaitingRoom
from gateway.domain.credentials import KeyKind, NewKey, generate
from gateway.domain.grants import NO_LIMITS, KeyStatus, Limits, Model, Principal
from gateway.domain.upstreams import Headers
from gateway.ops.metrics import Metrics
from gateway.storage.memory.admission import MemoryAdmissions
from tests.dataplane.fakes import (
    Clock,
    MemoryCatalogue,
    MemoryKeyStore,
    MemoryLedger,
    MemoryRefusals,
    RecordingExchange,
    Script,
    ScriptedReply,
    ScriptedUpstreams,
)

PEPPER = b"pepper of the tests"
ACCOUNT, WORKSPACE, MODEL = "acc-1", "llm-1", "m"
CHAT = PREFIX + "/chat/completions"
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 3}}


def chunk(text: str = "", *, finish: str | None = None, **more: object) -> bytes:
    """One event of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "choices": [choice], **more}).encode() + b"\n\n"


USAGE_EVENT = b"data: " + json.dumps({"id": "x", "choices": [], "usage": USAGE}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
STREAM = [chunk("Hel"), chunk("lo"), chunk(finish="stop"), USAGE_EVENT, DONE]
COMPLETION = json.dumps({"id": "x", "choices": [{"message": {"content": "Hello"}}], "usage": USAGE}, indent=1).encode()


def reply(status: int, script: Script | bytes, *headers: tuple[bytes, bytes], kind: bytes = b"application/json") -> ScriptedReply:
    steps = [script] if isinstance(script, bytes) else script
    return ScriptedReply(status, [(b"content-type", kind), *headers], steps)


def completion() -> ScriptedReply:
    return reply(200, COMPLETION)


def events(*script: bytes | Exception | asyncio.Event) -> ScriptedReply:
    """A reply that is an event stream: by default a whole one, which names its usage."""
    return reply(200, script or STREAM, kind=b"text/event-stream; charset=utf-8")


NO_SUCH_LIMITS = OpenAtOnce()


class World:
    """A data plane with one account, one default workspace and one key, for the model `m`, which no upstream serves yet."""

    def __init__(
        self,
        *,
        limits: Limits = NO_LIMITS,
        defaults: Limits = NO_LIMITS,
        open_at_once: OpenAtOnce = NO_SUCH_LIMITS,
        most_body: int = 1 << 20,
        most_bodies: int = 2 << 20,
        longest_wait: float = 10.0,
        lease_seconds: float = 60.0,
        max_keys: int = 100,
        admissions: type[MemoryAdmissions] = MemoryAdmissions,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.store = MemoryKeyStore()
        self.catalogue = MemoryCatalogue(Model(MODEL, limits=limits))
        self.upstreams = ScriptedUpstreams()
        self.ledger = MemoryLedger()
        self.refusals = MemoryRefusals()
        self.metrics = Metrics()
        self.observer = Observer(lambda name: self.catalogue.model(name) is not None, top=10)
        self.metrics.source(self.observer.families)
        self.admissions = admissions(clock=self.clock, lease_us=round(lease_seconds * 1_000_000))
        self.keys = Keys(
            self.store, self.catalogue, pepper=PEPPER, max_keys=max_keys, miss_seconds=10.0, clock=self.clock.seconds
        )
        self.estimator = Estimator("none")
        self.waiting = WaitingRoom(most=100, longest=longest_wait, clock=self.clock.seconds, random=lambda: 0.0)
        self.bodies = Bodies(most=most_body, most_together=most_bodies)
        gate = Gate(
            self.keys, self.catalogue, self.admissions, self.estimator, self.waiting, self.metrics, defaults, open_at_once
        )
        self.open_calls = OpenCalls(gate.confirm, self.admissions, self.admissions.sweep)
        self.admissions.on_raise(self.open_calls.policy_changed)
        self.plane = DataPlane(
            gate=gate,
            routes=Routes(ENDPOINTS),
            bodies=self.bodies,
            forwarder=Forwarder(self.upstreams),
            meter=Meter(self.admissions, self.ledger, self.estimator),
            refusals=self.refusals,
            open_calls=self.open_calls,
            observer=self.observer,
        )
        self.epoch = 1
        self.key = self.add_key("ak-1")

    def principal(self, key_id: str = "ak-1", **facts: Any) -> Principal:
        """An active key of the default workspace, unless `facts` say otherwise."""
        principal = Principal(
            key_id=key_id,
            kind=KeyKind.STANDARD,
            status=KeyStatus.ACTIVE,
            workspace_id=WORKSPACE,
            account_id=ACCOUNT,
            is_default=True,
            epoch=self.epoch,
            catalogue_version=1,
        )
        return replace(principal, **facts)

    def add_key(self, key_id: str, *, kind: KeyKind = KeyKind.STANDARD, **facts: Any) -> NewKey:
        """One more key, stored with its principal."""
        key = generate(kind, PEPPER)
        self.store.rows[key.digest] = self.principal(key_id, kind=kind, **facts)
        return key

    async def change(self, key: NewKey | None = None, *, raised: bool = True, gone: bool = False, **facts: Any) -> None:
        """A change of policy as the control plane makes it: stored with a raised epoch, then put in force."""
        self.epoch += 1
        rows = self.store.rows
        for digest, principal in rows.items():
            rows[digest] = replace(principal, epoch=self.epoch)
        changed = (key or self.key).digest
        if gone:
            del rows[changed]
        elif facts:
            rows[changed] = replace(rows[changed], **facts)
        if raised:
            await self.admissions.raise_epochs({ACCOUNT: self.epoch})

    def exchange(
        self,
        body: bytes | Mapping[str, object] | None = None,
        *headers: tuple[bytes, bytes],
        method: str = "POST",
        path: str = CHAT,
        key: str | None = None,
    ) -> RecordingExchange:
        """A request for a chat completion with the world's key, unless told otherwise; `key=""` sends none."""
        text = self.key.text if key is None else key
        given: Headers = [(b"authorization", b"Bearer " + text.encode())] if text else []
        if body is None:
            body = {"model": MODEL, "messages": []}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return RecordingExchange(method, path, [*given, *headers], raw)

    async def run(self, exchange: RecordingExchange) -> RecordingExchange:
        """Serve the request as an edge does: the cancellation that a client's leaving causes ends here."""
        exchange.task = asyncio.create_task(serve(exchange, self.plane))
        try:
            await exchange.task
        except (asyncio.CancelledError, ClientGone):
            if not exchange.gone:
                raise
        return exchange

    async def call(
        self, body: bytes | Mapping[str, object] | None = None, *headers: tuple[bytes, bytes], **how: Any
    ) -> RecordingExchange:
        return await self.run(self.exchange(body, *headers, **how))

    def begin(self, exchange: RecordingExchange) -> asyncio.Task[RecordingExchange]:
        return asyncio.create_task(self.run(exchange))

    def at_rest(self) -> None:
        """Nothing is left of calls that are over."""
        kept = self.admissions.conservation()
        assert (kept.imbalance, kept.live) == (0, 0)
        assert len(self.open_calls) == 0
        assert self.bodies.held == 0
        assert self.waiting.waiting == 0


@asynccontextmanager
async def world(**how: Any) -> AsyncIterator[World]:
    made = World(**how)
    try:
        yield made
    finally:
        await made.keys.close()


async def until(reached: Any, *, seconds: float = 5.0) -> None:
    """Let the loop turn until `reached()`."""
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
