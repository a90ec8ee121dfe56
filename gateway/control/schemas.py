"""The bodies of the admin API, as OpenAPI shows them. A field that is not here is refused, never ignored."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

from gateway.control.paging import DEFAULT_LIMIT, MAX_LIMIT
from gateway.domain.upstreams import is_model_name

Item = TypeVar("Item")

CONTROL = r"^[^\p{Cc}]*$"


def when(unix_ms: int) -> str:
    """A time as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def trimmed(text: str) -> str:
    trimmed = text.strip()
    if not trimmed:
        raise PydanticCustomError("blank", "must not be blank")
    return trimmed


def _model_name(name: str) -> str:
    if not is_model_name(name):
        raise PydanticCustomError("model_name", "must be a model's name of 1 to 255 printable characters")
    return name


Id = Annotated[str, Path(max_length=64, pattern=r"^[!-~]+$")]
ModelPath = Annotated[str, Path(description="The model's public name; may contain `/`."), AfterValidator(_model_name)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="At most this many rows.")]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")]
Filter = Annotated[str | None, Query(max_length=300, pattern=CONTROL)]
Moment = Annotated[str | None, Query(max_length=40, description="RFC 3339 with its zone, or Unix seconds.")]
PAGE = DEFAULT_LIMIT

AccountName = Annotated[StrictStr, Field(min_length=1, max_length=120, pattern=CONTROL), AfterValidator(trimmed)]
WorkspaceName = Annotated[StrictStr, Field(min_length=1, max_length=30, pattern=CONTROL), AfterValidator(trimmed)]
Description = Annotated[StrictStr, Field(max_length=200, pattern=CONTROL)]
ModelName = Annotated[StrictStr, AfterValidator(_model_name)]
PerMinute = Annotated[StrictInt | None, Field(description="Units a minute; null sets no limit at this level.")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _show_listing(schema: dict[str, Any], listing: type[BaseModel]) -> None:
    """Give a listing its example: a page with the example of what it lists."""
    item = next(iter(listing.__pydantic_generic_metadata__["args"]), None)
    extra = getattr(item, "model_config", {}).get("json_schema_extra")
    if isinstance(extra, dict) and "examples" in extra:
        schema["examples"] = [{"data": extra["examples"][:1], "next_cursor": None}]


class Listing(BaseModel, Generic[Item]):
    model_config = ConfigDict(json_schema_extra=_show_listing)

    data: list[Item]
    next_cursor: str | None = None


class AccountIn(Body):
    name: AccountName


class Account(BaseModel):
    id: str
    name: str
    is_default: bool
    created_at: str


class NewAccount(Account):
    default_workspace_id: str


class WorkspaceIn(Body):
    name: WorkspaceName
    account_id: Annotated[
        StrictStr | None, Field(max_length=64, pattern=r"^[!-~]+$", description="Left out: the default account.")
    ] = None


class WorkspacePatch(Body):
    name: WorkspaceName


class Workspace(BaseModel):
    id: str
    account_id: str
    name: str
    is_default: bool
    created_at: str
    key_count: int


class LimitsIn(Body):
    rpm: PerMinute = None
    tpm: PerMinute = None


class Grant(BaseModel):
    workspace_id: str
    model: str
    rpm: int | None
    tpm: int | None
    created_at: str
    updated_at: str


class SetGrant(Grant):
    warnings: list[str]


class AccountLimits(BaseModel):
    model: str
    rpm: int | None
    tpm: int | None
    source: Annotated[
        Literal["account", "model", "default"] | None, Field(description="The level that sets the limits; null: nothing does.")
    ]


class SetAccountLimits(AccountLimits):
    warnings: list[str]


class ModelIn(Body):
    rpm: PerMinute = None
    tpm: PerMinute = None
    type: Literal["chat", "completion", "embedding"] | None = None
    vendor: Annotated[StrictStr | None, Field(max_length=120, pattern=CONTROL)] = None


class Model(BaseModel):
    name: str
    type: str | None
    vendor: str | None
    rpm: int | None
    tpm: int | None
    source: Annotated[Literal["database", "upstream"], Field(description="`upstream`: known only because an upstream serves it.")]
    owned_by: Annotated[str | None, Field(description="As the data plane's `GET models` says.")]
    created_at: str | None
    updated_at: str | None


UpstreamModels = Annotated[
    list[StrictStr] | dict[StrictStr, StrictStr] | StrictStr,
    Field(
        description="Public names; `public=own` or `{public: own}` where the upstream has another name for it; `*`: all it has.",
        examples=[["a", "b=name-over-there"], {"a": "name-over-there"}, "*"],
    ),
]
UpstreamName = Annotated[StrictStr, Field(min_length=1, max_length=120, pattern=CONTROL), AfterValidator(trimmed)]
Secret = Annotated[StrictStr, Field(min_length=1, max_length=4000, pattern=r"^[!-~]+$", description="Write-only.")]
BaseUrl = Annotated[StrictStr, Field(min_length=1, max_length=2000)]
Weight = Annotated[StrictInt, Field(ge=1, le=1000)]


class UpstreamIn(Body):
    name: UpstreamName | None = None
    base_url: BaseUrl
    api_key: Secret | None = None
    models: UpstreamModels = "*"
    weight: Weight = 1
    enabled: StrictBool = True


class UpstreamPatch(Body):
    """Only the fields that are sent are changed; `api_key: null` removes the credential."""

    name: UpstreamName | None = None
    base_url: BaseUrl | None = None
    api_key: Secret | None = None
    models: UpstreamModels | None = None
    weight: Weight | None = None
    enabled: StrictBool | None = None


class Upstream(BaseModel):
    id: str
    name: str
    base_url: str
    has_api_key: bool
    models: Annotated[dict[str, str], Field(description="Public names, and the names that the upstream uses itself.")]
    lists_models: bool
    weight: int
    enabled: bool
    source: str
    state: str
    serves: Annotated[list[str], Field(description="The public names that it serves now.")]
    last_error: str | None
    created_at: str | None
    updated_at: str | None


class UsageNumbers(BaseModel):
    calls: int
    failures: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    estimated_calls: Annotated[int, Field(description="Calls whose tokens were reckoned, since the upstream named none.")]
    ttft_ms: Annotated[float | None, Field(description="Mean time to the first byte, in milliseconds.")]
    duration_ms: Annotated[float, Field(description="Mean duration, in milliseconds.")]


class UsageOfGroup(UsageNumbers):
    group: Annotated[str, Field(description="The model's name, or the ID of the workspace or key.")]


class Usage(BaseModel):
    start: str
    end: str
    group_by: str
    data: list[UsageOfGroup]
    next_cursor: None = None
    total: UsageNumbers


class AuditEntry(BaseModel):
    id: str
    at: str
    actor: str
    action: str
    target: str
    account_id: str | None
    workspace_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    client: str | None


class FieldProblem(BaseModel):
    param: str
    message: str


class ErrorObject(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ProblemDocument(BaseModel):
    """A refusal (RFC 9457), with the `error` object that OpenAI's SDKs read."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem]
    request_id: str
    error: ErrorObject
