"""The bodies of temporary increases and of the live view, as OpenAPI shows them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr

from gateway.control.schemas import CONTROL, Body, ModelName, PerMinute, trimmed

_MOST_MINUTES = 31 * 24 * 60

Reason = Annotated[StrictStr, Field(min_length=1, max_length=200, pattern=CONTROL), AfterValidator(trimmed)]


class IncreaseIn(Body):
    """One of `minutes` and `ends_at` says how long; each limit is above the one that the account has without it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"model": "qwen-plus", "rpm": 1200, "tpm": 2_000_000, "minutes": 240, "reason": "Load test of the launch"}
            ]
        },
    )

    model: ModelName
    rpm: PerMinute = None
    tpm: PerMinute = None
    minutes: Annotated[StrictInt | None, Field(ge=1, le=_MOST_MINUTES, description="From now on; at most 31 days.")] = None
    ends_at: Annotated[
        StrictStr | None, Field(max_length=40, description="RFC 3339 with its zone, or Unix seconds; at most 31 days from now.")
    ] = None
    reason: Reason


class LimitsIn(Body):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"rpm": 600, "tpm": 1_000_000}, {"rpm": 60}]})
    rpm: PerMinute = None
    tpm: PerMinute = None


class PerMinutes(BaseModel):
    rpm: int | None
    tpm: int | None


class Increase(BaseModel):
    """Limits of an account for a while; null stays as it is without."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "inc-4k2v8s1x0q7m3a9d",
                    "account_id": "acc-0f3k9s2m5q8x1z7c",
                    "model": "qwen-plus",
                    "rpm": 1200,
                    "tpm": None,
                    "base": {"rpm": 600, "tpm": 1_000_000},
                    "reason": "Load test of the launch",
                    "created_by": "ada@example.com",
                    "created_at": "2026-11-26T08:00:00.000Z",
                    "ends_at": "2026-11-26T12:00:00.000Z",
                    "ended_at": None,
                    "ended_by": None,
                    "state": "open",
                }
            ]
        }
    )

    id: str
    account_id: str
    model: str
    rpm: int | None
    tpm: int | None
    base: Annotated[PerMinutes, Field(description="What held when it began.")]
    reason: str
    created_by: str
    created_at: str
    ends_at: Annotated[str, Field(description="When it ends by itself, unless somebody ends it before.")]
    ended_at: str | None
    ended_by: Annotated[str | None, Field(description="Who ended it before its time.")]
    state: Annotated[Literal["open", "ended", "ended_early"], Field(description="`ended`: by itself, at its time.")]


_LIMITS: dict[str, Any] = {
    "model": "qwen-plus",
    "rpm": 600,
    "tpm": 1_000_000,
    "source": "account",
    "own": {"rpm": 600, "tpm": None},
}


class AccountLimits(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_LIMITS]})
    model: str
    rpm: int | None
    tpm: int | None
    source: Annotated[
        Literal["increase", "account", "model", "default"] | None,
        Field(description="The level that sets the limits, `increase` for one that is temporary; null: nothing does."),
    ]
    own: Annotated[PerMinutes | None, Field(description="What is set for the account itself; null: nothing is.")]


class SetAccountLimits(AccountLimits):
    model_config = ConfigDict(json_schema_extra={"examples": [{**_LIMITS, "warnings": []}]})
    warnings: Annotated[list[str], Field(description="What is allowed, and may surprise.")]
