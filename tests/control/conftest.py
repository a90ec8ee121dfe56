"""The admin API as it runs, on a fresh SQLite file with the real migrations."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.storage.sql.engine import AsyncEngine, create_engine
from gateway.storage.sql.migrate import upgrade
from tests.control.admin_api import Control, opened


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
    async with opened(engine) as made:
        yield made
