"""Roles and where they are held, in words."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.control.console.view import View
from gateway.control.services import members
from gateway.domain.roles import Membership, Place, Role, may_give

EVERYWHERE = "Everything"
WORDS: Mapping[Role, str] = {
    Role.OPERATOR: "Everything, in every account: the catalogue, upstreams, accounts, limits and people.",
    Role.OWNER: "All of the account: its workspaces, their keys, models and members.",
    Role.ADMIN: "The workspace's keys, models and members.",
    Role.MEMBER: "The workspace's keys: make, reset and delete them.",
    Role.VIEWER: "Sees keys (never their secrets), models, limits and usage. Changes nothing.",
}


@dataclass(frozen=True, slots=True)
class Where:
    """A place as it is shown: its name, and what it lies in or what kind of place it is; on one line, `text`."""

    name: str
    within: str
    text: str


@dataclass(frozen=True, slots=True)
class HeldRole:
    """A role as it is shown."""

    label: str
    where: Where


def label(role: Role) -> str:
    return role.value.capitalize()


def where(place: Place, names: Mapping[str, str]) -> Where:
    account = names.get(place.account_id or "", place.account_id or "")
    if place.workspace_id:
        workspace = names.get(place.workspace_id, place.workspace_id)
        return Where(workspace, account, f"{workspace} ({account})")
    if place.account_id:
        return Where(account, "The whole account", f"{account}, the whole account")
    return Where(EVERYWHERE, "The whole installation", EVERYWHERE)


async def names_of(view: View, memberships: Collection[Membership]) -> dict[str, str]:
    return await members.place_names(view.services, view.caller, {each.place for each in memberships})


def shown(held: Membership, names: Mapping[str, str]) -> HeldRole:
    return HeldRole(label(held.role), where(held.place, names))


def roles_to_give(view: View, place: Place) -> list[tuple[str, str, str]]:
    """The roles that whoever looks may give in a place: value, label, and what one may with it."""
    return [(role.value, label(role), text) for role, text in WORDS.items() if may_give(view.caller.identity, role, place)]
