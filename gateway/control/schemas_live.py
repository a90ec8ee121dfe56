"""The live view of an account's limits, as OpenAPI shows it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class LiveBucket(BaseModel):
    """A bucket of a minute's units, such as `rpm` 58 of 60; `used` is above `capacity` where the bucket is in debt."""

    limit: Annotated[Literal["rpm", "tpm"], Field(description="Which limit it is.")]
    per_minute: Annotated[int, Field(description="What it refills with.")]
    capacity: int
    used: int
    reset_ms: Annotated[int, Field(description="When it is full again if no call comes.")]


class LiveCause(BaseModel):
    code: Annotated[str, Field(description="As the refused call was answered, such as `limit_requests`.")]
    level: Annotated[
        Literal["account", "workspace", "key"] | None, Field(description="Whose limit it was; null where it was none.")
    ]
    calls: int


class LiveTraffic(BaseModel):
    """Calls since `since`. Admitted ones count once they have ended, refused ones after some two seconds."""

    admitted: int
    failures: Annotated[int, Field(description="Of the admitted ones.")]
    tokens: int
    refused: int
    causes: Annotated[list[LiveCause], Field(description="Of the refused ones, the most first.")]


class LiveWorkspace(LiveTraffic):
    workspace_id: str
    name: str
    buckets: Annotated[list[LiveBucket], Field(description="None where the workspace has no limits of its own.")]


class LiveModel(LiveTraffic):
    model: str
    buckets: Annotated[list[LiveBucket], Field(description="The account's.")]
    workspaces: list[LiveWorkspace]
    more_workspaces: int


class LiveDriver(LiveTraffic):
    """A key and a model."""

    workspace_id: str
    workspace_name: str
    key_id: str
    masked: Annotated[str | None, Field(description="null: the key is deleted.")]
    description: str
    model: Annotated[str, Field(description="Empty for refused calls that named no model there is.")]


_EXAMPLE: dict[str, Any] = {
    "account_id": "acc-0f3k9s2m5q8x1z7c",
    "at": "2026-11-26T08:00:00.000Z",
    "since": "2026-11-26T07:55:00.000Z",
    "source": "redis",
    "open_calls": 3,
    "admitted": 240,
    "failures": 1,
    "tokens": 81_200,
    "refused": 18,
    "causes": [{"code": "limit_requests", "level": "workspace", "calls": 18}],
    "models": [
        {
            "model": "qwen-plus",
            "admitted": 240,
            "failures": 1,
            "tokens": 81_200,
            "refused": 18,
            "causes": [{"code": "limit_requests", "level": "workspace", "calls": 18}],
            "buckets": [{"limit": "rpm", "per_minute": 600, "capacity": 600, "used": 58, "reset_ms": 5800}],
            "workspaces": [
                {
                    "workspace_id": "llm-7c72k1s9x4m2q8v0",
                    "name": "Production",
                    "admitted": 240,
                    "failures": 1,
                    "tokens": 81_200,
                    "refused": 18,
                    "causes": [{"code": "limit_requests", "level": "workspace", "calls": 18}],
                    "buckets": [{"limit": "rpm", "per_minute": 60, "capacity": 60, "used": 60, "reset_ms": 60_000}],
                }
            ],
            "more_workspaces": 0,
        }
    ],
    "more_models": 0,
    "drivers": [
        {
            "workspace_id": "llm-7c72k1s9x4m2q8v0",
            "workspace_name": "Production",
            "key_id": "ak-3m9x2k7s1q8v4z0c",
            "masked": "sk-7c7****9f2e",
            "description": "Batch summaries",
            "model": "qwen-plus",
            "admitted": 240,
            "failures": 1,
            "tokens": 81_200,
            "refused": 18,
            "causes": [{"code": "limit_requests", "level": "workspace", "calls": 18}],
        }
    ],
}


class Live(LiveTraffic):
    """How full the buckets are now, and the calls of the last five minutes: all, and by model, workspace and key."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    account_id: str
    at: str
    since: str
    source: Annotated[
        Literal["redis", "memory", "local", "none"],
        Field(
            description="Who keeps the buckets: all processes together (`redis`), or the only one (`memory`). While Redis is "
            "away: each process its share of each limit, of which this is one (`local`), or nobody (`none`)."
        ),
    ]
    open_calls: Annotated[
        int | None, Field(description="The account's calls that are open now and held to limits; null where that is not known.")
    ]
    models: Annotated[list[LiveModel], Field(description="Those with calls; at most 50, by name.")]
    more_models: int
    drivers: Annotated[list[LiveDriver], Field(description="Keys and models with the most calls; at most 10.")]
