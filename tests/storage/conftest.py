"""Real databases: a file of SQLite and a server of PostgreSQL, each migrated once and copied for every test."""

import itertools
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway.storage.sql.engine import AsyncEngine, create_engine
from gateway.storage.sql.migrate import upgrade
from tests.support.postgres_server import PostgresServer

POSTGRES = pytest.param("postgresql", marks=pytest.mark.xdist_group("postgres"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of its own, on a Unix socket."""
    with PostgresServer(synchronous_commit="off") as server:
        yield server


@pytest.fixture(scope="session")
def new_postgres(postgres: PostgresServer) -> Callable[[str], str]:
    """Makes a database by copying the one that is named, and answers its URL."""
    numbers = itertools.count(1)

    def make(template: str) -> str:
        name = f"test_{next(numbers)}"
        postgres.psql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return postgres.url_of(name)

    return make


@pytest.fixture(scope="session")
def migrated_postgres(new_postgres: Callable[[str], str]) -> str:
    """The name of a migrated database that nobody is connected to."""
    url = new_postgres("template0")
    upgrade(url)
    return url.partition("@/")[2].partition("?")[0]


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", POSTGRES])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}"
    make: Callable[[str], str] = request.getfixturevalue("new_postgres")
    return make("template0")


@pytest.fixture(params=["sqlite", POSTGRES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database without rows."""
    if request.param == "sqlite":
        path = tmp_path / "gateway.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite+aiosqlite:///{path}"
    make: Callable[[str], str] = request.getfixturevalue("new_postgres")
    return make(request.getfixturevalue("migrated_postgres"))


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    made = create_engine(url)
    yield made
    await made.dispose()
