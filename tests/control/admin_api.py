"""The parts around the admin API in its tests: simple where they are outside the database, and the way to call it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from fastapi import FastAPI

from gateway.control.app import create_control
from gateway.control.context import People, Services
from gateway.control.streams import Streams
from gateway.domain import ids
from gateway.domain.grants import Limits, Model
from gateway.domain.trials import Outcome, Trial
from gateway.domain.upstreams import Upstream
from gateway.storage.sql import accounts, catalogue_models, upstreams, workspaces
from gateway.storage.sql.accounts import AccountRow
from gateway.storage.sql.engine import AsyncEngine, reading, writing
from gateway.storage.sql.policy import Policy
from gateway.storage.sql.workspaces import WorkspaceRow

TOKEN = "admin-token-of-the-tests"


@dataclass
class RecordingEpochs:
    """Takes every raise; with `away` set it cannot be reached."""

    raised: list[tuple[str, int]] = field(default_factory=list)
    away: bool = False

    async def raise_epochs(self, epochs: Mapping[str, int]) -> None:
        if self.away:
            raise ConnectionError("the store of epochs cannot be reached")
        self.raised.extend(epochs.items())


@dataclass(frozen=True)
class State:
    upstream: Upstream
    state: str
    models: list[str]
    last_error: str | None = None


class SimpleUpstreams:
    """The upstreams of settings and those of the database, all healthy; each trial of one has the same `outcome`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.fixed: list[Upstream] = []
        self.stored: list[Upstream] = []
        self.outcome = Outcome(milliseconds=5, status=200, body=b"{}")
        self.tried: list[tuple[Upstream, Trial]] = []

    async def reload(self) -> None:
        async with reading(self.engine) as conn:
            self.stored = [row.upstream for row in await upstreams.every(conn)]

    def states(self) -> list[State]:
        return [
            State(upstream, "healthy" if upstream.enabled else "disabled", sorted(upstream.models))
            for upstream in self.fixed + self.stored
        ]

    async def try_out(self, upstream: Upstream, trial: Trial) -> Outcome:
        self.tried.append((upstream, trial))
        return self.outcome


class SimpleCatalogue:
    """What is stored, what upstreams name, and what they would only tell when asked (`hidden`)."""

    def __init__(self, engine: AsyncEngine, served: SimpleUpstreams) -> None:
        self.engine = engine
        self.served = served
        self.hidden: set[str] = set()
        self.asked: list[str] = []
        self.known: dict[str, tuple[Model, str]] = {}

    async def reload(self) -> None:
        async with reading(self.engine) as conn:
            rows = await catalogue_models.every(conn)
        self.known = {name: (Model(name), state.upstream.name) for state in self.served.states() for name in state.models} | {
            name: (Model(name, row.type, row.vendor, row.limits), "") for name, row in rows.items()
        }

    def models(self) -> list[tuple[Model, str]]:
        return [self.known[name] for name in sorted(self.known)]

    def model(self, name: str) -> Model | None:
        return self.known[name][0] if name in self.known else None

    async def discover(self, name: str) -> Model | None:
        self.asked.append(name)
        return Model(name) if name in self.hidden else None


@dataclass
class Clock:
    """Unix time in milliseconds, one later at each look; standing still where `step` is 0."""

    now: int = 1_700_000_000_000
    step: int = 1

    def __call__(self) -> int:
        self.now += self.step
        return self.now


@dataclass
class Control:
    """The application with its parts within reach."""

    app: FastAPI
    http: httpx2.AsyncClient
    services: Services
    epochs: RecordingEpochs
    catalogue: SimpleCatalogue
    upstreams: SimpleUpstreams
    account_id: str
    workspace_id: str
    clock: Clock

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.http.get(f"/admin/v1{path}", **options)

    async def post(self, path: str, body: object = None) -> httpx2.Response:
        return await self.http.post(f"/admin/v1{path}", json=body)

    async def put(self, path: str, body: object) -> httpx2.Response:
        return await self.http.put(f"/admin/v1{path}", json=body)

    async def patch(self, path: str, body: object) -> httpx2.Response:
        return await self.http.patch(f"/admin/v1{path}", json=body)

    async def delete(self, path: str) -> httpx2.Response:
        return await self.http.delete(f"/admin/v1{path}")

    async def sub_workspace(self, name: str = "team") -> str:
        workspace_id: str = (await self.post("/workspaces", {"name": name})).json()["id"]
        return workspace_id

    async def actions(self) -> list[str]:
        """The audit trail's actions, the newest first."""
        return [row["action"] for row in (await self.get("/audit")).json()["data"]]


@asynccontextmanager
async def opened(engine: AsyncEngine, people: People | None = None, **settings: Any) -> AsyncIterator[Control]:
    """The admin API with the default account, its default workspace, and one upstream of settings that serves `served-model`.

    `settings` are further fields of the services.
    """
    account_id, workspace_id, clock = ids.account_id(), ids.workspace_id(), Clock()
    async with writing(engine) as conn:
        await accounts.insert(conn, AccountRow(account_id, "Default", is_default=True, created_at=1))
        await workspaces.insert(conn, WorkspaceRow(workspace_id, account_id, "Default Workspace", is_default=True, created_at=1))
    epochs = RecordingEpochs()
    pool = SimpleUpstreams(engine)
    pool.fixed = [
        Upstream("config", "fixed", "http://fixed.test/v1", api_key="fixed-secret", models={"served-model": "m"}, source="config")
    ]
    catalogue = SimpleCatalogue(engine, pool)
    await catalogue.reload()

    services = Services(
        engine=engine,
        policy=Policy(engine, epochs),
        catalogue=catalogue,
        upstreams=pool,
        admin_token=TOKEN,
        pepper=b"pepper-of-the-tests",
        now_ms=clock,
        base_url="http://127.0.0.1:8080/compatible-mode/v1",
        default_limits=Limits(),
        people=people or People(),
        streams=Streams(longest_seconds=0.0),  # a client of the application itself has a reply only as a whole
        **settings,
    )
    app = create_control(services)
    transport = httpx2.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test", headers=headers) as http:
        yield Control(app, http, services, epochs, catalogue, pool, account_id, workspace_id, clock)
