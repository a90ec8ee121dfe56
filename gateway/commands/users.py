"""`gateway users`."""

from collections.abc import Mapping
from typing import Any

import click

from gateway.commands.api import Work, manages, part
from gateway.commands.help import examples
from gateway.commands.output import Failure

_COLUMNS = ["email", "name", "roles", "status", "last_sign_in_at", "id"]
_ROLES = ["operator", "owner", "admin", "member", "viewer"]
_ONCE = "The link is shown this once and opens once. The gateway sends no e-mail: hand it over yourself."


@click.group()
def users() -> None:
    """Manage the people who sign in to the console."""


@users.command("list", epilog=examples("gateway users list", "gateway users list --search kim"))
@click.option("--search", help="Only people with this part in their name or e-mail address.")
@manages
def list_(work: Work, search: str | None) -> None:
    """List people, with their roles and where they have them."""
    listing = work.api.every("/users", q=search)
    if not work.json:
        listing = {**listing, "data": [{**row, "roles": [_role(each) for each in row["roles"]]} for row in listing["data"]]}
    work.listing(listing, _COLUMNS, "There are no people.")


def _role(held: Mapping[str, Any]) -> str:
    place = held["workspace_id"] or held["account_id"]
    return f"{held['role']} of {place}" if place else str(held["role"])


@users.command(
    epilog=examples(
        "gateway users invite kim@example.com --role operator",
        "gateway users invite lee@example.com --role member --workspace research",
    )
)
@click.argument("email")
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What they may do.")
@click.option("--account", help="Where, by ID or name; left out, for an owner the default account.")
@click.option("--workspace", help="Where, by ID or name; left out, for an admin, a member or a viewer the default workspace.")
@manages
def invite(work: Work, email: str, role: str, account: str | None, workspace: str | None) -> None:
    """Make a one-time link with which the person of this EMAIL joins."""
    _link(work, work.api.post("/invitations", {"email": email, "role": role, **_place(work, role, account, workspace)}))


def _place(work: Work, role: str, account: str | None, workspace: str | None) -> dict[str, str]:
    """Where a role is given: what is named, else the role's usual place. The API refuses what does not fit together."""
    place = {}
    if account is not None or (workspace is None and role == "owner"):
        place["account_id"] = work.account(account)
    if workspace is not None or (account is None and role in ("admin", "member", "viewer")):
        place["workspace_id"] = work.workspace(workspace)
    return place


def _link(work: Work, made: Mapping[str, Any]) -> None:
    work.show(made if work.json else {key: value for key, value in made.items() if key != "path"})
    work.note(_ONCE)


@users.command("reset-link", epilog=examples("gateway users reset-link kim@example.com"))
@click.argument("email")
@manages
def reset_link(work: Work, email: str) -> None:
    """Make a one-time link with which the person of this EMAIL or ID chooses a new password. Links made before open no more."""
    _link(work, work.api.post(f"/users/{_person(work, email)}/reset-link"))


@users.command(epilog=examples("gateway users disable kim@example.com"))
@click.argument("email")
@manages
def disable(work: Work, email: str) -> None:
    """Keep the person of this EMAIL or ID out, at once."""
    _set_status(work, email, "disabled")


@users.command(epilog=examples("gateway users enable kim@example.com"))
@click.argument("email")
@manages
def enable(work: Work, email: str) -> None:
    """Let the person of this EMAIL or ID in again."""
    _set_status(work, email, "active")


def _set_status(work: Work, email: str, status: str) -> None:
    row = work.api.patch(f"/users/{_person(work, email)}", {"status": status})
    work.show(row if work.json else {**row, "roles": [_role(each) for each in row["roles"]]})


@users.command("sign-out", epilog=examples("gateway users sign-out kim@example.com"))
@click.argument("email")
@manages
def sign_out(work: Work, email: str) -> None:
    """End all sessions of the person of this EMAIL or ID."""
    work.show(work.api.delete(f"/users/{_person(work, email)}/sessions"))


def _person(work: Work, wanted: str) -> str:
    """The ID, as a part of an address, of the person with this e-mail address or ID."""
    if wanted.startswith("usr-") and "@" not in wanted:
        return part(wanted)
    address = wanted.strip().lower()
    for row in work.api.every("/users", q=address)["data"]:
        if row["email"] == address:
            return part(row["id"])
    raise Failure(f"Nobody has the e-mail address {wanted}; gateway users list shows who there is.")
