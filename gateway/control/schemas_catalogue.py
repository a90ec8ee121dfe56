"""The bodies of the admin API that are about models and upstreams."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StrictInt, StrictStr

from gateway.control.schemas import CONTROL, Body, ModelName, PerMinute, example, trimmed

ModelType = Literal["chat", "completion", "embedding"]

_TIME = "2026-01-31T12:00:00.000Z"
_MODEL: dict[str, Any] = {
    "name": "example/large",
    "type": "chat",
    "vendor": "Example Labs",
    "rpm": 600,
    "tpm": 1_000_000,
    "source": "database",
    "owned_by": "Example Labs",
    "served_by": 2,
    "healthy": 1,
    "grants": 4,
    "created_at": _TIME,
    "updated_at": _TIME,
}
_SERVED = {"example/large": "large-2026", "small": "small"}
_UPSTREAM: dict[str, Any] = {
    "id": "up-0123456789abcdef",
    "name": "GPU servers in Frankfurt",
    "base_url": "https://models.example.com/v1",
    "has_api_key": True,
    "models": _SERVED,
    "lists_models": False,
    "weight": 3,
    "enabled": True,
    "source": "database",
    "state": "healthy",
    "serves": ["example/large", "small"],
    "last_error": None,
    "created_at": _TIME,
    "updated_at": _TIME,
}
_NO_USAGE: dict[str, Any] = {"input_tokens": None, "output_tokens": None, "total_tokens": None}
_CALL: dict[str, Any] = {
    "ok": True,
    "status": 200,
    "milliseconds": 430,
    "model": "example/large",
    "upstream_model": "large-2026",
    "reply": "Hello! How can I help you today?",
    "usage": {"input_tokens": 9, "output_tokens": 10, "total_tokens": 19},
    "error": None,
    "hint": None,
}
_REFUSED: dict[str, Any] = _CALL | {
    "ok": False,
    "status": 401,
    "milliseconds": 85,
    "reply": '{\n  "error": {\n    "message": "Incorrect API key provided: ***"\n  }\n}',
    "usage": _NO_USAGE,
    "error": "The server answered 401 Unauthorized: Incorrect API key provided: ***.",
    "hint": "The server does not take the credential, or not for this model; enter it anew.",
}


class ModelIn(Body):
    model_config = example({"rpm": 600, "tpm": 1_000_000, "type": "chat", "vendor": "Example Labs"})
    rpm: PerMinute = None
    tpm: PerMinute = None
    type: Annotated[ModelType | None, Field(description="What it is for; null: any endpoint may be asked for it.")] = None
    vendor: Annotated[StrictStr | None, Field(max_length=120, pattern=CONTROL)] = None


class Model(BaseModel):
    model_config = example(_MODEL)
    name: str
    type: str | None
    vendor: str | None
    rpm: int | None
    tpm: int | None
    source: Annotated[Literal["database", "upstream"], Field(description="`upstream`: known only because an upstream serves it.")]
    owned_by: Annotated[str | None, Field(description="As the data plane's `GET models` says.")]
    served_by: Annotated[int, Field(description="Upstreams that are enabled and serve it.")]
    healthy: Annotated[int, Field(description="Those of them that are not ejected, as this process sees them.")]
    grants: Annotated[int | None, Field(description="Workspaces that it is granted to; null for who may not manage models.")]
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
Weight = Annotated[StrictInt, Field(ge=1, le=1000, description="Its share of the calls where several serve a model.")]


class UpstreamIn(Body):
    model_config = example(
        {"base_url": "http://127.0.0.1:8000/v1"},
        {
            "name": "GPU servers in Frankfurt",
            "base_url": "https://models.example.com/v1",
            "api_key": "credential-of-the-upstream",
            "models": _SERVED,
            "weight": 3,
            "enabled": True,
        },
    )
    name: Annotated[UpstreamName | None, Field(description="Left out: the host's name.")] = None
    base_url: BaseUrl
    api_key: Secret | None = None
    models: UpstreamModels = "*"
    weight: Weight = 1
    enabled: StrictBool = True


class UpstreamPatch(Body):
    """Only the fields that are sent are changed; `api_key: null` removes the credential.

    A credential is bound to the server that it was entered for: another scheme, host or port takes it anew, or null.
    """

    model_config = example({"weight": 5}, {"enabled": False}, {"models": ["small", "example/large=large-2026"]})
    name: UpstreamName | None = None
    base_url: BaseUrl | None = None
    api_key: Secret | None = None
    models: UpstreamModels | None = None
    weight: Weight | None = None
    enabled: StrictBool | None = None


class Upstream(BaseModel):
    model_config = example(_UPSTREAM)
    id: str
    name: str
    base_url: str
    has_api_key: bool
    models: Annotated[dict[str, str], Field(description="Public names, and the names that the upstream uses itself.")]
    lists_models: Annotated[bool, Field(description="Whether it serves besides whatever its own list of models names.")]
    weight: int
    enabled: bool
    source: Annotated[str, Field(description="`database`; `config` and `demo` are changed where they are set.")]
    state: Annotated[str, Field(description="`healthy`, `ejected` or `disabled`, as this process sees it.")]
    serves: Annotated[list[str], Field(description="The public names that it serves now.")]
    last_error: str | None
    created_at: str | None
    updated_at: str | None


class CallIn(Body):
    model_config = example({"model": "example/large", "prompt": "Say hello."}, {})
    model: Annotated[ModelName | None, Field(description="Left out: the first that it serves, else its list of models.")] = None
    prompt: Annotated[StrictStr, Field(min_length=1, max_length=2000)] = "Say hello."


class CallUsage(BaseModel):
    """Tokens, as far as the upstream told them."""

    model_config = example(_CALL["usage"])
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None


class CallOutcome(BaseModel):
    """What came back of a test call; the credential never stands in it."""

    model_config = example(_CALL, _REFUSED)
    ok: Annotated[bool, Field(description="Whether a reply of OpenAI's form came.")]
    status: Annotated[int | None, Field(description="The upstream's; null where no answer came.")]
    milliseconds: int
    model: Annotated[str | None, Field(description="null: its list of models was asked for.")]
    upstream_model: str | None
    reply: Annotated[str | None, Field(description="The model's text, else the answer's first 2,048 characters.")]
    usage: CallUsage
    error: Annotated[str | None, Field(description="What went wrong.")]
    hint: Annotated[str | None, Field(description="What to look at.")]
