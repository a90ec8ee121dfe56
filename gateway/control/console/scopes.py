"""How far a page looks: at its workspace, at the whole account, or at everything there is. And addresses of pages that filter."""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlencode

from gateway.control.console.view import View
from gateway.domain.roles import INSTALLATION, Place, Right

Scope = Literal["workspace", "account", "all"]
LABELS: Mapping[Scope, str] = {"workspace": "This workspace", "account": "Whole account", "all": "All accounts"}


def place_of(view: View, scope: Scope) -> Place:
    return {"workspace": view.place, "account": Place(view.account.id), "all": INSTALLATION}[scope]


def open_scopes(view: View, rights: Mapping[Scope, Right]) -> list[Scope]:
    """Those that whoever looks has the right of."""
    return [scope for scope, right in rights.items() if view.caller.identity.may(right, place_of(view, scope))]


def scope_tabs(
    view: View,
    rights: Mapping[Scope, Right],
    chosen: Scope,
    query: Mapping[str, str | None],
    labels: Mapping[Scope, str] = LABELS,
) -> list[dict[str, object]]:
    """Links for `ui.tabs` that keep the rest of the query; nothing where there is no choice."""
    known = open_scopes(view, rights)
    return [
        {"label": labels[scope], "url": address(view, {**query, "scope": scope}), "current": scope == chosen}
        for scope in known
        if len(known) > 1
    ]


def address(view: View, query: Mapping[str, str | None]) -> str:
    """This page with a query; what is None or empty is left out."""
    return with_query(view.url(view.name), query)


def with_query(path: str, query: Mapping[str, str | None]) -> str:
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
