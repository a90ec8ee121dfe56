"""The answers of the admin API about usage and about the audit trail."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

_NUMBERS: dict[str, Any] = {
    "calls": 1200,
    "failures": 6,
    "refused": 14,
    "input_tokens": 960_000,
    "output_tokens": 240_000,
    "total_tokens": 1_200_000,
    "cached_tokens": 310_000,
    "estimated_calls": 0,
    "ttft_ms": 312.4,
    "duration_ms": 1840.2,
}
_START, _END = "2026-01-30T12:00:00.000Z", "2026-01-31T12:00:00.001Z"


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [fields]})


class UsageNumbers(BaseModel):
    model_config = _example(**_NUMBERS)

    calls: int
    failures: Annotated[int, Field(description="Calls that were admitted and did not end well.")]
    refused: Annotated[int, Field(description="Calls that were not admitted; they are in no other number.")]
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: Annotated[int, Field(description="The part of the input that the upstream took from its cache.")]
    estimated_calls: Annotated[int, Field(description="Calls whose tokens were reckoned, since the upstream named none.")]
    ttft_ms: Annotated[float | None, Field(description="Mean time to the first byte, in milliseconds.")]
    duration_ms: Annotated[float, Field(description="Mean duration, in milliseconds.")]


class UsageOfGroup(UsageNumbers):
    model_config = _example(group="ak-4f9s01kd8a7xq2mz", name="sk-4f9s****q2mz Nightly evaluation", **_NUMBERS)

    group: Annotated[
        str,
        Field(
            description="The model's name, or the ID of the workspace or key; empty for refused calls that named no model of the "
            "catalogue."
        ),
    ]
    name: Annotated[
        str | None, Field(description="The workspace's name; the key's masked form and description. null where it is deleted.")
    ]


class Usage(BaseModel):
    model_config = _example(
        start=_START,
        end=_END,
        group_by="model",
        data=[{"group": "qwen-plus", "name": "qwen-plus", **_NUMBERS}],
        next_cursor=None,
        total=_NUMBERS,
    )

    start: str
    end: str
    group_by: str
    data: list[UsageOfGroup]
    next_cursor: None = None
    total: UsageNumbers


class UsageOfStep(UsageNumbers):
    model_config = _example(at="2026-01-30T12:00:00.000Z", group="qwen-plus", **_NUMBERS)

    at: Annotated[str, Field(description="When the step begins.")]
    group: Annotated[str | None, Field(description="As in `GET /usage`; null for all groups together that are not told apart.")]


class UsageSeries(BaseModel):
    model_config = _example(
        start="2026-01-30T12:00:00.000Z",
        end="2026-01-31T13:00:00.000Z",
        step=3600,
        group_by="model",
        data=[{"at": "2026-01-30T12:00:00.000Z", "group": "qwen-plus", **_NUMBERS}],
        next_cursor=None,
    )

    start: str
    end: str
    step: Annotated[int, Field(description="Seconds.")]
    group_by: str
    data: Annotated[
        list[UsageOfStep],
        Field(description="By time, then by group; a step without a call is left out. At most 100 groups are told apart."),
    ]
    next_cursor: None = None


class AuditEntry(BaseModel):
    model_config = _example(
        id="019c0f3a-5b1e-7c3d-9a41-0d2f6b8e5c77",
        at="2026-01-31T12:00:00.000Z",
        actor="ada@example.com",
        action="key.update",
        target="ak-4f9s01kd8a7xq2mz",
        account_id="acc-8d2k5m1p9s3v7x0z",
        workspace_id="llm-7c72iiw36kd8a1f0",
        before={"description": ""},
        after={"description": "Production API key for main application"},
        client="192.0.2.7",
    )

    id: str
    at: str
    actor: Annotated[str, Field(description="An e-mail address; `admin token`; `gateway` for its own acts.")]
    action: str
    target: str
    account_id: str | None
    workspace_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    client: Annotated[str | None, Field(description="The address that the request came from.")]
