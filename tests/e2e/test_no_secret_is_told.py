"""No secret is in any log line or error: a whole gateway at its most talkative, with everything going wrong.

A search over all that the gateway and its commands printed and answered finds each secret where it is shown once on purpose, and
nowhere else.
"""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.domain.credentials import KEY_SHAPE, KeyKind, generate
from tests.support.echo_upstream import MODELS, EchoUpstream
from tests.support.gateway_process import GatewayProcess
from tests.support.processes import ROOT, free_port
from tests.support.worker_gateway import WorkerGateway

FIRST_CREDENTIAL = "sk-first-upstream-0123456789abcdefghij"
SECOND_CREDENTIAL = "vendor.credential.without.a.shape"
COLLECTOR_KEY = "collector-key-of-this-test"
ADMIN = "the-admin-token-of-this-test-only"
PEPPER = "the-pepper-of-this-test-only-it-is"
PASSWORD = "Tr0ub4dor!and3"


class Said:
    """All replies of a gateway, in one text."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self.replies: list[str] = []
        self._client = httpx2.Client(base_url=gateway.address, timeout=30, trust_env=False)

    def ask(self, method: str, path: str, **how: Any) -> httpx2.Response:
        reply = self._client.request(method, path, **how)
        self.replies.append(f"{reply.status_code} {reply.headers} {reply.text}")
        return reply

    def call(self, key: str, model: str = "good", **headers: str) -> httpx2.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "a prompt that nobody else reads"}]}
        return self.ask(
            "POST", "/compatible-mode/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"} | headers
        )

    def admin(self, method: str, path: str, json: Any = None, token: str = ADMIN) -> httpx2.Response:
        return self.ask(method, f"/admin/v1{path}", json=json, headers={"authorization": f"Bearer {token}"})

    def close(self) -> None:
        self._client.close()

    def everything(self) -> str:
        return "\n".join(self.replies)


@pytest.fixture(scope="module")
def upstream() -> Iterator[EchoUpstream]:
    with EchoUpstream() as server:
        yield server


def settings() -> dict[str, str]:
    return {
        "GATEWAY_ADMIN_TOKEN": ADMIN,
        "GATEWAY_KEY_PEPPER": PEPPER,
        "GATEWAY_UPSTREAM_API_KEY": FIRST_CREDENTIAL,
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_LOG_CALLS": "true",
        "GATEWAY_TRACING_ENDPOINT": f"http://127.0.0.1:{free_port()}",  # nobody is there
        "GATEWAY_TRACING_HEADERS": f"x-key={COLLECTOR_KEY}",
    }


def use_wrongly(said: Said, key: str) -> list[str]:
    """Calls with a key that is right, wrong, and in all the wrong places. Answers the other keys that were sent."""
    stranger = generate(KeyKind.STANDARD, b"another pepper").text
    plan = generate(KeyKind.PLAN, b"another pepper").text
    mistyped = stranger[:-1] + ("a" if stranger[-1] != "a" else "b")
    for model in (*MODELS, "unavailable", "gone", key, f"a{stranger}b"):
        said.call(key, model)
    for wrong in (stranger, plan, mistyped):
        said.call(wrong)
    said.call(key, "unauthorized", **{"x-api-key": key, "x-else": stranger, "cookie": f"gateway-session={stranger}"})
    said.call(key, "good", traceparent="nonsense", tracestate=f"a={key}", **{"x-request-id": key})
    said.ask("GET", f"/compatible-mode/v1/models/{key}", headers={"authorization": f"Bearer {key}"})
    said.ask("GET", f"/compatible-mode/v1/{stranger}?key={key}", headers={"authorization": f"Bearer {key}"})
    chat = "/compatible-mode/v1/chat/completions"
    bearer = {"authorization": f"Bearer {key}"}
    said.ask("POST", chat, content=f'{{"model": "good", "{stranger}": 1, "n": "{key}"', headers=bearer)
    said.ask("POST", chat, json={"model": "good", "n": key, "stream": stranger, "messages": []}, headers=bearer)
    said.ask(f"X{key[3:9]}", chat, headers=bearer)
    return [stranger, plan, mistyped]


def manage_wrongly(said: Said, key: str, workspace: str) -> str:
    """Requests of the admin API and the console that are refused, with secrets where they do not belong. Answers the ID of one
    that is logged.
    """
    said.admin("POST", f"/workspaces/{workspace}/api-keys", {"description": 7, key: key})
    said.admin("POST", f"/workspaces/{key}/api-keys", {"description": "x"})
    said.admin("GET", f"/{key}")
    said.admin("GET", f"/upstreams?cursor={key}")
    said.admin("GET", "/upstreams", token=key)
    said.admin("GET", "/upstreams", token=ADMIN[:-1])
    said.admin("POST", "/upstreams", {"name": "x", "base_url": f"http://u:{PASSWORD}@h/v1", "api_key": SECOND_CREDENTIAL})
    said.admin("POST", "/users", {"email": key, "name": [SECOND_CREDENTIAL]})
    logged = said.ask("POST", "/console/sign-in", data={"email": "a@example.com", "password": PASSWORD})
    said.ask("GET", "/console/", headers={"cookie": f"gateway-session={SECOND_CREDENTIAL}"})
    said.ask("GET", f"/console/link/{secrets.token_urlsafe(32)}")
    said.ask("GET", "/metrics", headers={"authorization": f"Bearer {key}"})
    return logged.headers["x-request-id"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_secret_is_shown_once_or_never(tmp_path: Path, upstream: EchoUpstream, workers: int) -> None:
    """At level debug, with a line a call and traces: no key, credential, token, link or password is told."""
    start = GatewayProcess if workers == 1 else WorkerGateway
    place = tmp_path / "data" if workers == 1 else tmp_path
    with start(place, upstream=upstream.base_url, env=settings()) as gateway:
        said = Said(gateway)
        workspace = said.admin("GET", "/workspaces").json()["data"][0]["id"]
        shown = said.admin("POST", f"/workspaces/{workspace}/api-keys", {"description": "x"})
        key = shown.json()["key"]
        said.replies.pop()  # the one reply that shows it
        link = re.findall(r"/console/link/([\w-]+)", gateway.stdout())[0]
        said.ask("GET", f"/console/link/{link}")
        made = said.admin(
            "POST",
            "/upstreams",
            {"name": "x", "base_url": upstream.base_url, "api_key": SECOND_CREDENTIAL, "models": "u=unauthorized"},
        )
        assert made.status_code == 201, made.text
        said.admin("POST", f"/upstreams/{made.json()['id']}/test", {"model": "u"})
        said.call(key, "u")
        others = use_wrongly(said, key)
        sign_in = manage_wrongly(said, key, workspace)
        said.close()
        gateway.close_stdin()
        logged = gateway.output().partition("--- stderr")[2]
        printed = gateway.stdout()
    replies = said.everything()
    assert logged.count('"event":"call"') >= 19
    assert re.search(f'a sign-in from [^"]* failed","request_id":"{sign_in}"', logged)
    assert "a prompt that nobody else reads" not in logged
    for secret in (key, *others, FIRST_CREDENTIAL, SECOND_CREDENTIAL, ADMIN, PEPPER, COLLECTOR_KEY, PASSWORD, link):
        assert secret not in logged
        assert secret not in replies.replace(f"/console/link/{link}", "") or secret == link
    assert re.findall(KEY_SHAPE, logged) == []
    assert re.findall(KEY_SHAPE, replies) == []
    assert not {key, ADMIN, PEPPER, FIRST_CREDENTIAL} & set(re.findall(r"\S+", printed))


_FAULTY = """
from gateway.dataplane import wire

