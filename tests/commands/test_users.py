"""`gateway users`: who signs in to the console, by command line, whether a gateway runs or not."""

import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.commands.cli_runner import Cli
from tests.support.gateway_process import GatewayProcess

PASSWORD = "correct horse battery staple"
LINK = re.compile(r"http://127\.0\.0\.1:\d+(/console/link/[\w-]{43})")


def _join(gateway: GatewayProcess, path: str, name: str) -> httpx2.Response:
    with httpx2.Client(base_url=gateway.address) as client:
        return client.post(path, data={"name": name, "password": PASSWORD}, headers={"origin": gateway.address})


@pytest.fixture(params=["offline", "online"])
def people(request: pytest.FixtureRequest, cli: Cli) -> Iterator[Cli]:
    """The command line of a folder where Kim and Lee are operators, with a gateway that runs or without."""
    with GatewayProcess(cli.data, own_secrets=True) as gateway:
        for name in ("kim", "lee"):
            made = cli("users", "invite", f"{name.upper()}@example.com", "--role", "operator", "--json").json
            assert _join(gateway, made["path"], name).status_code == 303
        if request.param == "online":
            yield cli
    if request.param == "offline":
        yield cli


def test_people_are_managed(people: Cli) -> None:
    """People are listed, disabled, enabled, signed out and given a link, each as the admin API has it."""
    listed = people("users", "list", "--json").json["data"]
    assert [(row["email"], row["status"]) for row in listed] == [("kim@example.com", "active"), ("lee@example.com", "active")]
    assert people("users", "list", "--search", "KIM", "--json").json["data"] == listed[:1]
    assert people("users", "disable", "Kim@example.com", "--json").json["status"] == "disabled"
    assert "last operator" in people("users", "disable", listed[1]["id"]).refusal
    assert "disabled" in people("users", "reset-link", "kim@example.com").refusal
    assert people("users", "enable", listed[0]["id"], "--json").json["status"] == "active"
    assert people("users", "sign-out", "lee@example.com", "--json").json == {"ended": 1}
    assert people("users", "sign-out", "lee@example.com").stdout.split() == ["ended", "0"]
    made = people("users", "reset-link", "kim@example.com")
    assert LINK.search(made.stdout)
    assert "path" not in made.stdout
    assert "once" in made.stderr
    assert people("users", "reset-link", "kim@example.com", "--json").json.keys() == {"id", "url", "path", "expires_at"}


def test_people_as_a_table(people: Cli) -> None:
    """People get a table with what each may do where."""
    header, *rows = people("users", "list").stdout.splitlines()
    assert header.split() == ["EMAIL", "NAME", "ROLES", "STATUS", "LAST", "SIGN", "IN", "AT", "ID"]
    assert [row.split()[:4] for row in rows] == [[f"{name}@example.com", name, "operator", "active"] for name in ("kim", "lee")]


def test_places_of_invitations(cli: Cli) -> None:
    """A role is given in the place that is named, by ID or name, and otherwise in the role's usual one."""
    account = cli("accounts", "create", "Acme", "--json").json
    workspace = cli("workspaces", "create", "research", "--json").json
    default = next(row for row in cli("accounts", "list", "--json").json["data"] if row["is_default"])["id"]
    usual = next(row for row in cli("workspaces", "list", "--json").json["data"] if row["account_id"] == default)["id"]
    for words, place in [
        (["--role", "operator"], (None, None)),
        (["--role", "owner"], (default, None)),
        (["--role", "owner", "--account", "Acme"], (account["id"], None)),
        (["--role", "viewer", "--account", account["id"]], (account["id"], None)),
        (["--role", "viewer"], (default, usual)),
        (["--role", "admin"], (default, usual)),
        (["--role", "member", "--workspace", "research"], (default, workspace["id"])),
    ]:
        made = cli("users", "invite", "kim@example.com", *words, "--json").json
        assert (made["account_id"], made["workspace_id"]) == place, words
    assert "held in an account" in cli("users", "invite", "a@b", "--role", "owner", "--workspace", "research").refusal
    assert (
        "another account"
        in cli("users", "invite", "a@b", "--role", "member", "--workspace", "research", "--account", "Acme").refusal
    )
    assert "e-mail address" in cli("users", "invite", "nobody", "--role", "operator").refusal
    assert cli("users", "invite", "a@b").code == 2
    assert "There are no people." in cli("users", "list").stdout


def test_nobody_of_that_name(cli: Cli) -> None:
    """Whoever is not there is named, with where to look; a part of an address is nobody."""
    for command in ("disable", "enable", "reset-link", "sign-out"):
        assert "gateway users list" in cli("users", command, "kim@example").refusal
        assert "no person of this ID" in cli("users", command, "usr-none").refusal
