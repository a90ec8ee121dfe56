"""The management commands: the same answers whether the gateway runs or not, and in both forms."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.commands.cli_runner import Cli, Ran
from tests.support.gateway_process import ADMIN_TOKEN, KEY_PEPPER, GatewayProcess

KEY = re.compile(r"sk-[0-9A-Za-z]{38}")
UPSTREAM = "http://127.0.0.1:9/v1"
SECRETS = {"GATEWAY_ADMIN_TOKEN": ADMIN_TOKEN, "GATEWAY_KEY_PEPPER": KEY_PEPPER}


@pytest.fixture(params=["offline", "online"])
def manage(request: pytest.FixtureRequest, cli: Cli) -> Iterator[Cli]:
    """The command line of a folder where no gateway runs, and of one where one does."""
    if request.param == "offline":
        yield cli
        return
    with GatewayProcess(cli.data, upstream=UPSTREAM, own_secrets=True):
        yield cli


def run(cli: Cli, *words: str, **options: Any) -> Ran:
    # Both ways know the same upstream, so that they list the same.
    return cli(*words, GATEWAY_UPSTREAM_BASE_URL=UPSTREAM, **options)


def test_a_life(manage: Cli) -> None:
    """Everything that there is to manage can be made, seen, changed and deleted, whether a gateway runs or not."""
    assert [row["name"] for row in run(manage, "workspaces", "list", "--json").json["data"]] == ["default"]
    workspace = run(manage, "workspaces", "create", "research", "--json").json
    assert run(manage, "workspaces", "rename", "research", "science", "--json").json["id"] == workspace["id"]
    assert "science" in run(manage, "workspaces", "show", workspace["id"]).stdout

    model = run(manage, "models", "set", "vendor/m", "--rpm", "100", "--json").json
    assert (model["name"], model["rpm"]) == ("vendor/m", 100)
    assert run(manage, "limits", "set", "vendor/m", "--rpm", "50", "--json").json["source"] == "account"
    grant = run(manage, "grants", "set", "science", "vendor/m", "--rpm", "20", "--json").json
    assert (grant["model"], grant["rpm"]) == ("vendor/m", 20)
    assert [row["model"] for row in run(manage, "grants", "list", "science", "--json").json["data"]] == ["vendor/m"]
    assert "400" not in run(manage, "grants", "set", "science", "vendor/m", "--rpm", "51").refusal
    assert run(manage, "grants", "delete", "science", "vendor/m").code == 0
    assert run(manage, "limits", "delete", "vendor/m").code == 0

    key = run(manage, "keys", "create", "science", "--description", "one", "--model", "vendor/m", "--json").json
    assert KEY.fullmatch(key["key"])
    assert run(manage, "keys", "disable", key["id"], "--json").json["status"] == "disabled"
    assert run(manage, "keys", "enable", key["id"], "--json").json["status"] == "active"
    assert run(manage, "keys", "describe", key["id"], "two", "--json").json["description"] == "two"
    assert run(manage, "keys", "reset", key["id"], "--json").json["key"] != key["key"]
    assert [row["id"] for row in run(manage, "keys", "list", "science", "--json").json["data"]] == [key["id"]]
    assert run(manage, "keys", "delete", key["id"], "--json").json is None
    assert "no API key" in run(manage, "keys", "show", key["id"]).refusal

    upstream = run(
        manage, "upstreams", "add", "http://127.0.0.1:9/v2", "--models", "x,y=z", "--api-key", "-", "--json", stdin="s3cret\n"
    ).json
    assert (upstream["models"], upstream["lists_models"], upstream["has_api_key"]) == ({"x": "x", "y": "z"}, False, True)
    assert run(manage, "upstreams", "update", upstream["id"], "--disable", "--no-api-key", "--json").json["has_api_key"] is False
    assert run(manage, "upstreams", "delete", upstream["id"]).code == 0
    assert run(manage, "models", "delete", "vendor/m").code == 0
    actions = [row["action"] for row in run(manage, "audit", "--json").json["data"]]
    assert {"workspace.create", "key.create", "key.delete", "upstream.delete"} <= set(actions)
    assert run(manage, "usage", "--json").json["data"] == []


def test_tables(manage: Cli) -> None:
    """People get a table with headers, and a new key with the remark that it is shown once, apart from the answer."""
    listed = run(manage, "workspaces", "list").stdout.splitlines()
    assert listed[0].split() == ["ID", "NAME", "IS", "DEFAULT", "KEY", "COUNT", "ACCOUNT", "ID", "CREATED", "AT"]
    assert "default" in listed[1]
    made = run(manage, "keys", "create")
    assert len(KEY.findall(made.stdout)) == 1
    assert "once" in made.stderr
    assert KEY.search(run(manage, "keys", "list").stdout) is None
    assert "No calls" in run(manage, "usage").stdout
    assert "default" in run(manage, "accounts", "list").stdout


def test_the_same_answers(cli: Cli) -> None:
    """What a command prints does not depend on whether the gateway runs."""
    run(cli, "workspaces", "create", "research", **SECRETS)
    run(cli, "keys", "create", **SECRETS)  # so that the start makes none
    commands = [
        ("workspaces", "list", "--json"),
        ("workspaces", "list"),
        ("models", "list", "--json"),
        ("upstreams", "list", "--json"),
        ("accounts", "list", "--json"),
        ("grants", "set", "research", "none-such"),
        ("keys", "delete", "ak-0000000000000000"),
        ("workspaces", "create", "a name of more than thirty characters"),
    ]
    offline = [run(cli, *words, **SECRETS) for words in commands]
    with GatewayProcess(cli.data, upstream=UPSTREAM):
        online = [run(cli, *words, **SECRETS) for words in commands]
    for words, before, during in zip(commands, offline, online, strict=True):
        if words[0] == "upstreams":  # only a running gateway has asked the upstream for its models
            assert [row["id"] for row in before.json["data"]] == [row["id"] for row in during.json["data"]]
        else:
            assert before == during, words


def test_a_change_by_command_reaches_the_running_gateway(cli: Cli) -> None:
    """A key that a command makes works at once, and one that it deletes fails at once."""
    with GatewayProcess(cli.data) as gateway:
        key = cli("keys", "create", "--json", **SECRETS).json
        headers = {"authorization": f"Bearer {key['key']}"}
        assert gateway._client.get("/compatible-mode/v1/models", headers=headers).status_code == 200
        assert cli("keys", "delete", key["id"], **SECRETS).code == 0
        assert gateway._client.get("/compatible-mode/v1/models", headers=headers).status_code == 401


def test_another_gateway_by_its_address(cli: Cli) -> None:
    """With --url a gateway elsewhere is managed, by the token that is given and no other."""
    with GatewayProcess(cli.folder / "other") as gateway:
        words = ("workspaces", "list", "--url", gateway.address, "--json")
        assert "no admin token" in cli(*words).refusal
        assert "token is wrong" in cli(*words, "--token", "wrong").refusal
        assert cli(*words, "--token", ADMIN_TOKEN).json["data"][0]["is_default"]
        assert cli("keys", "list", GATEWAY_URL=gateway.address, GATEWAY_ADMIN_TOKEN=ADMIN_TOKEN).code == 0


def test_the_folder_s_token_stays_here(cli: Cli) -> None:
    """The admin token of the data folder is not sent to another machine, whose owner could use it here."""
    assert cli("workspaces", "list").code == 0
    assert (cli.data / "admin-token").exists()
    assert "no admin token" in cli("workspaces", "list", "--url", "http://203.0.113.1:8080").refusal


def test_refusals_of_the_way_there(cli: Cli) -> None:
    """What keeps a command from the gateway is told in a sentence with a remedy."""
    assert "cannot be reached" in cli("keys", "list", "--url", "http://127.0.0.1:9", "--token", "x").refusal
    assert "no header can carry" in cli("keys", "list", "--url", "http://127.0.0.1:9", "--token", "a b").refusal
    assert "no address" in cli("keys", "list", "--url", "http://h:port", "--token", "x").refusal
    assert "GATEWAY_PORT" in cli("keys", "list", GATEWAY_PORT="x").refusal


def test_names_that_fit_nothing_or_several(cli: Cli) -> None:
    """A workspace's name that does not exist, or that several have, changes nothing by accident."""
    assert "no workspace" in cli("keys", "create", "nowhere").refusal
    cli("accounts", "create", "other")
    assert "one of their IDs" in cli("keys", "create", "default").refusal
    assert cli("keys", "create").code == 0