def read(raw):
    raise RuntimeError(f"cannot read {raw!r}")

wire.read = read
"""


def test_a_fault_of_ours_is_logged_without_what_it_holds(tmp_path: Path, upstream: EchoUpstream) -> None:
    """An exception that quotes a key, a credential and a password is logged but for these, as one line with the call's ID."""
    (tmp_path / "sitecustomize.py").write_text(_FAULTY)
    env = settings() | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with GatewayProcess(tmp_path / "data", upstream=upstream.base_url, env=env) as gateway:
        said = Said(gateway)
        key = gateway_key(said)
        held = f"{key} {FIRST_CREDENTIAL} {COLLECTOR_KEY} {ADMIN} postgresql://u:{PASSWORD}@h/d"
        reply = said.call(key, held)
        said.close()
        assert reply.status_code == 500
        logged = gateway.output().partition("--- stderr")[2]
    (line,) = [line for line in logged.splitlines() if "failed inside the gateway" in line]
    found = json.loads(line)
    assert found["request_id"] == reply.headers["x-request-id"]
    assert "RuntimeError: cannot read" in found["exception"]
    for secret in (key, FIRST_CREDENTIAL, COLLECTOR_KEY, ADMIN, PASSWORD):
        assert secret not in logged
        assert secret not in reply.text


