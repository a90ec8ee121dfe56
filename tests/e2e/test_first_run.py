"""The first start hands over everything that is needed to make a call, and the second gives nothing away."""

import re
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.sdk import Sdk

pytestmark = pytest.mark.xdist_group("e2e-first-run")

KEY = re.compile(r"sk-[0-9A-Za-z]{38}")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first-run") / "data"


@pytest.fixture(scope="module")
def first(data_dir: Path) -> Iterator[GatewayProcess]:
    """A gateway on an empty data folder, with no secret and no upstream set."""
    with GatewayProcess(data_dir, own_secrets=True) as gateway:
        gateway.wait_until(
            lambda: "curl" in gateway.stdout() and "openai" in gateway.stdout(), "the first run has said its piece"
        )
        yield gateway


def printed(output: str, beginning: str) -> str:
    """The lines from one that begins with `beginning` to the next blank one, without their indentation."""
    found = re.search(rf"^[ \t]*{beginning}.*?(?=\n\s*\n|\Z)", output, re.MULTILINE | re.DOTALL)
    assert found, output
    return textwrap.dedent(found[0])


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_endpoint_and_key_work(first: GatewayProcess) -> None:
    """The printed endpoint is the gateway's, and the one printed key is good for a call."""
    assert first.base_url in first.stdout()
    keys = set(KEY.findall(first.stdout()))
    assert len(keys) == 1
    sdk = Sdk(first.base_url, keys.pop(), asynchronous=False, max_retries=0)
    assert (await sdk.chat()).choices[0].message.content.startswith("[demo] ")
    await sdk.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
def test_printed_curl_works(first: GatewayProcess) -> None:
    """The printed curl, pasted into a shell, brings an answer."""
    command = printed(first.stdout(), "curl ")
    assert "[demo]" in run(["sh", "-c", command])


def test_printed_python_works(first: GatewayProcess) -> None:
    """The printed four lines of Python, pasted into an interpreter, bring an answer."""
    program = printed(first.stdout(), "from openai import")
    lines = program.strip().splitlines()
    assert len(lines) <= 4
    assert "[demo]" in run([sys.executable, "-W", "ignore", "-c", program])


def test_printed_link_makes_the_first_operator(first: GatewayProcess) -> None:
    """The printed one-time link leads to the form for the first operator, and nobody has to know the admin token for it."""
    found = re.search(rf"{first.address}/console/link/[\w-]+", first.stdout())
    assert found, first.stdout()
    form = {"email": "first@example.com", "name": "First", "password": "a long enough password"}
    with httpx2.Client(base_url=first.address, headers={"origin": first.address}) as browser:
        assert "first operator" in browser.get(found[0]).text
        assert browser.post(found[0], data=form).status_code == 303
        assert browser.get("/admin/v1/me").json()["roles"] == [{"role": "operator", "account_id": None, "workspace_id": None}]
        assert browser.get(found[0]).status_code == 404


def test_demo_is_named(first: GatewayProcess) -> None:
    """Whoever starts the gateway without an upstream is told that the demo answers, and how to change that."""
    assert "demo" in first.output()
    assert "GATEWAY_UPSTREAM_BASE_URL" in first.output()


def test_generated_secrets_are_private_and_not_printed(first: GatewayProcess) -> None:
    """Admin token and pepper are made in files that nobody else can read, and stand in no output."""
    for name in ("admin-token", "key-pepper"):
        file = first.data_dir / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().strip() not in first.output()


async def test_second_start_keeps_everything_and_shows_no_secret(tmp_path: Path) -> None:
    """The key of the first start still works after the second, which prints no key and no link, and makes none."""
    with GatewayProcess(tmp_path / "data", own_secrets=True) as gateway:
        gateway.wait_until(lambda: KEY.search(gateway.stdout()) is not None, "the first start prints a key")
        (key,) = set(KEY.findall(gateway.stdout()))
        workspace = gateway.admin("POST", "/workspaces", {"name": "kept"})
        token = gateway.admin_token
    with GatewayProcess(tmp_path / "data", own_secrets=True) as again:
        sdk = Sdk(again.base_url, key, asynchronous=False, max_retries=0)
        assert (await sdk.chat()).choices
        await sdk.close()
        assert again.admin_token == token
        assert workspace["id"] in [row["id"] for row in again.admin("GET", "/workspaces")["data"]]
        assert len(again.admin("GET", f"/workspaces/{again.default_workspace()}/api-keys")["data"]) == 1
        assert not re.search(r"\b(sk|st)-[0-9A-Za-z]{8,}", again.output())
        assert token not in again.output()
        assert "/console/link/" not in again.output()


async def test_a_lost_pepper_is_noticed(tmp_path: Path) -> None:
    """With another pepper no key would work, so the gateway refuses to start, and says why."""
    with GatewayProcess(tmp_path / "data"):
        pass
    with pytest.raises(AssertionError, match="pepper"):
        GatewayProcess(tmp_path / "data", env={"GATEWAY_KEY_PEPPER": "another-pepper-than-before"})
