"""How full an account's buckets are now, and who drives that: its calls of the last five minutes, admitted and refused.

Whoever sees only some of the account's workspaces sees the account's buckets, which theirs share, and of calls those of theirs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.control.context import Caller, Services
from gateway.control.services import accounts
from gateway.domain.admission import Fill, Levels, claims_of
from gateway.domain.buckets import Claim, Kind, Level
from gateway.domain.causes import Cause
from gateway.domain.faults import LimitsUnavailable
from gateway.domain.grants import NO_LIMITS, Limits
from gateway.domain.roles import Place, Right
from gateway.domain.visible import EVERYTHING, Visible
from gateway.storage.sql import activity, grants, increases, names
from gateway.storage.sql import limits as stored
from gateway.storage.sql.activity import Driver
from gateway.storage.sql.engine import reading
from gateway.storage.sql.names import KeyName

WINDOW_MS = 5 * 60_000
MOST_MODELS = 50
MOST_WORKSPACES = 20
"""Of a model: those with the most calls."""

MOST_DRIVERS = 10
_MOST_GROUPS = 5000
_MINUTE_MS = 60_000

Source = Literal["redis", "local", "memory", "none"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """`used` of `capacity` units are taken, more than all of them where it is in debt; it refills with `limit` a minute and is
    full again in `reset_ms`, if no call comes.
    """

    kind: Kind
    limit: int
    capacity: int
    used: int
    reset_ms: int


@dataclass(slots=True)
class Traffic:
    """Calls of the last minutes: admitted ones with the tokens that they used, and refused ones by cause."""

    admitted: int = 0
    failures: int = 0
    tokens: int = 0
    refused: int = 0
    causes: Counter[Cause] = field(default_factory=Counter)

    def add(self, row: Driver) -> None:
        self.admitted += row.calls
        self.failures += row.failures
        self.tokens += row.input_tokens + row.output_tokens
        self.refused += row.refused
        self.causes.update({Cause.parse(text): calls for text, calls in row.codes.items()})

    @property
    def calls(self) -> int:
        """All, admitted or not."""
        return self.admitted + self.refused


@dataclass(frozen=True, slots=True)
class InWorkspace:
    """What one workspace does with a model. A default workspace has no buckets of its own; one that is gone no name."""

    workspace_id: str
    name: str
    traffic: Traffic
    buckets: Sequence[Bucket]


@dataclass(frozen=True, slots=True)
class InModel:
    """`buckets` are the account's; `more` counts the workspaces that are left out."""

    model: str
    traffic: Traffic
    buckets: Sequence[Bucket]
    workspaces: Sequence[InWorkspace]
    more: int


@dataclass(frozen=True, slots=True)
class Driving:
    """A key and a model with many calls. `key` is None for a key that is deleted."""

    workspace_id: str
    workspace_name: str
    key_id: str
    key: KeyName | None
    model: str
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Live:
    """Times are Unix milliseconds. `open_calls` is None where that is not for the caller to know, or nobody can tell; `more`
    counts the models that are left out. `source` says who keeps the buckets (see `domain.admission.Levels`); `none`: nobody.
    """

    account_id: str
    at: int
    since: int
    source: Source
    open_calls: int | None
    traffic: Traffic
    models: Sequence[InModel]
    more: int
    drivers: Sequence[Driving]


async def read(services: Services, caller: Caller, account_id: str) -> Live:
    """Raises NotFound, Forbidden, StorageUnavailable. However many ask, the same is read at most once a second."""
    await accounts.get(services, caller, account_id, Right.SEE_ACCOUNT)
    sees_all = caller.identity.may(Right.READ_ACCOUNT, Place(account_id))
    visible = EVERYTHING if sees_all else caller.identity.visible()
    return await services.live.get((account_id, visible), lambda: _look(services, account_id, visible))


