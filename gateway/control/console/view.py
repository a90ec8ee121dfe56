"""What every page of a workspace has in common: where it is, who looks at it, and the way to the other pages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse

from gateway.control.console import render
from gateway.control.context import Caller, KnownCaller, Services, UsedServices
from gateway.control.schemas import Id
from gateway.control.services import accounts, workspaces
from gateway.domain.roles import Identity, Place, Right, Role
from gateway.storage.sql.accounts import AccountRow
from gateway.storage.sql.workspaces import WorkspaceRow

DATA_PATH = "/compatible-mode/v1"
_MOST_SWITCHED = 300
_WILDCARDS = frozenset({"0.0.0.0", "[::]"})
_HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")

# Page, label, icon, and the right that it takes in the place of the page.
_PAGES: dict[str, list[tuple[str, str, str, Right]]] = {
    "Workspace": [
        ("keys", "API keys", "key", Right.READ_WORKSPACE),
        ("usage", "Usage", "chart", Right.READ_WORKSPACE),
    ],
    "Settings": [
        ("workspaces", "Workspaces", "workspace", Right.READ_WORKSPACE),
        ("limits", "Rate limits", "gauge", Right.SEE_ACCOUNT),
        ("members", "Members", "people", Right.MANAGE_MEMBERS),
        ("audit", "Audit", "audit", Right.READ_AUDIT),
    ],
    "Operator": [
        ("models", "Models", "model", Right.MANAGE_CATALOGUE),
        ("upstreams", "Upstreams", "upstream", Right.MANAGE_CATALOGUE),
        ("accounts", "Accounts", "account", Right.MANAGE_ACCOUNTS),
        ("people", "People", "people", Right.MANAGE_PEOPLE),
    ],
}
_WITHIN = {"edit": "workspaces"}
"""Pages that no entry of the navigation is for, and the entry that they belong to."""


@dataclass(frozen=True, slots=True)
class View:
    """A page of a workspace. `name` is the last part of its address."""

    request: Request
    services: Services
    caller: Caller
    account: AccountRow
    workspace: WorkspaceRow
    workspaces: list[WorkspaceRow]
    account_names: dict[str, str]

    @property
    def name(self) -> str:
        """The page's own name; empty for one that is of no workspace."""
        path = self.request.url.path
        return path.rpartition("/")[2] if path.startswith(f"/console/w/{self.workspace.id}/") else ""

    @property
    def place(self) -> Place:
        return Place(self.account.id, self.workspace.id)

    @property
    def endpoint(self) -> str:
        """The base URL that an OpenAI client takes, as people at this browser reach it."""
        return root_shown(self.services, self.request) + DATA_PATH

    def may(self, right: Right) -> bool:
        """Whether whoever looks has the right in this workspace."""
        return self.caller.identity.may(right, self.place)

    def may_in_account(self, right: Right) -> bool:
        return self.caller.identity.may(right, Place(self.account.id))

    def url(self, page: str, workspace_id: str | None = None) -> str:
        return f"/console/w/{workspace_id or self.workspace.id}/{page}"

    def page(self, template: str, title: str, status: int = 200, **context: Any) -> HTMLResponse:
        """The page, with what `base.html` needs. Templates also get `view`, and `Right` to ask `view.may(Right.…)` with."""
        shared = {
            "title": title,
            "csrf": getattr(self.request.state, "csrf", ""),
            "me": shown_person(self.caller.identity, self.place),
            "place": self._shown_place(),
            "nav": list(self._nav()),
            "view": self,
            "Right": Right,
        }
        return render.page(template, status, **shared, **context)

    def _shown_place(self) -> dict[str, Any]:
        switched = _WITHIN.get(self.name, self.name) or "keys"
        return {
            "account": {"id": self.account.id, "name": self.account.name},
            "workspace": _shown(self.workspace),
            "workspaces": [
                _shown(each) | {"account_name": self.account_names.get(each.account_id, ""), "url": self.url(switched, each.id)}
                for each in self.workspaces
            ],
            "many_accounts": len({each.account_id for each in self.workspaces}) > 1,
        }

    def _nav(self) -> Iterator[dict[str, Any]]:
        current = _WITHIN.get(self.name, self.name)
        for label, pages in _PAGES.items():
            items = [
                {"label": text, "url": self.url(page), "icon": icon, "current": page == current}
                for page, text, icon, right in pages
                if self.may(right)
            ]
            if items:
                yield {"label": label, "items": items}


def _shown(workspace: WorkspaceRow) -> dict[str, Any]:
    return {"id": workspace.id, "name": workspace.name, "is_default": workspace.is_default}


async def view_of(*, request: Request, services: UsedServices, caller: KnownCaller, workspace_id: Id) -> View:
    """Raises NotFound for a workspace that the caller does not see."""
    workspace = await workspaces.get(services, caller, workspace_id)
    account = await accounts.get(services, caller, workspace.account_id)
    others = await accounts.find(services, caller, limit=_MOST_SWITCHED, cursor=None)
    names = {row.id: row.name for row in others.rows} | {account.id: account.name}
    switched = {workspace.id: workspace}
    for account_id in (account.id, None):
        some = await workspaces.find(services, caller, account_id=account_id, search=None, limit=_MOST_SWITCHED, cursor=None)
        switched |= {row.id: row for row in some.rows}
    # The account at hand first, then by its name; within one the default first.
    order = sorted(
        list(switched.values())[:_MOST_SWITCHED],
        key=lambda row: (row.account_id != account.id, names.get(row.account_id, ""), not row.is_default, row.name.casefold()),
    )
    return View(request, services, caller, account, workspace, order, names)


PageView = Annotated[View, Depends(view_of)]


def shown_person(identity: Identity, place: Place | None) -> dict[str, str]:
    """What the sidebar says of whoever is signed in: name, e-mail, and the highest role that counts here."""
    held = [each for each in identity.memberships if place is None or each.place.holds(place)]
    order = list(Role)
    role = min((each.role for each in held), key=order.index, default=None)
    return {"name": identity.name, "email": identity.email, "role_label": "" if role is None else role.value.capitalize()}


def root_shown(services: Services, request: Request) -> str:
    """The gateway's address as people reach it: by the setting, else where it listens.

    Where it listens everywhere, that is what the browser says that it has asked; shown to whoever sent it, and to nobody else.
    """
    root = services.root_url
    host = root.partition("://")[2].rpartition(":")[0] or root.partition("://")[2]
    asked = request.headers.get("host", "")
    if services.people.public_url is None and host in _WILDCARDS and _HOST.fullmatch(asked):
        return f"{request.url.scheme}://{asked}"
    return root
