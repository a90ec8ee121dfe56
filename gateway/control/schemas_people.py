"""The bodies of the admin API that are about people."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictStr

from gateway.control.schemas import CONTROL, Body, trimmed

RoleName = Literal["operator", "owner", "admin", "member", "viewer"]
OptionalId = Annotated[StrictStr | None, Field(max_length=64, pattern=r"^[!-~]+$")]
Email = Annotated[StrictStr, Field(min_length=3, max_length=254)]
PersonName = Annotated[StrictStr, Field(min_length=1, max_length=120, pattern=CONTROL), AfterValidator(trimmed)]
Password = Annotated[StrictStr, Field(min_length=1, max_length=1000)]


class HeldRole(BaseModel):
    role: RoleName
    account_id: Annotated[str | None, Field(description="null: the whole installation.")]
    workspace_id: Annotated[str | None, Field(description="null: the whole account.")]


class Me(BaseModel):
    user_id: Annotated[str | None, Field(description="null for the admin token, which is nobody.")]
    email: str
    name: str
    roles: list[HeldRole]


class MePatch(Body):
    name: PersonName


class PasswordIn(Body):
    current: Password
    new: Password


class Session(BaseModel):
    id: str
    created_at: str
    seen_at: str
    client: str | None
    agent: str | None
    is_current: bool


class User(BaseModel):
    id: str
    email: str
    name: str
    status: Literal["active", "disabled"]
    created_at: str
    last_sign_in_at: str | None
    roles: list[HeldRole]


class UserPatch(Body):
    status: Literal["active", "disabled"]


class Link(BaseModel):
    """A one-time link: this reply is the only one that ever holds it."""

    id: str
    url: str
    path: Annotated[str, Field(description="The link without the address, for one who reaches the gateway by another.")]
    expires_at: str


class EndedSessions(BaseModel):
    ended: int


class Member(BaseModel):
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

    role: RoleName
    account_id: OptionalId = None
    workspace_id: OptionalId = None


class InvitationIn(Body):
    """The place is named by `workspace_id`, or by `account_id` alone; neither is the installation."""

    email: Email
    role: RoleName
    account_id: OptionalId = None
    workspace_id: OptionalId = None


class Invitation(BaseModel):
    id: str
    email: str
    role: RoleName
    account_id: str | None
    workspace_id: str | None
    created_by: str
    created_at: str
    expires_at: str


class NewInvitation(Invitation):
    url: str
    path: Annotated[str, Field(description="The link without the address, for one who reaches the gateway by another.")]