@pytest.mark.parametrize("word", ["", "..", "../workspaces", "a/../../workspaces", "./a"])
def test_an_id_is_no_path(cli: Cli, word: str) -> None:
    """What would lead to another address of the API is refused: `keys delete ../upstreams/up-1` must delete no upstream."""
    upstream = run(cli, "upstreams", "add", UPSTREAM, "--json").json["id"]
    for command in ("show", "delete"):
        for kind in ("keys", "models", "upstreams"):
            assert "no ID and no name" in run(cli, kind, command, word).refusal
    assert "no ID and no name" in run(cli, "keys", "delete", f"../upstreams/{upstream}").refusal
    assert run(cli, "upstreams", "show", upstream).code == 0


def test_an_address_may_be_that_of_an_interface(cli: Cli) -> None:
    """--url takes the address of the admin API or the endpoint too; what is no address is told before a token is asked for."""
    with GatewayProcess(cli.data) as gateway:
        for suffix in ("", "/", "/admin/v1", "/compatible-mode/v1/"):
            listed = cli("workspaces", "list", "--json", "--url", gateway.address + suffix, **SECRETS)
            assert len(listed.json["data"]) == 1
        refusal = cli("workspaces", "list", "--url", f"{gateway.address}/elsewhere", **SECRETS).refusal
        assert "admin/v1" in refusal
        refusal = cli("workspaces", "list", "--url", gateway.demo_base_url().removesuffix("/v1"), **SECRETS).refusal
        assert "no gateway's admin API" in refusal
    assert "no address of a gateway" in cli("workspaces", "list", "--url", "127.0.0.1:8080").refusal


def test_nothing_found_in_the_trail(cli: Cli) -> None:
    """A filter that nothing fits does not claim that nothing was ever changed."""
    cli("workspaces", "create", "one")
    assert "No changes to show" in cli("audit", "--action", "key.delete").stdout


def test_a_new_data_folder_is_pointed_out(cli: Cli) -> None:
    """Whoever calls from the wrong folder is told that a new one was made, once; what programs read stays as it is."""
    first = cli("keys", "list", "--json")
    assert first.json["data"] == []
    assert "is new" in first.stderr
    assert "GATEWAY_DATA_DIR" in first.stderr
    assert cli("keys", "list").stderr == ""
