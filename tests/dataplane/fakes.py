"""Full implementations in memory of the data plane's ports, with switches for faults, delays and stalls."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.dataplane.ports import ClientGone, Holding
from gateway.domain.faults import KeyStoreUnavailable
from gateway.domain.grants import Model, Principal
from gateway.domain.ledger import Entry
from gateway.domain.upstreams import Deployment, Headers


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.us = 1_000_000_000

    def __call__(self) -> int:
        return self.us

    def seconds(self) -> float:
        return self.us / 1_000_000

    def advance(self, *, us: int = 0, ms: int = 0, seconds: float = 0) -> None:
        self.us += us + ms * 1000 + round(seconds * 1_000_000)


class MemoryKeyStore:
    """Principals in a dict. `asked` is the log of reads; while `pause` holds an event, reads wait for it after looking."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Principal] = {}
        self.asked: list[list[bytes]] = []
        self.away = False
        self.fault: Exception | None = None
        self.pause: asyncio.Event | None = None

    async def principals(self, digests: Sequence[bytes]) -> dict[bytes, Principal]:
        self.asked.append(list(digests))
        if self.fault is not None:
            raise self.fault
        if self.away:
            raise KeyStoreUnavailable("switched off")
        found = {digest: self.rows[digest] for digest in digests if digest in self.rows}
        if self.pause is not None:
            await self.pause.wait()
        return found


class MemoryCatalogue:
    """Models in a dict; `hidden` ones are found by `discover` only."""

    def __init__(self, *models: Model) -> None:
        self.known = {model.name: model for model in models}
        self.hidden: dict[str, Model] = {}
        self.discovered: list[str] = []
        self.versions: list[int] = []
        self.away = False
        self.is_whole = True

    async def at_least(self, version: int) -> None:
        self.versions.append(version)
        if self.away:
            raise KeyStoreUnavailable("no catalogue")

    def model(self, name: str) -> Model | None:
        return self.known.get(name)

    async def discover(self, name: str) -> Model | None:
        self.discovered.append(name)
        if name in self.hidden:
            self.known[name] = self.hidden.pop(name)
        return self.known.get(name)

    def models(self) -> list[tuple[Model, str]]:
        return [(self.known[name], "tests") for name in sorted(self.known)]


Script = Sequence[bytes | Exception | asyncio.Event]
"""What a reply's body does: bytes come, an exception breaks it off, an event is waited for."""


class ScriptedReply:
    """A reply whose body is a script. `pulled` counts chunks handed out, `closed` calls of `close`."""

    def __init__(self, status: int, headers: Headers, script: Script) -> None:
        self.status = status
        self.headers = headers
        self.fields = dict(headers)
        self.script = script
        self._steps: Iterator[bytes | Exception | asyncio.Event] | None = None
        self.pulled = 0
        self.closed = 0
        self.waited = 0.0

    async def chunk(self) -> bytes:
        self._steps = self._steps or iter(self.script)
        for step in self._steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, Exception):
                raise step
            elif step:
                self.pulled += 1
                return step
        self._steps = None  # the next call that gets this reply reads it from its start
        return b""

    async def close(self) -> None:
        self.closed += 1


@dataclass(frozen=True, slots=True)
class Sent:
    deployment: Deployment
    path: str
    headers: Headers
    body: bytes


class ScriptedUpstreams:
    """Answers calls from a list of replies and faults for each upstream ID; the last one is repeated."""

    def __init__(self) -> None:
        self.deployments: dict[str, list[Deployment]] = {}
        self.answers: dict[str, list[ScriptedReply | Exception]] = {}
        self.sent: list[Sent] = []
        self.reports: list[tuple[str, bool]] = []
        self.pause: asyncio.Event | None = None

    def serve(
        self, model: str, *answers: ScriptedReply | Exception, upstream: str = "up-1", named: str | None = None
    ) -> Deployment:
        """One more deployment of `model`, which gives these answers."""
        deployment = Deployment(upstream, upstream, model, named or model, f"http://{upstream}.test/v1")
        self.deployments.setdefault(model, []).append(deployment)
        self.answers[upstream] = list(answers)
        return deployment

    def choose(self, model: str, tried: Sequence[Deployment]) -> Deployment | None:
        return next((one for one in self.deployments.get(model, []) if one not in tried), None)

    async def send(self, deployment: Deployment, path: str, headers: Headers, body: bytes) -> ScriptedReply:
        self.sent.append(Sent(deployment, path, headers, body))
        if self.pause is not None:
            await self.pause.wait()
        answers = self.answers[deployment.upstream_id]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def report(self, deployment: Deployment, *, healthy: bool) -> None:
        self.reports.append((deployment.upstream_id, healthy))


@dataclass(slots=True)
class MemoryLedger:
    rows: list[Entry] = field(default_factory=list)

    def append(self, entry: Entry) -> None:
        self.rows.append(entry)

    async def acknowledged(self) -> None:
        """Rows in a list are as safe as they will ever be."""

    @property
    def only(self) -> Entry:
        (entry,) = self.rows
        return entry


class MemoryRefusals:
    """The refused calls in the order that they came: key, model and code."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def count(self, at: int, caller: Principal, model: str, code: str) -> None:
        assert at > 0
        self.rows.append((caller.key_id, model, code))


class RecordingExchange:
    """A client. It takes what is written while `room` is set; `leave` is its going away, as the ports describe it."""

    def __init__(self, method: str, path: str, headers: Headers, body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.fields = dict(headers)
        self.gone = False
        self.waited = 0.0
        self.started = time.monotonic()
        self.status = 0
        self.reply_headers: Headers = []
        self.written: list[bytes] = []
        self.ended = False
        self.aborted = False
        self.body_asked = False
        self.body_pause: asyncio.Event | None = None
        self.body_fault: Exception | None = None
        self.room = asyncio.Event()
        self.room.set()
        self.wrote = asyncio.Event()
        self.end_pause: asyncio.Event | None = None
        self.task: asyncio.Task[None] | None = None
        self._body = body

    async def body(self, hold: Holding) -> bytes:
        self.body_asked = True
        hold.check(len(self._body))
        if self.body_pause is not None:
            await self.body_pause.wait()
        if self.body_fault is not None:
            raise self.body_fault
        hold.add(len(self._body))
        return self._body

    async def start(self, status: int, headers: Headers) -> None:
        self._here()
        assert self.status == 0, "a reply starts once"
        self.status, self.reply_headers = status, headers

    async def write(self, chunk: bytes) -> None:
        self._here()
        assert self.status, "a reply starts before it is written"
        assert not self.ended, "nothing follows the end"
        await self.room.wait()
        self.written.append(chunk)
        self.wrote.set()

    async def end(self) -> None:
        self._here()
        if self.end_pause is not None:
            await self.end_pause.wait()
        assert not self.ended, "a reply ends once"
        self.ended = True

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        length: Headers = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
        await self.start(status, [*headers, *length])
        if body:
            await self.write(body)
        await self.end()

    def abort(self) -> None:
        self.aborted = True

    def leave(self) -> None:
        self.gone = True
        if self.task is not None:
            self.task.cancel()

    def _here(self) -> None:
        if self.gone:
            raise ClientGone

    @property
    def text(self) -> bytes:
        return b"".join(self.written)

    def header(self, name: str) -> str | None:
        values = [value.decode() for field, value in self.reply_headers if field == name.encode()]
        assert len(values) <= 1, f"{name} is there twice"
        return values[0] if values else None
