"""The composition root: builds every part from settings, opens it, closes it. Nothing imports this but the command line."""

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_network

from starlette.types import Receive, Scope, Send

from gateway import __version__
from gateway.app_metrics import Watched, watch
from gateway.config import Secrets, Settings
from gateway.control.app import create_control
from gateway.control.context import People, Services
from gateway.control.health import Access, health_routes
from gateway.dataplane.admit import Gate, OpenAtOnce
from gateway.dataplane.authenticate import Keys
from gateway.dataplane.bodies import Bodies
from gateway.dataplane.call_lines import CallLines
from gateway.dataplane.ended import Observers
from gateway.dataplane.endpoints import ENDPOINTS, PREFIX, Routes
from gateway.dataplane.estimate import Estimator
from gateway.dataplane.forward import Forwarder
from gateway.dataplane.meter import Meter
from gateway.dataplane.observe import Observer
from gateway.dataplane.open_calls import OpenCalls
from gateway.dataplane.pipeline import DataPlane, serve
from gateway.dataplane.ports import Exchange
from gateway.dataplane.tracing import Tracer
from gateway.dataplane.waiting import WaitingRoom
from gateway.domain.credentials import pepper_fingerprint
from gateway.domain.grants import Limits
from gateway.domain.upstreams import Upstream
from gateway.ops.lifespan import lifespan
from gateway.ops.loop_lag import LoopLag
from gateway.ops.metrics import Metrics
from gateway.ops.spans import SpanQueue
from gateway.storage.failover import SharedAdmissions
from gateway.storage.memory.admission import MemoryAdmissions
from gateway.storage.redis.ledger import StreamLedger
from gateway.storage.shared import Shared, SharedOptions
from gateway.storage.sql import upstreams as stored_upstreams
from gateway.storage.sql.bootstrap import Bootstrap, ensure_default_account
from gateway.storage.sql.engine import AsyncEngine, StorageUnavailable, create_engine, ping, reading
from gateway.storage.sql.increases import end_due
from gateway.storage.sql.ledger import SqlLedger
from gateway.storage.sql.meta import check_pepper
from gateway.storage.sql.migrate import check_revision
from gateway.storage.sql.models import read_catalogue
from gateway.storage.sql.policy import NotYetInForce, Policy
from gateway.storage.sql.principals import SqlKeyStore
from gateway.storage.sql.refusals import SqlRefusals
from gateway.storage.sql.retention import Retention
from gateway.upstream.catalogue import Catalogue
from gateway.upstream.client import HttpClient
from gateway.upstream.directory import Directory
from gateway.upstream.listing import Listings
from gateway.upstream.pool import UpstreamPool
from gateway.upstream.trial import Managed, Trials

