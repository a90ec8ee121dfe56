"""Who may do what where.

A person has roles: each names a place, which is the whole installation, an account or a workspace. A role grants rights in its
place and in everything below it: an account's owner has every right of a workspace's admin in all of its workspaces.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.domain.visible import Visible


class Role(StrEnum):
    OPERATOR = "operator"
    """Of the installation: catalogue, upstreams, accounts and their limits, people; and all that the other roles may."""
    OWNER = "owner"
    """Of an account: its workspaces, their members, keys and grants."""
    ADMIN = "admin"
    """Of a workspace: its grants, keys and members."""
    MEMBER = "member"
    """Of a workspace: its keys."""
    VIEWER = "viewer"
    """Of an account or a workspace: sees it, and changes nothing."""


class Right(StrEnum):
    SIGNED_IN = "signed_in"
    """What everybody may who is known: see the catalogue, and look after one's own profile and sessions."""
    SEE_ACCOUNT = "see_account"
    """Its name and what it is held to; whoever has a role in one of its workspaces may."""
    READ_WORKSPACE = "read_workspace"
    """Its keys (masked), grants, usage, and how full its limits are."""
    MANAGE_KEYS = "manage_keys"
    MANAGE_GRANTS = "manage_grants"
    MANAGE_MEMBERS = "manage_members"
    READ_AUDIT = "read_audit"
    READ_ACCOUNT = "read_account"
    """All of its workspaces, its usage, the history of its limits."""
    MANAGE_WORKSPACES = "manage_workspaces"
    MANAGE_LIMITS = "manage_limits"
    MANAGE_ACCOUNTS = "manage_accounts"
    MANAGE_CATALOGUE = "manage_catalogue"
    MANAGE_PEOPLE = "manage_people"


_VIEWER = frozenset({Right.SIGNED_IN, Right.SEE_ACCOUNT, Right.READ_WORKSPACE})
_MEMBER = _VIEWER | {Right.MANAGE_KEYS}
_ADMIN = _MEMBER | {Right.MANAGE_GRANTS, Right.MANAGE_MEMBERS, Right.READ_AUDIT}
_RIGHTS: Final = {
    Role.VIEWER: _VIEWER,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _ADMIN,
    Role.OWNER: _ADMIN | {Right.READ_ACCOUNT, Right.MANAGE_WORKSPACES},
    Role.OPERATOR: frozenset(Right),
}
OF_AN_ACCOUNT: Final = frozenset({Right.READ_ACCOUNT})
"""Rights that a role of a whole account has besides those that it has in each of the workspaces."""

PLACES: Final = {
    Role.OPERATOR: frozenset({"installation"}),
    Role.OWNER: frozenset({"account"}),
    Role.ADMIN: frozenset({"workspace"}),
    Role.MEMBER: frozenset({"workspace"}),
    Role.VIEWER: frozenset({"account", "workspace"}),
}
"""Where a role can be held."""


@dataclass(frozen=True, slots=True)
class Place:
    """The installation (no ID), an account, or a workspace, which names its account too."""

    account_id: str | None = None
    workspace_id: str | None = None

    @property
    def kind(self) -> str:
        return "workspace" if self.workspace_id else "account" if self.account_id else "installation"

    @property
    def scope(self) -> str:
        """One text for the place: the ID that is the narrowest, empty for the installation."""
        return self.workspace_id or self.account_id or ""

    def holds(self, other: "Place") -> bool:
        """Whether `other` is this place or lies in it."""
        if self.workspace_id is not None:
            return self.workspace_id == other.workspace_id
        return self.account_id is None or self.account_id == other.account_id


INSTALLATION: Final = Place()


@dataclass(frozen=True, slots=True)
class Membership:
    """A role in a place."""

    role: Role
    place: Place

    @property
    def rights(self) -> frozenset[Right]:
        return _RIGHTS[self.role] | OF_AN_ACCOUNT if self.place.kind == "account" else _RIGHTS[self.role]


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who is known: a person who signed in, or whoever holds the admin token (without `user_id`)."""

    user_id: str
    email: str
    name: str
    memberships: tuple[Membership, ...] = ()

    def may(self, right: Right, place: Place) -> bool:
        if right is Right.SIGNED_IN:
            return True
        if right is Right.SEE_ACCOUNT:
            return any(each.place.account_id in (None, place.account_id) for each in self.memberships)
        return any(right in each.rights and each.place.holds(place) for each in self.memberships)

    def may_somewhere(self, right: Right) -> bool:
        """Whether there is any place where the right is held."""
        return right is Right.SIGNED_IN or any(right in each.rights for each in self.memberships)

    def visible(self, right: Right = Right.READ_WORKSPACE) -> Visible:
        """Where the right is held."""
        held = [each.place for each in self.memberships if right in each.rights]
        return Visible(
            everything=any(place.kind == "installation" for place in held),
            accounts=frozenset(place.account_id or "" for place in held if place.kind == "account"),
            workspaces=frozenset(place.workspace_id or "" for place in held if place.kind == "workspace"),
        )

    @property
    def is_operator(self) -> bool:
        return any(each.role is Role.OPERATOR for each in self.memberships)

    def accounts(self) -> frozenset[str] | None:
        """The accounts that are seen at all; None for every one."""
        if self.is_operator:
            return None
        return frozenset(each.place.account_id or "" for each in self.memberships)


def operator(email: str, name: str) -> Identity:
    """An identity with every right that is no person."""
    return Identity("", email, name, (Membership(Role.OPERATOR, INSTALLATION),))


def may_give(giver: Identity, role: Role, place: Place) -> bool:
    """Whether somebody may give, change or take a role: never one above the highest of their own there."""
    if place.kind not in PLACES[role] or not giver.may(Right.MANAGE_MEMBERS, place):
        return False
    held: Iterable[Membership] = (each for each in giver.memberships if each.place.holds(place))
    return any(_RIGHTS[role] <= each.rights for each in held)
