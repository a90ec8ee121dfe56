"""A company's month in the database: what `console_pages.py` measures the console's pages on."""

import random
import time
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

import sqlalchemy as sa

from gateway.domain import ids
from gateway.storage.sql.bootstrap import ensure_default_account
from gateway.storage.sql.engine import AsyncEngine, create_engine, writing
from gateway.storage.sql.tables import (
    account_limits,
    api_keys,
    audit,
    grants,
    ledger,
    limit_increases,
    members,
    models,
    refusals,
    upstreams,
    usage_days,
    usage_hours,
    users,
    workspaces,
)
from gateway.storage.sql.usage_hours import SUMS

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SPAN = 30 * DAY
_CHUNK = 20_000

Say = Callable[[str], None]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many of each there are."""

    keys: int = 500
    workspaces: int = 200
    models: int = 500
    members: int = 200
    calls: int = 1_000_000
    audit: int = 10_000


@dataclass(frozen=True, slots=True)
class Company:
    """The account; `busy` is the workspace with most of the keys and members, and with every grant."""

    account_id: str
    busy: str
    workspaces: tuple[str, ...]
    keys: tuple[tuple[str, str], ...]
    """Each with its workspace."""
    models: tuple[str, ...]


async def fill(url: str, counts: Counts, say: Say, seed: int = 1) -> Company:
    """Fill a database, which is migrated and empty, with 30 days up to now."""
    engine = create_engine(url, statement_seconds=600)
    chance, now = random.Random(seed), int(time.time() * 1000)
    try:
        default = await ensure_default_account(engine)
        company = _company(default.account_id, default.workspace_id, counts, chance)
        await _insert(engine, workspaces, _workspaces(company, now))
        await _insert(engine, api_keys, _keys(company, now, chance))
        await _insert(engine, models, _models(company, now))
        await _insert(engine, grants, _grants(company, now))
        await _insert(engine, account_limits, _limits(company, now))
        await _insert(engine, limit_increases, _increases(company, now))
        await _insert(engine, upstreams, _upstreams(now))
        people = [ids.user_id() for _ in range(counts.members)]
        await _insert(engine, users, _users(people, now))
        await _insert(engine, members, _members(company, people, now))
        say(f"{counts.keys:,} keys, {counts.workspaces:,} workspaces, {counts.models:,} models, {counts.members:,} members")
        await _insert(engine, audit, _audit(company, counts.audit, now, chance))
        await _insert(engine, refusals, _refusals(company, now, chance))
        say(f"{counts.audit:,} rows of the audit trail, and refused calls")
        await _insert(engine, ledger, _calls(company, counts.calls, now, chance), lambda done: say(f"{done:,} calls"))
        await _roll_up(engine)
        say("summed up by hour and by day")
        if engine.dialect.name == "postgresql":
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(sa.text("VACUUM ANALYZE"))
    finally:
        await engine.dispose()
    return company


async def _insert(engine: AsyncEngine, table: sa.Table, rows: Iterable[Row], told: Callable[[int], None] | None = None) -> None:
    left, done = iter(rows), 0
    while some := list(islice(left, _CHUNK)):
        async with writing(engine) as connection:
            await connection.execute(sa.insert(table), some)
        done += len(some)
        if told is not None and done % (5 * _CHUNK) == 0:
            told(done)


def _company(account_id: str, default: str, counts: Counts, chance: random.Random) -> Company:
    others = [ids.workspace_id() for _ in range(counts.workspaces - 1)]
    busy = others[0]
    # One key for each of the others, and all that are left for one workspace: that page is the longest.
    homes = [*others[1:], default][: counts.keys]
    homes += [busy] * (counts.keys - len(homes))
    chance.shuffle(homes)
    names = tuple(f"vendor-{n % 7}/model-{n:03}" for n in range(counts.models))
    return Company(account_id, busy, (default, *others), tuple((ids.key_id(), home) for home in homes), names)


def _workspaces(company: Company, now: int) -> Iterator[Row]:
    for n, workspace in enumerate(company.workspaces[1:]):
        yield {
            "id": workspace,
            "account_id": company.account_id,
            "name": "busy" if workspace == company.busy else f"team {n:03} of the company",
            "is_default": False,
            "created_at": now - SPAN + n,
        }


def _keys(company: Company, now: int, chance: random.Random) -> Iterator[Row]:
    for n, (key, workspace) in enumerate(company.keys):
        yield {
            "id": key,
            "account_id": company.account_id,
            "workspace_id": workspace,
            "digest": chance.randbytes(32),
            "masked": f"sk-{n:04}****{key[-4:]}",
            "kind": "sk-",
            "status": "disabled" if n % 20 == 7 else "active",
            "description": f"Application number {n} of the company, and what it is for",
            "models": None,
            "created_at": now - chance.randrange(120 * DAY),
            "last_used_at": None if n % 9 == 0 else now - chance.randrange(40 * DAY),
        }


def _models(company: Company, now: int) -> Iterator[Row]:
    for n, name in enumerate(company.models):
        row = {"name": name, "type": ("chat", "embedding")[n % 5 == 0], "vendor": f"Vendor {n % 7}", "rpm": 60 * (1 + n % 50)}
        yield {**row, "tpm": 100_000, "created_at": now, "updated_at": now}


def _grants(company: Company, now: int) -> Iterator[Row]:
    for place, workspace in enumerate(company.workspaces[1:]):
        for n, model in enumerate(company.models):
            if workspace == company.busy or (n + place) % 50 == 0:
                row = {"workspace_id": workspace, "model": model, "rpm": 30, "tpm": 50_000}
                yield {**row, "created_at": now, "updated_at": now}


def _limits(company: Company, now: int) -> Iterator[Row]:
    for model in company.models[::2]:
        yield {"account_id": company.account_id, "model": model, "rpm": 600, "tpm": None, "updated_at": now}


def _increases(company: Company, now: int) -> Iterator[Row]:
    for n in range(60):
        is_open = n < 5
        yield {
            "id": ids.increase_id(),
            "account_id": company.account_id,
            "model": company.models[n % len(company.models)],
            "rpm": 5000,
            "tpm": None,
            "reason": "Load test before the launch",
            "created_by": "operator@example.com",
            "created_at": now - n * DAY,
            "ends_at": now + DAY if is_open else now - n * DAY + HOUR,
            "ended_at": None if is_open else now - n * DAY + HOUR,
        }


def _upstreams(now: int) -> Iterator[Row]:
    for n in range(30):
        yield {
            "id": ids.upstream_id(),
            "name": f"model server {n}",
            "base_url": f"http://127.0.0.1:{9 + n}/v1",
            "api_key": None,
            "models": {f"model-{n}-{m}": f"model-{n}-{m}" for m in range(20)},
            "lists_models": False,
            "weight": 1,
            "enabled": False,  # there is none
            "created_at": now,
            "updated_at": now,
        }


def _users(people: list[str], now: int) -> Iterator[Row]:
    for n, person in enumerate(people):
        row = {"id": person, "email": f"person-{n}@company.example", "name": f"Person Number {n}", "password": None}
        yield {**row, "status": "active", "created_at": now - SPAN + n, "last_sign_in_at": now - n * HOUR}


def _members(company: Company, people: list[str], now: int) -> Iterator[Row]:
    for n, person in enumerate(people):
        workspace = company.busy if n % 2 else company.workspaces[n % len(company.workspaces)]
        row = {"user_id": person, "scope": workspace, "role": ("admin", "member", "viewer")[n % 3]}
        yield {**row, "account_id": company.account_id, "workspace_id": workspace, "created_at": now - SPAN + n}


def _audit(company: Company, count: int, now: int, chance: random.Random) -> Iterator[Row]:
    for number in range(count):
        at, (key, workspace) = now - SPAN + number * SPAN // count, chance.choice(company.keys)
        yield {
            "id": ids.call_id(at),
            "at": at,
            "actor": f"person-{chance.randrange(200)}@company.example",
            "action": chance.choice(("key.create", "key.update", "key.disable", "key.enable", "key.reset")),
            "target": key,
            "account_id": company.account_id,
            "workspace_id": company.busy if chance.random() < 0.5 else workspace,
            "before": {"description": "what it was for"},
            "after": {"description": "what it is for now"},
            "client": "192.0.2.1",
        }


def _refusals(company: Company, now: int, chance: random.Random) -> Iterator[Row]:
    codes = ("limit_requests", "limit_tokens", "model_not_found")
    sums: dict[tuple[Any, ...], int] = {}
    for span, length, count in ((HOUR, SPAN, 30_000), (MINUTE, 25 * HOUR, 10_000)):
        for _ in range(count):
            at, (key, workspace) = now - chance.randrange(length), chance.choice(company.keys)
            group = (span, at - at % span, company.account_id, workspace, key, company.models[0], chance.choice(codes))
            sums[group] = sums.get(group, 0) + chance.randrange(1, 20)
    names = ("span", "at", "account_id", "workspace_id", "key_id", "model", "code")
    # Rows come into a table as time goes by, and lie there in that order.
    in_time = sorted(sums, key=lambda group: int(group[1]))
    return (dict(zip(names, group, strict=True)) | {"calls": sums[group]} for group in in_time)


def _calls(company: Company, count: int, now: int, chance: random.Random) -> Iterator[Row]:
    """Calls spread evenly over the time. Few keys make most of them (Zipf), and each calls one model mostly, and two others."""
    weights = list(accumulate(1 / (1 + n) for n in range(len(company.keys))))
    for number in range(count):
        place = min(bisect(weights, chance.random() * weights[-1]), len(company.keys) - 1)
        key, workspace = company.keys[place]
        at = now - SPAN + number * SPAN // count
        yield {
            "call_id": ids.call_id(at),
            "at": at,
            "account_id": company.account_id,
            "workspace_id": workspace,
            "key_id": key,
            "endpoint": "chat/completions",
            "model": company.models[(place * 7 + bisect((0.85, 0.95), chance.random())) % len(company.models)],
            "deployment": "model-server",
            "stream": True,
            "status": 200,
            "outcome": "ok" if chance.random() < 0.98 else "upstream_error",
            "input_tokens": int(2000 * chance.random()),
            "output_tokens": int(800 * chance.random()),
            "cached_tokens": int(300 * chance.random()),
            "estimated": False,
            "billing": "payg",
            "ttft_ms": int(150 + 500 * chance.random()),
            "duration_ms": int(1000 + 7000 * chance.random()),
        }


async def _roll_up(engine: AsyncEngine) -> None:
    """The sums that the gateway keeps beside the ledger, as it would have made them call by call."""
    sums: dict[str, sa.ColumnElement[Any]] = {
        "calls": sa.func.count(),
        "failures": sa.func.sum(sa.case((ledger.c.outcome != "ok", 1), else_=0)),
        "estimated_calls": sa.func.sum(sa.case((ledger.c.estimated, 1), else_=0)),
        "timed_calls": sa.func.count(ledger.c.ttft_ms),
    }
    for table, column, span in ((usage_hours, usage_hours.c.hour, HOUR), (usage_days, usage_days.c.day, DAY)):
        # The number is written out, so that PostgreSQL sees one expression where it stands twice.
        start = (ledger.c.at - ledger.c.at % sa.literal_column(str(span), sa.BigInteger)).label(column.name)
        group = [start, ledger.c.account_id, ledger.c.workspace_id, ledger.c.key_id, ledger.c.model]
        summed = [sums.get(name, sa.func.sum(ledger.c.get(name))).label(name) for name in SUMS]
        names = [each.name for each in (*group, *summed)]
        async with writing(engine) as connection:
            await connection.execute(sa.insert(table).from_select(names, sa.select(*group, *summed).group_by(*group)))
