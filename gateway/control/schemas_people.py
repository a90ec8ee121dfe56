"""The bodies of the admin API that are about people."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictStr

from gateway.control.schemas import CONTROL, Body, example, trimmed

RoleName = Literal["operator", "owner", "admin", "member", "viewer"]
OptionalId = Annotated[StrictStr | None, Field(max_length=64, pattern=r"^[!-~]+$")]
Email = Annotated[StrictStr, Field(min_length=3, max_length=254)]
PersonName = Annotated[StrictStr, Field(min_length=1, max_length=120, pattern=CONTROL), AfterValidator(trimmed)]
Password = Annotated[StrictStr, Field(min_length=1, max_length=1000)]

_TIME, _LATER = "2026-01-31T12:00:00.000Z", "2026-02-07T12:00:00.000Z"
_ACCOUNT_ID, _WORKSPACE_ID = "acc-0123456789abcdef", "llm-7c72iiw36kd8pqrs"
_ROLE: dict[str, Any] = {"role": "admin", "account_id": _ACCOUNT_ID, "workspace_id": _WORKSPACE_ID}
_PERSON: dict[str, Any] = {"email": "kim@example.com", "name": "Kim Example"}
_USER_ID = "usr-0123456789abcdef"
_USER: dict[str, Any] = {
    "id": _USER_ID,
    **_PERSON,
    "status": "active",
    "created_at": _TIME,
    "last_sign_in_at": _TIME,
    "roles": [_ROLE],
}
_LINK: dict[str, Any] = {
    "url": "https://gateway.example.com/console/link/the-secret-of-the-link",
    "path": "/console/link/the-secret-of-the-link",
}
_INVITATION: dict[str, Any] = {
    "id": "lnk-0123456789abcdef",
    "email": "kim@example.com",
    **_ROLE,
    "created_by": "ada@example.com",
    "created_at": _TIME,
    "expires_at": _LATER,
}


class HeldRole(BaseModel):
    model_config = example(_ROLE)
    role: RoleName
    account_id: Annotated[str | None, Field(description="null: the whole installation.")]
    workspace_id: Annotated[str | None, Field(description="null: the whole account.")]


class Me(BaseModel):
    model_config = example({"user_id": _USER_ID, **_PERSON, "roles": [_ROLE]})
    user_id: Annotated[str | None, Field(description="null for the admin token, which is nobody.")]
    email: str
    name: str
    roles: list[HeldRole]


class MePatch(Body):
    model_config = example({"name": "Kim Example"})
    name: PersonName


class PasswordIn(Body):
    model_config = example({"current": "the present password", "new": "another long password"})
    current: Password
    new: Password


class Session(BaseModel):
    model_config = example(
        {
            "id": "ses-0123456789abcdef",
            "created_at": _TIME,
            "seen_at": _TIME,
            "client": "192.0.2.7",
            "agent": "Firefox on Linux",
            "is_current": True,
        }
    )
    id: str
    created_at: str
    seen_at: str
    client: str | None
    agent: str | None
    is_current: bool


class User(BaseModel):
    model_config = example(_USER)
    id: str
    email: str
    name: str
    status: Literal["active", "disabled"]
    created_at: str
    last_sign_in_at: str | None
    roles: list[HeldRole]


class UserPatch(Body):
    model_config = example({"status": "disabled"})
    status: Literal["active", "disabled"]


class Link(BaseModel):
    """A one-time link: this reply is the only one that ever holds it."""

    model_config = example({"id": "lnk-0123456789abcdef", **_LINK, "expires_at": _LATER})
    id: str
    url: str
    path: Annotated[str, Field(description="The link without the address, for one who reaches the gateway by another.")]
    expires_at: str


class EndedSessions(BaseModel):
    model_config = example({"ended": 2})
    ended: int


class Member(BaseModel):
    model_config = example(
        {"user_id": _USER_ID, **_PERSON, "status": "active", **_ROLE, "created_at": _TIME, "last_sign_in_at": None}
    )
    user_id: str
    email: str
    name: str
    status: Literal["active", "disabled"]
    role: RoleName
    account_id: str | None
    workspace_id: str | None
    created_at: str
    last_sign_in_at: str | None


class MemberPatch(Body):
    """The place is named by `workspace_id`, or by `account_id` alone; neither is the installation."""

    model_config = example({"role": "viewer", "workspace_id": _WORKSPACE_ID})
    role: RoleName
    account_id: OptionalId = None
    workspace_id: OptionalId = None


class InvitationIn(Body):
    """The place is named by `workspace_id`, or by `account_id` alone; neither is the installation."""

    model_config = example({"email": "kim@example.com", "role": "admin", "workspace_id": _WORKSPACE_ID})
    email: Email
    role: RoleName
    account_id: OptionalId = None
    workspace_id: OptionalId = None


class Invitation(BaseModel):
    model_config = example(_INVITATION)
    id: str
    email: str
    role: RoleName
    account_id: str | None
    workspace_id: str | None
    created_by: str
    created_at: str
    expires_at: str


class NewInvitation(Invitation):
    model_config = example({**_INVITATION, **_LINK})
    url: str
    path: Annotated[str, Field(description="The link without the address, for one who reaches the gateway by another.")]
