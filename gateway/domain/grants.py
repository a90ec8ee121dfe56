"""Who may call which model, and up to which limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.domain.credentials import KeyKind

MAX_LIMIT = 100_000_000
"""The highest limit, in units a minute: above it, bucket arithmetic would leave the 2^53 that Redis's Lua computes exactly."""


class KeyStatus(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests and tokens a minute; None means that this level sets no limit of its own."""

    rpm: int | None = None
    tpm: int | None = None

    def over(self, base: "Limits") -> "Limits":
        """These limits, and `base`'s where these set none."""
        return Limits(rpm=base.rpm if self.rpm is None else self.rpm, tpm=base.tpm if self.tpm is None else self.tpm)


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Model:
    """A public name in the catalogue. `type` is `chat`, `completion`, `embedding`, or None where nobody said."""

    name: str
    type: str | None = None
    vendor: str | None = None
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Principal:
    """What a key resolves to: one snapshot of its account's policy, read in one statement together with `epoch`.

    `grants` counts for sub-workspaces only; `account_limits` are the account's own, which come before the model's, with its open
    increases over them; `key_models` is None where the key narrows nothing; `catalogue_version` says how new the catalogue has
    to be that this principal is held to. `held` is room for what the data plane works out of all that, by the model's name.
    """

    key_id: str
    kind: KeyKind
    status: KeyStatus
    workspace_id: str
    account_id: str
    is_default: bool
    epoch: int
    catalogue_version: int
    grants: Mapping[str, Limits] = field(default_factory=dict)
    account_limits: Mapping[str, Limits] = field(default_factory=dict)
    key_models: frozenset[str] | None = None
    held: dict[str, object] = field(default_factory=dict, init=False, compare=False, repr=False)


def may_use(principal: Principal, model: str) -> bool:
    """Whether the key may call a model of the catalogue. Both enforcement and `GET models` ask this."""
    if principal.key_models is not None and model not in principal.key_models:
        return False
    return principal.is_default or model in principal.grants


@dataclass(frozen=True, slots=True)
class LimitProblem:
    """Why limits cannot be set: the field, and a sentence that says what to do."""

    param: str
    message: str


def check_limits(limits: Limits) -> list[LimitProblem]:
    """What is wrong with limits at any level (the reference's documentation: TPM cannot be set before RPM)."""
    problems = [
        LimitProblem(name, f"{name} must be a whole number from 1 to {MAX_LIMIT:,}, or null for no limit.")
        for name, value in (("rpm", limits.rpm), ("tpm", limits.tpm))
        if value is not None and not 1 <= value <= MAX_LIMIT
    ]
    if limits.tpm is not None and limits.rpm is None:
        problems.append(LimitProblem("tpm", "tpm cannot be set without rpm; set rpm as well."))
    return problems


def check_grant(limits: Limits, account: Limits, *, is_default: bool) -> list[LimitProblem]:
    """What is wrong with a workspace's limits for a model whose account-level limits are `account`."""
    if is_default:
        return [
            LimitProblem("workspace", "The default workspace reaches every model at the account's limits and cannot be limited.")
        ]
    problems = check_limits(limits)
    for name, value, highest in (("rpm", limits.rpm, account.rpm), ("tpm", limits.tpm, account.tpm)):
        if value is not None and highest is not None and value > highest:
            problems.append(LimitProblem(name, f"{name} {value:,} is above the account's {highest:,} for this model."))
    return problems