_log = logging.getLogger(__name__)
_LISTING_SECONDS = 3.0
_RAISE_SECONDS = 1.0
_RAISE_MOST_SECONDS = 5.0
_MICRO = 1_000_000
_HOUR_MS = 3_600_000


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Gateway:
    """The ASGI application. Its parts are opened and closed with the lifespan; `ready` says whether it takes calls, `draining`
    that it still does but soon will not, which `/readyz` tells load balancers.

    `offline` is for management commands without a server: upstreams are not asked for their models.
    """

    def __init__(self, settings: Settings, secrets: Secrets, upstreams: Sequence[Upstream], *, offline: bool = False) -> None:
        self.ready = False
        self.draining = False
        self.bootstrap: Bootstrap | None = None
        self.metrics = Metrics()
        self._loop_lag = LoopLag()
        self._offline = offline
        self._pepper = secrets.key_pepper
        self._engine = create_engine(settings.database_url, **settings.database_options)
        self._shared = _shared(settings, self._engine)
        self._admissions: MemoryAdmissions | SharedAdmissions
        self._ledger: SqlLedger | StreamLedger
        if self._shared is None:
            self._admissions = MemoryAdmissions(clock=_now_us, lease_us=int(settings.limits.lease_seconds * _MICRO))
            self._ledger = SqlLedger(self._engine)
        else:
            self._admissions, self._ledger = self._shared.admissions, self._shared.ledger
        self._refusals = SqlRefusals(self._engine)
        self._policy = Policy(
            self._engine, self._admissions, raise_seconds=_RAISE_MOST_SECONDS + settings.limits.failover_hold_seconds
        )
        self._retention = Retention(self._engine, days=settings.ledger.retention_days, now_ms=_now_ms)
        self._client = _client(settings)
        self._trials = Trials()
        self.directory = Directory(upstreams, self._stored_upstreams)
        self._listings = Listings(self.directory, self._client)
        self.catalogue = Catalogue(lambda: read_catalogue(self._engine), self.directory, self._listings)
        self._keys = Keys(
            SqlKeyStore(self._engine),
            self.catalogue,
            pepper=secrets.key_pepper,
            max_keys=settings.cache.max_keys,
            miss_seconds=settings.cache.miss_seconds,
            clock=time.monotonic,
        )
        self._waiting = WaitingRoom(
            most=settings.limits.max_waiting,
            longest=settings.limits.max_wait_seconds,
            clock=time.monotonic,
            random=random.random,
        )
        self._bodies = Bodies(most=settings.server.max_body_bytes, most_together=settings.server.max_body_bytes_total)
        defaults = Limits(rpm=settings.limits.default_rpm, tpm=settings.limits.default_tpm)
        self.services = self._managing(settings, secrets, defaults)
        self.spans = None if offline else _spans(settings)
        self._tracer = None if self.spans is None else Tracer(settings.tracing.sample, self.spans.add)
        self._plane = self._data_plane(settings, defaults)
        access = Access(
            tokens=(secrets.admin_token, secrets.metrics_token),
            networks=tuple(ip_network(each) for each in settings.metrics.allow_networks),
            trusted_proxies=self.services.people.trusted_proxies,
        )
        routes = health_routes(problems=self._problems, metrics=self.metrics.render, access=access)
        self._app = create_control(self.services, extra_routes=routes)

    def _managing(self, settings: Settings, secrets: Secrets, defaults: Limits) -> Services:
        return Services(
            engine=self._engine,
            policy=self._policy,
            catalogue=self.catalogue,
            upstreams=Managed(self.directory, self._trials),
            admin_token=secrets.admin_token,
            pepper=secrets.key_pepper,
            now_ms=_now_ms,
            base_url=_root_url(settings) + PREFIX,
            people=_people(settings),
            keys_per_workspace=settings.limits.keys_per_workspace,
            workspaces_per_account=settings.limits.workspaces_per_account,
            default_limits=defaults,
            levels=self._admissions,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(self.open, receive, send)
        else:
            await self._app(scope, receive, send)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open every part, and close all that were opened, in the opposite order. Raises what a part cannot start with."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._engine.dispose)
            await check_revision(self._engine)
            await check_pepper(self._engine, pepper_fingerprint(self._pepper))
            self.bootstrap = await ensure_default_account(self._engine)
            if self._shared is not None:
                await self._shared.open()
                stack.push_async_callback(self._shared.close)
            await self._sweep_once()
            stack.push_async_callback(self._client.close)
            stack.push_async_callback(self._trials.close)
            await self.directory.reload()
            await self.catalogue.reload()
            if self._shared is None:
                await self._ledger.start()
                stack.push_async_callback(self._ledger.close)
            stack.push_async_callback(self._keys.close)
            if self.spans is not None:
                self.spans.start()
                stack.push_async_callback(self.spans.close)
            if not self._offline:
                stack.push_async_callback(self._listings.close)
                await self._listings.start(_LISTING_SECONDS)
                self._open_calls.start()
                stack.push_async_callback(self._open_calls.stop)
                self._refusals.start()
                stack.push_async_callback(self._refusals.close)
                self._loop_lag.start()
                stack.push_async_callback(self._loop_lag.close)
                self._retention.start()
                stack.push_async_callback(self._retention.close)
                sweeper = asyncio.create_task(self._sweep_for_ever())
                stack.push_async_callback(_cancelled, sweeper)
            self.ready = True
            try:
                yield
            finally:
                self.ready = False

    async def _stored_upstreams(self) -> list[Upstream]:
        async with reading(self._engine) as connection:
            return [row.upstream for row in await stored_upstreams.every(connection)]

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_RAISE_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 — keeps processes apart, guards nothing
            await self._sweep_once()

    async def _sweep_once(self) -> None:
        """Finish what a crash, or a failed raise, left between a commit and its epoch coming into force; end limits' increases
        whose time has come.
        """
        await _tried("raised epochs could not be swept", self._policy.sweep())
        await _tried("increases of limits could not be ended", end_due(self._policy, self._engine, _now_ms()))

    @property
    def answer(self) -> Callable[[Exchange], Coroutine[object, object, None]]:
        """Serves a request of the data plane, which the edge has taken."""
        return partial(serve, plane=self._plane)

    def _data_plane(self, settings: Settings, defaults: Limits) -> DataPlane:
        estimator = Estimator(settings.limits.reserve_output)
        gate = Gate(
            keys=self._keys,
            catalogue=self.catalogue,
            admissions=self._admissions,
            estimator=estimator,
            waiting=self._waiting,
            metrics=self.metrics,
            defaults=defaults,
            open_at_once=OpenAtOnce(
                account=settings.limits.account_concurrency,
                workspace=settings.limits.workspace_concurrency,
                key=settings.limits.key_concurrency,
            ),
        )
        self._open_calls = OpenCalls(gate.confirm, self._admissions, self._admissions.sweep)
        self._admissions.on_raise(self._open_calls.policy_changed)
        self.metrics.watch_conservation(self._admissions.conservation)
        lines = CallLines(settings.log.calls_sample) if settings.log.calls else None
        observer = Observer(lambda name: self.catalogue.model(name) is not None, top=settings.metrics.top)
        self._watch(observer)
        return DataPlane(
            gate=gate,
            routes=Routes(ENDPOINTS),
            bodies=self._bodies,
            forwarder=Forwarder(UpstreamPool(self.directory, self._client), self._tracer),
            meter=Meter(self._admissions, self._ledger, estimator, strict=settings.ledger.strict),
            refusals=self._refusals,
            open_calls=self._open_calls,
            observer=observer,
            ended=Observers(lines, self._tracer) if lines or self._tracer else None,
        )

    def _watch(self, observer: Observer) -> None:
        parts = Watched(
            open_calls=self._open_calls,
            bodies=self._bodies,
            waiting=self._waiting,
            keys=self._keys,
            ledger=self._ledger,
            refusals=self._refusals,
            retention=self._retention,
            observer=observer,
            policy=self._policy,
            engine=self._engine,
            client=self._client,
            directory=self.directory,
            loop_lag=self._loop_lag,
            shared=self._shared,
        )
        watch(self.metrics, parts)

    async def _problems(self) -> list[str]:
        """What keeps the gateway from taking calls: a part that is not open, a database that does not answer."""
        problems = [] if self.ready else ["not open"]
        if self.draining:
            problems.append("told to stop")
        try:
            # Not whether the schema is this program's: a newer one is what the processes of the next release are given first.
            await ping(self._engine)
        except Exception:  # noqa: BLE001 — whatever keeps the database from answering, we are not ready
            problems.append("database")
        return problems


def _root_url(settings: Settings) -> str:
    """Where the gateway is reached, as far as it knows itself."""
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    return server.public_url or f"http://{host}:{server.port}"


def _client(settings: Settings) -> HttpClient:
    upstream = settings.upstream
    return HttpClient(
        connect=upstream.connect_seconds,
        first_byte=upstream.first_byte_seconds,
        idle=upstream.idle_seconds,
        max_connections=upstream.max_connections,
    )


def _people(settings: Settings) -> People:
    console = settings.console
    return People(
        session_idle_ms=console.session_idle_hours * _HOUR_MS,
        session_ms=console.session_days * 24 * _HOUR_MS,
        invite_ms=console.invitation_days * 24 * _HOUR_MS,
        reset_ms=console.reset_link_hours * _HOUR_MS,
        public_url=settings.server.public_url,
        trusted_proxies=tuple(ip_network(each) for each in settings.server.trusted_proxies),
        rotate_after_days=console.rotate_after_days or None,
        unused_after_days=console.unused_after_days or None,
    )


def _shared(settings: Settings, engine: AsyncEngine) -> Shared | None:
    """The shared profile, if there is a Redis."""
    url = settings.storage.redis_url
    if url is None:
        return None
    limits, ledger = settings.limits, settings.ledger
    options = SharedOptions(
        lease_seconds=limits.lease_seconds,
        deadline_seconds=limits.redis_timeout_ms / 1000,
        hold_seconds=limits.failover_hold_seconds,
        when_unavailable=limits.when_unavailable,
        processes=settings.server.workers,
        streams=ledger.streams,
        stream_max_entries=ledger.stream_max_entries,
    )
    return Shared(engine, url.get_secret_value(), options)


def _spans(settings: Settings) -> SpanQueue | None:
    """Where spans go, if they go anywhere."""
    tracing = settings.tracing
    if tracing.endpoint is None:
        return None
    # What is imported here takes a while and some megabytes, and most gateways have no use for it.
    from gateway.ops.otlp import OtlpExporter  # noqa: PLC0415

    process = f"{socket.gethostname()}:{os.getpid()}"
    exporter = OtlpExporter(
        tracing.endpoint, tracing.header_fields, service=tracing.service_name, version=__version__, process=process
    )
    return SpanQueue(exporter)


async def _tried(failed: str, work: Awaitable[object]) -> None:
    try:
        await work
    except (StorageUnavailable, NotYetInForce) as error:  # it may be back at the next turn
        _log.debug("%s: %s", failed, error)
    except Exception:  # noqa: BLE001 — whatever it is, the next turn must come
        _log.warning(failed, exc_info=True)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