async def _look(services: Services, account_id: str, visible: Visible) -> Live:
    now = services.now_ms()
    since = (now - WINDOW_MS) // _MINUTE_MS * _MINUTE_MS
    rows = await activity.drivers(services.engine, since_ms=since, limit=_MOST_GROUPS, account_id=account_id, visible=visible)
    busy = _busiest(rows)
    known = await _known(services, account_id, rows, list(busy))
    levels = await _levels(services, account_id, list(_claims(account_id, busy, known)))
    fills: dict[tuple[str, str], list[Fill]] = {}
    for fill in () if levels is None else levels.fills:
        fills.setdefault((fill.claim.owner, fill.claim.model), []).append(fill)
    traffic = Traffic()
    for row in rows:
        traffic.add(row)
    return Live(
        account_id=account_id,
        at=now,
        since=since,
        source="none" if levels is None else levels.source,
        open_calls=levels.open_calls if levels is not None and visible.everything else None,
        traffic=traffic,
        models=[_in_model(account_id, model, busy[model], fills, known) for model in sorted(busy)],
        more=len({row.model for row in rows if row.model} - busy.keys()),
        drivers=_drivers(rows, known),
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What is stored of what the calls name: limits of the account and of workspaces, and how people call things."""

    account: Mapping[str, Limits]
    granted: Mapping[tuple[str, str], Limits]
    workspaces: Mapping[str, str]
    keys: Mapping[str, KeyName]


def _busiest(rows: Iterable[Driver]) -> dict[str, list[Driver]]:
    """The rows of the models with the most calls, by model."""
    by_model: dict[str, list[Driver]] = {}
    for row in rows:
        if row.model:
            by_model.setdefault(row.model, []).append(row)
    most = sorted(by_model, key=lambda model: (-sum(row.calls + row.refused for row in by_model[model]), model))
    return {model: by_model[model] for model in most[:MOST_MODELS]}


async def _known(services: Services, account_id: str, rows: Sequence[Driver], models: Sequence[str]) -> _Known:
    async with reading(services.engine) as conn:
        own = await stored.of_account(conn, account_id)
        raised = await increases.open_of_account(conn, account_id)
        granted = await grants.of_models(conn, account_id, models) if models else {}
        workspace_names = await names.of_workspaces(conn, {row.workspace_id for row in rows})
        keys = await names.of_keys(conn, {row.key_id for row in rows[:MOST_DRIVERS]})
    limits = {}
    for model in models:
        # As calls are held to them: by the catalogue of this process.
        of_model = services.catalogue.model(model)
        base = (NO_LIMITS if of_model is None else of_model.limits).over(services.default_limits)
        held = own.get(model, NO_LIMITS).over(base)
        limits[model] = raised[model].limits.over(held) if model in raised else held
    return _Known(limits, granted, workspace_names, keys)


def _claims(account_id: str, busy: Mapping[str, Sequence[Driver]], known: _Known) -> Iterable[Claim]:
    for model, rows in busy.items():
        yield from claims_of(Level.ACCOUNT, account_id, model, known.account[model])
        for workspace_id in {row.workspace_id for row in rows}:
            limits = known.granted.get((workspace_id, model), NO_LIMITS)
            yield from claims_of(Level.WORKSPACE, workspace_id, model, limits)


async def _levels(services: Services, account_id: str, claims: Sequence[Claim]) -> Levels | None:
    try:
        return await services.levels.levels(account_id, claims)
    except LimitsUnavailable:
        return None


def _in_model(
    account_id: str, model: str, rows: Sequence[Driver], fills: Mapping[tuple[str, str], Sequence[Fill]], known: _Known
) -> InModel:
    whole, parts = Traffic(), dict[str, Traffic]()
    for row in rows:
        whole.add(row)
        parts.setdefault(row.workspace_id, Traffic()).add(row)
    most = sorted(parts, key=lambda each: (-parts[each].calls, each))[:MOST_WORKSPACES]
    within = [
        InWorkspace(each, known.workspaces.get(each, ""), parts[each], _buckets(fills.get((each, model), ()))) for each in most
    ]
    within.sort(key=lambda each: (each.name.casefold(), each.workspace_id))
    return InModel(model, whole, _buckets(fills.get((account_id, model), ())), within, len(parts) - len(most))


def _buckets(fills: Iterable[Fill]) -> list[Bucket]:
    return [
        Bucket(
            kind=fill.claim.kind,
            limit=fill.claim.limit,
            capacity=fill.claim.capacity,
            used=fill.claim.capacity - fill.remaining,
            reset_ms=-(-fill.reset_us // 1000),
        )
        for fill in fills
    ]


def _drivers(rows: Sequence[Driver], known: _Known) -> list[Driving]:
    found = []
    for row in rows[:MOST_DRIVERS]:
        traffic = Traffic()
        traffic.add(row)
        name = known.workspaces.get(row.workspace_id, "")
        found.append(Driving(row.workspace_id, name, row.key_id, known.keys.get(row.key_id), row.model, traffic))
    return found
