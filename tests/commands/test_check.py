"""`gateway check` and `gateway migrate`."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.commands.cli_runner import Cli
from tests.support.gateway_process import KEY_PEPPER, GatewayProcess
from tests.support.redis_server import RedisServer


class _ModelServer(BaseHTTPRequestHandler):
    """Lists no model, for the one credential that it knows."""

    def do_GET(self) -> None:
        allowed = self.headers["authorization"] == "Bearer right"
        status = 404 if not self.path.startswith("/v1/") else 200 if allowed else 401
        self.send_response(status)
        self.send_header("content-length", "11")
        self.end_headers()
        self.wfile.write(b'{"data":[]}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the library's own name
        """Say nothing."""


@pytest.fixture
def model_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _ModelServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_before_the_first_start(cli: Cli) -> None:
    """With nothing there yet, everything is in order, and looking makes nothing."""
    ran = cli("check", GATEWAY_PORT="0")
    assert ran.code == 0
    assert "Everything is in order." in ran.stdout
    assert list(cli.folder.iterdir()) == []


def test_each_problem_with_place_and_remedy(cli: Cli) -> None:
    """A wrong configuration is told with file, line and remedy, for each problem, and the exit code is 1."""
    (cli.folder / "gateway.toml").write_text("[server]\nprot = 1\n\n[log]\nlevel = 'loud'\n")
    ran = cli("check", GATEWAY_WORKERS="3")
    assert ran.code == 1
    for part in (
        "gateway.toml:2",
        "Did you mean server.port?",
        "gateway.toml:5",
        "one of debug",
        "GATEWAY_WORKERS",
        "3 problems",
    ):
        assert part in ran.stdout


def test_json(cli: Cli) -> None:
    """Programs get the same: problems and warnings, each with source, problem and remedy."""
    ran = cli("check", "--json", GATEWAY_PORT="x", GATEWAY_PROT="1")
    found = json.loads(ran.stdout)
    assert (ran.code, found["ok"]) == (1, False)
    assert [problem["source"] for problem in found["problems"]] == ["GATEWAY_PORT"]
    assert found["warnings"] == [
        {
            "source": "GATEWAY_PROT",
            "problem": "there is no such setting, so it has no effect",
            "remedy": "Did you mean GATEWAY_PORT?",
        }
    ]


@pytest.mark.parametrize(
    ("path", "env", "problem"),
    [
        ("/v1", {"API_KEY": "right"}, None),
        ("/v1", {"API_KEY": "wrong"}, "refuses the credential (401)"),
        ("", {"API_KEY": "right"}, "answers 404"),
        ("", {"API_KEY": "right", "MODELS": "named"}, None),
    ],
)
def test_upstreams_are_asked(cli: Cli, model_server: str, path: str, env: dict[str, str], problem: str | None) -> None:
    """An upstream that does not take the credential, or cannot list its models where it has to, is a problem."""
    given = {f"GATEWAY_UPSTREAM_{name}": value for name, value in env.items()}
    ran = cli("check", GATEWAY_UPSTREAM_BASE_URL=model_server + path, GATEWAY_PORT="0", **given)
    assert ran.code == (0 if problem is None else 1)
    assert (problem or "it answers") in ran.stdout
    assert "right" not in ran.stdout


def test_an_upstream_that_is_away(cli: Cli) -> None:
    """An upstream that nobody answers for is a problem with its name."""
    ran = cli("check", GATEWAY_UPSTREAM_BASE_URL="http://127.0.0.1:9/v1", GATEWAY_PORT="0")
    assert ran.code == 1
    assert "upstream default" in ran.stdout
    assert "cannot be reached" in ran.stdout


def test_a_running_gateway_is_in_order(cli: Cli) -> None:
    """Checking beside a running gateway finds its port taken by itself, which is no problem."""
    with GatewayProcess(cli.data) as gateway:
        ran = cli("check", GATEWAY_PORT=str(gateway.port), GATEWAY_KEY_PEPPER=KEY_PEPPER)
        assert ran.code == 0
        assert gateway.address in ran.stdout


def test_open_files_are_warned_of(cli: Cli) -> None:
    """Secrets that others can read are pointed out; they do not keep the gateway from starting."""
    cli("workspaces", "list")
    (cli.data / "key-pepper").chmod(0o644)
    ran = cli("check", GATEWAY_PORT="0")
    assert ran.code == 0
    assert "chmod 600" in ran.stdout


def test_a_database_that_is_none(cli: Cli) -> None:
    """A database file that is damaged is found before the start."""
    cli("workspaces", "list")
    for file in cli.data.glob("gateway.db*"):
        file.write_bytes(b"this is no database file at all, and it is longer than a header" * 20)
    ran = cli("check", GATEWAY_PORT="0")
    assert ran.code == 1
    assert "database" in ran.stdout
    assert cli("migrate").code == 1


def test_a_database_server_that_is_away(cli: Cli) -> None:
    """A database server that does not answer is a problem with a remedy, and its password is not shown."""
    ran = cli("check", GATEWAY_DATABASE_URL="postgresql://u:s3cret@127.0.0.1:9/d", GATEWAY_PORT="0")
    assert ran.code == 1
    assert "GATEWAY_DATABASE_URL" in ran.stdout
    assert "s3cret" not in ran.stdout


def test_redis_is_looked_at(cli: Cli) -> None:
    """A Redis that may drop keys is a problem with its remedy; of one that suits, what remains a risk is a warning."""
    with RedisServer(requirepass="s3cret", maxmemory_policy="allkeys-lru") as server:
        settings = {"GATEWAY_REDIS_URL": server.url, "GATEWAY_PORT": "0"}
        ran = cli("check", "--json", **settings)
        assert ran.code == 1
        (problem,) = json.loads(ran.stdout)["problems"]
        assert problem["source"] == "redis"
        assert "allkeys-lru" in problem["problem"]
        assert "noeviction" in problem["remedy"]
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        ran = cli("check", **settings)
        assert ran.code == 0
        assert f"redis: redis://127.0.0.1:{server.port} is as the gateway needs it" in ran.stdout
        assert "append-only file" in ran.stdout
        assert "s3cret" not in ran.stdout


def test_a_redis_that_is_away(cli: Cli) -> None:
    """A Redis that nobody answers for is a problem with a remedy, and its password is not shown."""
    ran = cli("check", GATEWAY_REDIS_URL="redis://u:s3cret@127.0.0.1:9", GATEWAY_PORT="0")
    assert ran.code == 1
    assert "redis://127.0.0.1:9 cannot be used" in ran.stdout
    assert "GATEWAY_REDIS_URL" in ran.stdout
    assert "s3cret" not in ran.stdout


def test_migrate_says_what_it_does(cli: Cli) -> None:
    """The first migration makes the file, the second finds nothing to do, and --quiet says nothing."""
    assert len(cli("migrate", "--json").json["applied"]) > 0
    assert (cli.data / "gateway.db").exists()
    assert cli("migrate", "--json").json == {"applied": []}
    quiet = cli("migrate", "--quiet")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")
    assert "up to date" in cli("migrate").stdout


def test_another_pepper_is_noticed(cli: Cli) -> None:
    """A pepper that the stored keys were not made with, or none any more, is a problem before the start; nothing is made."""
    cli("workspaces", "list")
    assert "the one that the stored keys were made with" in cli("check", GATEWAY_PORT="0").stdout
    other = cli("check", GATEWAY_PORT="0", GATEWAY_KEY_PEPPER="another-pepper-than-before")
    assert other.code == 1
    assert "Put the former pepper back" in other.stdout
    (cli.data / "key-pepper").unlink()
    gone = cli("check", "--json", GATEWAY_PORT="0")
    assert gone.code == 1
    assert [problem["source"] for problem in json.loads(gone.stdout)["problems"]] == ["key pepper"]
    assert not (cli.data / "key-pepper").exists()


def test_stored_upstreams_are_asked(cli: Cli, model_server: str) -> None:
    """Upstreams of the database are asked as those of the settings are, but for disabled ones."""
    cli("upstreams", "add", f"{model_server}/v1", "--name", "well", "--api-key", "right")
    cli("upstreams", "add", f"{model_server}/v1", "--name", "off", "--disabled")
    fine = cli("check", GATEWAY_PORT="0")
    assert fine.code == 0
    assert "upstream well: it answers" in fine.stdout
    assert "demo" not in fine.stdout
    cli("upstreams", "add", f"{model_server}/v1", "--name", "ill", "--api-key", "wrong")
    ran = cli("check", GATEWAY_PORT="0")
    assert ran.code == 1
    assert "upstream ill" in ran.stdout
    assert "upstream off" not in ran.stdout


def test_a_data_folder_that_cannot_be_made(cli: Cli) -> None:
    """A file in the place of the data folder, or of a folder above it, is found before the start."""
    (cli.folder / "file").write_text("")
    for place in ("file", "file/data"):
        ran = cli("check", GATEWAY_PORT="0", GATEWAY_DATA_DIR=str(cli.folder / place))
        assert ran.code == 1, ran.stdout
        assert "GATEWAY_DATA_DIR" in ran.stdout


def test_a_database_file_without_its_folder(cli: Cli) -> None:
    """A database file is made, but not the folder that it is to stand in, unless that is the data folder."""
    ran = cli("check", GATEWAY_PORT="0", GATEWAY_DATABASE_URL=f"sqlite:///{cli.folder}/none/gateway.db")
    assert ran.code == 1
    assert "there is no folder" in ran.stdout


def test_a_short_secret_is_warned_of(cli: Cli) -> None:
    """A token that can be guessed is pointed out, and not shown."""
    ran = cli("check", "--json", GATEWAY_PORT="0", GATEWAY_ADMIN_TOKEN="hunter2")
    found = json.loads(ran.stdout)
    assert found["ok"]
    assert "GATEWAY_ADMIN_TOKEN" in found["warnings"][0]["problem"]
    assert "hunter2" not in ran.stdout
