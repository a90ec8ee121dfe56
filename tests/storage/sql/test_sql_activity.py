"""Who drives the limits, and who is kept out by them."""

import pytest

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import KeyStatus, Principal
from gateway.domain.visible import Visible
from gateway.storage.sql import activity
from gateway.storage.sql.activity import Driver, drivers
from gateway.storage.sql.engine import AsyncEngine
from gateway.storage.sql.entries import store
from gateway.storage.sql.refusals import MINUTE_MS, SqlRefusals
from gateway.storage.sql.usage_hours import HOUR_MS
from tests.storage.sql.rows import entry

NOW = 20_000 * HOUR_MS


def _caller(key: str, workspace: str, account: str) -> Principal:
    return Principal(key, KeyKind.STANDARD, KeyStatus.ACTIVE, workspace, account, is_default=True, epoch=1, catalogue_version=1)


ONE, TWO = _caller("ak-1", "llm-1", "acc-1"), _caller("ak-2", "llm-2", "acc-1")
OTHER = _caller("ak-9", "llm-9", "acc-2")


@pytest.fixture
async def engine(engine: AsyncEngine) -> AsyncEngine:
    """Some calls of now, and of each kind one that is too old by a millisecond or a minute."""
    two = {"key_id": "ak-2", "workspace_id": "llm-2"}
    await store(
        engine,
        [
            entry(call_id="1", at=NOW, model="a"),
            entry(call_id="2", at=NOW + 1, model="a", outcome="client_gone"),
            entry(call_id="3", at=NOW, model="b", input_tokens=2**40),
            entry(call_id="4", at=NOW + MINUTE_MS, model="a", **two),
            entry(call_id="5", at=NOW, model="a", key_id="ak-9", workspace_id="llm-9", account_id="acc-2"),
            entry(call_id="6", at=NOW - 1, model="a"),
        ],
    )
    counted = SqlRefusals(engine)
    for code in ("limit_requests", "insufficient_quota", "limit_requests"):
        counted.count(NOW, TWO, "a", code)
    counted.count(NOW + MINUTE_MS, TWO, "a", "limit_requests")
    counted.count(NOW + MINUTE_MS, OTHER, "", "model_not_found")
    counted.count(NOW - 1, ONE, "a", "limit_requests")
    await counted.flush()
    return engine


_TWO = Driver("acc-1", "llm-2", "ak-2", "a", 1, 0, 10, 5, 4, {"insufficient_quota": 1, "limit_requests": 3})
_ONE = Driver("acc-1", "llm-1", "ak-1", "a", 2, 1, 20, 10, 0)


async def test_those_with_the_most_calls_come_first(engine: AsyncEngine) -> None:
    """Whoever asks why a limit is full sees first who uses it most, admitted or not, with what was refused and why."""
    found = await drivers(engine, since_ms=NOW + MINUTE_MS - 1, limit=10)
    assert found == [
        _TWO,
        _ONE,
        Driver("acc-1", "llm-1", "ak-1", "b", 1, 0, 2**40, 5, 0),
        Driver("acc-2", "llm-9", "ak-9", "", 0, 0, 0, 0, 1, {"model_not_found": 1}),
        Driver("acc-2", "llm-9", "ak-9", "a", 1, 0, 10, 5, 0),
    ]
    assert await drivers(engine, since_ms=NOW, limit=2) == [_TWO, _ONE]


async def test_causes_are_read_part_by_part(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """More keys and models than are asked for at once have all of their causes, each its own."""
    whole = await drivers(engine, since_ms=NOW, limit=10)
    monkeypatch.setattr(activity, "_AT_ONCE", 1)
    assert await drivers(engine, since_ms=NOW, limit=10) == whole
    assert [driver.codes for driver in whole if driver.refused] == [_TWO.codes, {"model_not_found": 1}]


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        ({"account_id": "acc-1"}, ["ak-2", "ak-1", "ak-1"]),
        ({"workspace_id": "llm-2"}, ["ak-2"]),
        ({"key_id": "ak-9"}, ["ak-9", "ak-9"]),
        ({"model": "b"}, ["ak-1"]),
        ({"visible": Visible(accounts=frozenset({"acc-2"}))}, ["ak-9", "ak-9"]),
        ({"visible": Visible(accounts=frozenset({"acc-2"}), workspaces=frozenset({"llm-2"}))}, ["ak-2", "ak-9", "ak-9"]),
        ({"visible": Visible()}, []),
        ({"account_id": "acc-1", "visible": Visible(accounts=frozenset({"acc-2"}))}, []),
    ],
)
async def test_only_what_is_asked_for_and_visible(engine: AsyncEngine, asked: dict[str, str], keys: list[str]) -> None:
    """Nobody sees whose calls fill a limit that they share but may not look into."""
    found = await drivers(engine, since_ms=NOW, limit=10, **asked)  # type: ignore[arg-type]
    assert [driver.key_id for driver in found] == keys
