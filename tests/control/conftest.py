"""The admin API as it runs, on a fresh SQLite file with the real migrations."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from gateway.control.app import create_control
from gateway.control.context import Services
from gateway.domain import ids
from gateway.domain.grants import Limits
from gateway.domain.upstreams import Upstream
from gateway.storage.sql import accounts, workspaces
from gateway.storage.sql.accounts import AccountRow
from gateway.storage.sql.engine import AsyncEngine, create_engine, writing
from gateway.storage.sql.migrate import upgrade
from gateway.storage.sql.policy import Policy
from gateway.storage.sql.workspaces import WorkspaceRow
from tests.control.admin_api import TOKEN, Clock, Control, RecordingEpochs, SimpleCatalogue, SimpleUpstreams


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database at the newest revision, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "gateway.db"
    upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
async def engine(migrated: Path, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    path = tmp_path / "gateway.db"
    shutil.copy(migrated, path)
    engine = create_engine(f"sqlite+aiosqlite:///{path}")
    yield engine
    await engine.dispose()


@pytest.fixture
async def control(engine: AsyncEngine) -> AsyncIterator[Control]:
    """The admin API with the default account, its default workspace, and one upstream of settings that serves `served-model`."""
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
    )
    app = create_control(services)
    transport = httpx2.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test", headers=headers) as http:
        yield Control(app, http, services, epochs, catalogue, pool, account_id, workspace_id, clock)
