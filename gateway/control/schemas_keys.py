"""The bodies of the admin API that are about API keys."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.control.schemas import Body, Description, ModelName

_KEY: dict[str, Any] = {
    "id": "ak-0123456789abcdef",
    "workspace_id": "llm-7c72iiw36kd8pqrs",
    "account_id": "acc-0123456789abcdef",
    "masked": "sk-AbCd****WxYz",
    "kind": "sk-",
    "status": "active",
    "description": "Production API key for main application",
    "models": None,
    "created_at": "2026-01-31T08:00:00.000Z",
    "reset_at": None,
    "last_used_at": "2026-02-01T09:30:00.000Z",
}
_NEW = {**_KEY, "last_used_at": None}


class KeyIn(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"description": _KEY["description"]}]})

    description: Description = ""
    models: Annotated[
        list[ModelName] | None,
        Field(min_length=1, max_length=1000, description="Narrows the key to these models; null: no narrowing."),
    ] = None


class KeyPatch(BaseModel):
    # Other fields are let through here, so that the route can say why they are refused.
    model_config = ConfigDict(
        extra="allow", json_schema_extra={"additionalProperties": False, "examples": [{"description": "Nightly jobs"}]}
    )

    description: Description


class Key(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_KEY]})

    id: str
    workspace_id: str
    account_id: str
    masked: str
    kind: str
    status: str
    description: str
    models: list[str] | None
    created_at: str
    reset_at: Annotated[str | None, Field(description="When it got the secret that it has; null: when it was created.")]
    last_used_at: str | None


class NewKey(Key):
    model_config = ConfigDict(json_schema_extra={"examples": [{**_NEW, "key": "sk-AbCd…WxYz"}]})

    key: Annotated[str, Field(description="The key itself: this reply is the only one that ever holds it.")]


class MadeKey(Key):
    """What a repeated request with an Idempotency-Key answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_NEW, "key": None}]})

    key: Annotated[None, Field(description="Shown in the first answer alone.")] = None
