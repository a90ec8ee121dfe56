"""The audit trail in words: what was done, to what, and what changed by it. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

GROUPS: Final[Mapping[str, str]] = {
    "key": "API keys",
    "workspace": "Workspaces",
    "grant": "Grants",
    "limits": "Account limits",
    "member": "Members",
    "user": "People",
    "model": "Models",
    "upstream": "Upstreams",
    "account": "Accounts",
}
"""The first parts of actions, by which one filters."""

_ACTIONS: Final[Mapping[str, str]] = {
    "account.create": "Created account",
    "grant.delete": "Withdrew model",
    "grant.set": "Granted model",
    "key.create": "Created API key",
    "key.delete": "Deleted API key",
    "key.disable": "Disabled API key",
    "key.enable": "Enabled API key",
    "key.reset": "Reset API key",
    "key.update": "Edited API key",
    "limits.delete": "Removed account limits",
    "limits.increase": "Increased account limits",
    "limits.increase_end": "Ended increase of account limits",
    "limits.increase_ended": "Increase of account limits ran out",
    "limits.set": "Set account limits",
    "member.invite": "Invited member",
    "member.join": "Member joined",
    "member.remove": "Removed member",
    "member.set": "Changed role of member",
    "member.withdraw": "Withdrew invitation",
    "model.delete": "Forgot model",
    "model.set": "Set model",
    "upstream.create": "Added upstream",
    "upstream.delete": "Deleted upstream",
    "upstream.test": "Made test call",
    "upstream.update": "Changed upstream",
    "user.disable": "Disabled person",
    "user.enable": "Enabled person",
    "user.end_session": "Ended session",
    "user.end_sessions": "Ended all sessions of person",
    "user.password": "Set password",
    "user.rename": "Renamed person",
    "user.reset_link": "Made link for new password",
    "user.sign_in": "Signed in",
    "user.sign_out": "Signed out",
    "workspace.create": "Created workspace",
    "workspace.rename": "Renamed workspace",
}
_FIELDS: Final[Mapping[str, str]] = {
    "base_url": "Base URL",
    "email": "E-mail",
    "has_api_key": "Has a credential",
    "lists_models": "Lists its own models",
    "masked": "Secret key",
    "rpm": "Times / min",
    "tpm": "Token / min",
}
_NONE: Final[Mapping[str, str]] = {"rpm": "no limit", "tpm": "no limit", "models": "all"}
_LATER = frozenset({"Workspace", "Secret key"})
_BRIEF, _LONGEST_BRIEF = 2, 90


@dataclass(frozen=True, slots=True)
class Changed:
    """One field. `before` and `after` are None where the whole target was not there, or where only one of them was written."""

    label: str
    before: str | None
    after: str | None

    @property
    def brief(self) -> str:
        value = " → ".join(each for each in (self.before, self.after) if each is not None)
        return f"{self.label}: {value}"


def words(action: str) -> str:
    """What was done; the action itself where nobody has found words for it yet."""
    return _ACTIONS.get(action, action)


def is_known(action: str) -> bool:
    return action in _ACTIONS


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Changed]:
    """What differs, field by field, in the order that it was written in."""
    return list(_changes(before or {}, after or {}))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Changed]:
    for name in dict.fromkeys((*before, *after)):
        if name in before and name in after and before[name] == after[name]:
            continue
        old = _text(name, before[name]) if name in before else None
        new = _text(name, after[name]) if name in after else None
        yield Changed(_FIELDS.get(name) or name.removesuffix("_id").replace("_", " ").capitalize(), old, new)


def brief(found: list[Changed]) -> str:
    """The first of the changes in one line; where something is, is said beside it."""
    first = [each for each in found if each.label not in _LATER] or found
    text = "; ".join(each.brief for each in first[:_BRIEF]) + ("; …" if len(first) > _BRIEF else "")
    return text if len(text) <= _LONGEST_BRIEF else f"{text[:_LONGEST_BRIEF]}…"


def _text(name: str, value: Any) -> str:
    if value is None or value in ("", [], {}):
        return _NONE.get(name, "none") if value is None else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
        return ", ".join(own if own == other else f"{own}={other}" for own, other in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
