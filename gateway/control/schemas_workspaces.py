"""The bodies of the admin API that are about accounts, workspaces and grants."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from gateway.control.schemas import AccountName, Body, ModelName, PerMinute, WorkspaceName

_TIME = "2026-01-31T12:00:00.000Z"
_ACCOUNT: dict[str, Any] = {"id": "acc-0123456789abcdef", "name": "Example Ltd", "is_default": False, "created_at": _TIME}
_WORKSPACE: dict[str, Any] = {
    "id": "llm-7c72iiw36kd8pqrs",
    "account_id": "acc-0123456789abcdef",
    "name": "Research",
    "is_default": False,
    "created_at": _TIME,
    "key_count": 3,
    "grant_count": 12,
}
_GRANT: dict[str, Any] = {
    "workspace_id": "llm-7c72iiw36kd8pqrs",
    "model": "demo-chat",
    "rpm": 60,
    "tpm": 100_000,
    "created_at": _TIME,
    "updated_at": _TIME,
}
_WARNING = "The account's workspaces are granted 720 rpm of demo-chat together; the account has 600."


def _example(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class AccountIn(Body):
    model_config = _example({"name": "Example Ltd"})
    name: AccountName


class Account(BaseModel):
    model_config = _example(_ACCOUNT)
    id: str
    name: str
    is_default: bool
    created_at: str


class NewAccount(Account):
    model_config = _example({**_ACCOUNT, "default_workspace_id": "llm-9d14mmx58re6wxyz"})
    default_workspace_id: str


class WorkspaceIn(Body):
    model_config = _example({"name": "Research"}, {"name": "Research", "account_id": "acc-0123456789abcdef"})
    name: WorkspaceName
    account_id: Annotated[
        StrictStr | None, Field(max_length=64, pattern=r"^[!-~]+$", description="Left out: the default account.")
    ] = None


class WorkspacePatch(Body):
    model_config = _example({"name": "Research and development"})
    name: WorkspaceName


class Workspace(BaseModel):
    model_config = _example(_WORKSPACE)
    id: str
    account_id: str
    name: str
    is_default: bool
    created_at: str
    key_count: int
    grant_count: Annotated[int, Field(description="Models that it may call; 0 for a default workspace, which reaches all.")]


class Grant(BaseModel):
    model_config = _example(_GRANT)
    workspace_id: str
    model: str
    rpm: int | None
    tpm: int | None
    created_at: str
    updated_at: str


class SetGrant(Grant):
    model_config = _example({**_GRANT, "warnings": [_WARNING]})
    warnings: Annotated[list[str], Field(description="What is allowed, and may surprise.")]


class GrantIn(Body):
    model_config = _example({"model": "demo-chat", "rpm": 60, "tpm": 100_000})
    model: ModelName
    rpm: PerMinute = None
    tpm: PerMinute = None


class GrantsIn(Body):
    model_config = _example({"grants": [{"model": "demo-chat", "rpm": 60, "tpm": 100_000}, {"model": "demo-embedding"}]})
    grants: Annotated[list[GrantIn], Field(max_length=1000, description="All that is to be granted; what is not here is taken.")]


class SetGrants(BaseModel):
    model_config = _example({"data": [_GRANT], "next_cursor": None, "added": 1, "changed": 0, "removed": 2, "warnings": []})
    data: list[Grant]
    next_cursor: None = None
    added: int
    changed: int
    removed: int
    warnings: Annotated[list[str], Field(description="What is allowed, and may surprise.")]
