"""What the API's description says of parameters and rights, which many routes share."""

from typing import Any, Final

from gateway.domain.roles import PLACES, Membership, Place, Right, Role

PARAMETERS: Final[dict[str, tuple[str, str | int]]] = {
    "account_id": ("An account's ID.", "acc-0123456789abcdef"),
    "workspace_id": ("A workspace's ID.", "llm-7c72iiw36kd8pqrs"),
    "key_id": ("An API key's ID, which is not the key.", "ak-0123456789abcdef"),
    "id": ("A part of an ID.", "ak-0123"),
    "upstream_id": ("An upstream's ID.", "up-0123456789abcdef"),
    "increase_id": ("The ID of a temporary increase.", "inc-0123456789abcdef"),
    "user_id": ("A person's ID.", "usr-0123456789abcdef"),
    "session_id": ("A session's ID.", "ses-0123456789abcdef"),
    "link_id": ("An invitation's ID.", "lnk-0123456789abcdef"),
    "model": ("A model's public name.", "example/large"),
    "vendor": ("A vendor, whole and as it is written.", "Example Labs"),
    "q": ("A text to look for, whatever its case.", "prod"),
    "group_by": ("What is summed together.", "model"),
    "action": ("An action, such as `key.create`, or its first part.", "key"),
    "target": ("The ID of what was changed.", "ak-0123456789abcdef"),
    "actor": ("The e-mail address of who made the change, or `admin token`.", "kim@example.com"),
    "limit": ("At most this many rows.", 100),
    "cursor": ("`next_cursor` of the page before.", "ImRlbW8tY2hhdCI"),
    "start": ("From this time on.", "2026-01-31T00:00:00Z"),
    "end": ("Before this time.", "2026-02-01T00:00:00Z"),
    "If-Match": ("An entity tag.", '"5f3a9c"'),
    "If-None-Match": ("An entity tag, or `*`.", '"5f3a9c"'),
    "Idempotency-Key": ("What names the request.", "5c3d9f0e-2f5b-4a56-9d0c-7d9a4f1b2e63"),
}
"""For each name of a parameter what it is, where its route does not say so itself, and an example."""

CSRF_HEADER: Final[dict[str, Any]] = {
    "name": "X-CSRF-Token",
    "in": "header",
    "required": False,
    "description": "The session's token, out of the console's pages; taken where a session's cookie is sent, and not otherwise.",
    "schema": {"type": "string"},
    "example": "8d1f6b0c",
}


def _rights(role: Role) -> frozenset[Right]:
    """All rights that a role may bring, in whichever of its places."""
    places = {"installation": Place(), "account": Place("a"), "workspace": Place("a", "w")}
    return frozenset(right for kind in PLACES[role] for right in Membership(role, places[kind]).rights)


def roles_with(right: Right) -> list[Role]:
    """The roles that bring a right, the highest first."""
    return list(Role) if right is Right.SIGNED_IN else [role for role in Role if right in _rights(role)]


def complete(parameter: dict[str, Any]) -> None:
    """Say what a parameter is, and show one, where the description of its route does not."""
    schema = parameter["schema"]
    words, example = PARAMETERS.get(parameter["name"], ("", ""))
    if words and not parameter.get("description") and not schema.get("description"):
        parameter["description"] = words
    if example and "example" not in parameter and not schema.get("examples"):
        parameter["example"] = example