def gateway_key(said: Said) -> str:
    """A new key; the reply that shows it is not kept."""
    workspace = said.admin("GET", "/workspaces").json()["data"][0]["id"]
    key: str = said.admin("POST", f"/workspaces/{workspace}/api-keys", {"description": "x"}).json()["key"]
    said.replies.pop()
    return key


def cli(folder: Path, *words: str, **env: str) -> str:
    """What a command of the gateway prints when something is wrong; it has to fail."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        env=kept | {"PYTHONPATH": str(ROOT), "GATEWAY_DATA_DIR": str(folder / "data")} | env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "words", [("migrate",), ("check",), ("serve", "--port", "0"), ("keys", "list"), ("users", "list")], ids=lambda words: words[0]
)
def test_no_command_tells_the_password_of_a_database(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A database or a Redis that cannot be reached, refuses, or has a URL that cannot be read: no error has its password."""
    port = free_port()
    for url in (
        f"postgresql://gateway:{PASSWORD}@127.0.0.1:{port}/gateway",
        f"postgresql://gateway:{PASSWORD}@no-such-host.invalid/gateway",
        f"postgresql://gateway:{PASSWORD}@127.0.0.1:port/gateway",
        f"mysql://gateway:{PASSWORD}@127.0.0.1/gateway",
    ):
        assert PASSWORD not in cli(tmp_path, *words, GATEWAY_DATABASE_URL=url, GATEWAY_ADMIN_TOKEN=ADMIN)
    redis = f"redis://:{PASSWORD}@127.0.0.1:{port}/0?x={PASSWORD}"
    assert PASSWORD not in cli(tmp_path, *words, GATEWAY_REDIS_URL=redis, GATEWAY_LIMITS_REDIS_TIMEOUT_MS="x")
    assert PASSWORD not in cli(
        tmp_path, *words, GATEWAY_TRACING_HEADERS=PASSWORD, GATEWAY_TRACING_ENDPOINT=f"http://u:{PASSWORD}@h"
    )


def test_a_fault_of_a_command_tells_no_secret(tmp_path: Path) -> None:
    """A traceback that Python prints of a command goes through the same net."""
    script = (
        "import os\nfrom gateway import cli\nfrom gateway.commands import output\nfrom gateway.config import from_environment\n"
        "def broken(options=None):\n    output.hide(from_environment())\n    raise RuntimeError('with ' + os.environ['SAID'])\n"
        "output.settings = broken\ncli.main()\n"
    )
    key = generate(KeyKind.STANDARD, b"x").text
    for secret in (key, ADMIN):
        done = subprocess.run(
            [sys.executable, "-c", script, "migrate"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "GATEWAY_ADMIN_TOKEN": ADMIN, "SAID": secret},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "RuntimeError: with ***" in done.stderr
        assert secret not in done.stderr


@pytest.mark.parametrize("words", [("KEY",), ("--KEY",), ("keys", "KEY"), ("migrate", "KEY"), ("keys", "create", "--workspace")])
def test_a_key_typed_in_the_wrong_place_is_not_repeated(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A command that does not understand its arguments says so without the key that is among them."""
    key = generate(KeyKind.STANDARD, b"x").text
    said = cli(tmp_path, *(word.replace("KEY", key) for word in words))
    assert "Usage" in said
    assert key not in said
