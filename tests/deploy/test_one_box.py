"""docs/deploy/one-box.md and the service that it installs: systemd and nginx take it, and the commands do what they say."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

import gateway
from gateway.config import load
from tests.support import debian
from tests.support.gateway_process import GatewayProcess
from tests.support.processes import ROOT, ChildProcess, free_port
from tests.support.shared_profile import FastUpstream

pytestmark = pytest.mark.xdist_group("one-box")

DOC = (ROOT / "docs" / "deploy" / "one-box.md").read_text(encoding="utf-8")
UNIT = ROOT / "deploy" / "systemd" / "gateway.service"
PROGRAM = "/opt/gateway/bin/gateway"
EXPOSURE = 1.4
_MDWE = 65  # PR_SET_MDWE, the kernel's own MemoryDenyWriteExecute, since Linux 6.3
_STRICT = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({_MDWE}, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "gateway", *sys.argv[1:]])
"""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The service's unit, with a program that this machine has."""
    text = UNIT.read_text(encoding="utf-8")
    assert text.count(PROGRAM) == 1
    file = tmp_path / "gateway.service"
    file.write_text(text.replace(PROGRAM, "/bin/true"))
    return file


def test_systemd_takes_the_unit(unit: Path) -> None:
    """The unit gives systemd nothing to find fault with."""
    analyze = debian.require("systemd", "systemd-analyze")
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_service_can_do_little(unit: Path) -> None:
    """What the service could do to the machine is rated by systemd as the document says, or lower."""
    analyze = debian.require("systemd", "systemd-analyze")
    assert f"rates it {EXPOSURE} " in DOC
    limit = f"--threshold={EXPOSURE * 10:.0f}"
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", limit, str(unit)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode()


def test_it_has_time_to_end() -> None:
    """A gateway that still lets calls end is not killed by systemd."""
    settings = load({}, None)
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert int(seconds) >= settings.server.drain_seconds + settings.server.graceful_timeout_seconds + 15


def _allowed() -> set[str]:
    """The system calls that the unit leaves."""
    found: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE):
        for group in line.removeprefix("~").split():
            calls = _calls_of(group)
            found = found - calls if line.startswith("~") else found | calls
    return found


def _calls_of(group: str) -> set[str]:
    analyze = debian.require("systemd", "systemd-analyze")
    told = subprocess.run([analyze, "syscall-filter", group], capture_output=True, text=True, check=True).stdout
    names = [line.strip() for line in told.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return {call for name in names for call in (_calls_of(name) if name.startswith("@") else {name})}


def test_what_the_service_may_do_is_enough(tmp_path: Path) -> None:
    """From its start to its end the gateway makes no system call, and writes no code into memory, that the unit forbids."""
    strace = debian.require("strace")
    allowed = _allowed()
    assert {"read", "epoll_wait", "clone"} <= allowed
    assert not {"mount", "setuid", "ptrace"} & allowed
    env = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_") and "proxy" not in name.lower()}
    env |= {"PYTHONPATH": str(ROOT), "GATEWAY_DATA_DIR": str(tmp_path / "data"), "GATEWAY_PORT": str(free_port())}
    trace = tmp_path / "trace"
    if subprocess.run([strace, "-qq", "-o", trace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("NOT TESTED: strace may not look at programs here")
    with ChildProcess(
        [strace, "-f", "-qq", "-o", trace, sys.executable, "-c", _STRICT, "serve"], env=env, cwd=tmp_path
    ) as traced:
        traced.wait_until(lambda: "print(reply" in traced.stdout(), "the gateway listens")
        words = traced.stdout().split()
        endpoint, key = words[words.index("Endpoint") + 1], words[words.index("key") + 1]
        with openai.OpenAI(base_url=endpoint, api_key=key, max_retries=0) as client:
            assert client.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": "Hello!"}]).choices
        (first, *_) = Path(f"/proc/{traced.pid}/task/{traced.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert traced.wait() == 0
    made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(errors="replace"), re.MULTILINE))
    as_root = {"fchown"} if os.geteuid() == 0 else set()  # SQLite's, which nobody but root makes
    assert "epoll_wait" in made
    assert made - allowed - as_root == set()


@pytest.fixture
def behind_nginx(tmp_path: Path) -> Iterator[tuple[GatewayProcess, str]]:
    """A gateway with the document's settings, behind nginx with the document's configuration, and nginx's address."""
    nginx = debian.require("nginx-light", "nginx")
    port, pem = free_port(), ROOT / "tests" / "support" / "test-only.pem"
    (settings,) = re.findall(r"```toml\n(.*?)```", DOC, re.DOTALL)
    (site,) = re.findall(r"```nginx\n(.*?)```", DOC, re.DOTALL)
    data = tmp_path / "data"
    file = tmp_path / "gateway.toml"
    file.write_text(settings)
    with (
        FastUpstream() as upstream,
        GatewayProcess(data, upstream=upstream.base_url, env={"GATEWAY_CONFIG": str(file)}) as running,
    ):
        changes = {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/gateway/fullchain.pem": str(pem),
            "/etc/ssl/gateway/key.pem": str(pem),
            "http://127.0.0.1:8080": running.address,
        }
        for old, new in changes.items():
            assert old in site
            site = site.replace(old, new)
        temporary = "".join(
            f"{each}_temp_path {tmp_path}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole = f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {temporary} {site} }}"
        (tmp_path / "nginx.conf").write_text(whole)
        with ChildProcess([nginx, "-c", tmp_path / "nginx.conf", "-p", tmp_path]) as proxy:
            address = f"https://127.0.0.1:{port}"
            proxy.wait_until(lambda: _answers(address), "nginx answers")
            yield running, address


def _answers(address: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"{address}/livez", verify=False, trust_env=False).is_success
    return False


def test_nginx_passes_calls_on_as_they_are(behind_nginx: tuple[GatewayProcess, str]) -> None:
    """Through the document's nginx, events arrive one by one, the client's address is known, and metrics are not open."""
    running, address = behind_nginx
    key = str(running.create_key()["key"])
    with (
        httpx2.Client(transport=httpx2.HTTPTransport(verify=False, local_address="127.0.0.2"), timeout=30) as https,
        openai.OpenAI(base_url=f"{address}/compatible-mode/v1", api_key=key, max_retries=0, http_client=https) as client,
    ):
        began = time.monotonic()
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True, max_tokens=4, seed=200
        )
        at = [time.monotonic() - began for chunk in stream if chunk.choices]
        assert len(at) == 4
        assert at[-1] - at[0] > 0.45
        token = {"authorization": f"Bearer {running.admin_token}", "x-forwarded-for": "203.0.113.9"}
        made = https.post(f"{address}/admin/v1/accounts", json={"name": "by nginx"}, headers=token).raise_for_status().json()
        entries = https.get(f"{address}/admin/v1/audit", params={"target": made["id"]}, headers=token).json()["data"]
        assert {entry["client"] for entry in entries} == {"127.0.0.2"}
        assert https.get(f"{address}/metrics").status_code == 404


def test_a_backup_brings_everything_back(tmp_path: Path) -> None:
    """The document's commands, with the gateway running, make a backup with which a key works on another data folder."""
    block = DOC.split("\n## Backups\n")[1].split("```sh\n")[1].split("```")[0]
    data, kept = tmp_path / "data", tmp_path / "kept"
    with GatewayProcess(data, own_secrets=True) as running:
        key = str(running.create_key()["key"])
        commands = block.replace("/opt/gateway/bin/python", sys.executable)
        commands = commands.replace("/var/lib/gateway", str(data)).replace("/var/backups/gateway", str(kept))
        subprocess.run(["/bin/sh", "-ec", commands], check=True, capture_output=True)
    shutil.rmtree(data)
    assert {path.name for path in kept.iterdir()} == {"gateway.db", "key-pepper", "admin-token"}
    with GatewayProcess(kept, own_secrets=True) as restored, openai.OpenAI(base_url=restored.base_url, api_key=key) as client:
        assert "demo-chat" in {model.id for model in client.models.list()}


def test_the_document_names_this_version() -> None:
    """The paths and files of the installation have the number of this version, and the wheel that is built has that name."""
    assert set(re.findall(r"(?:gateway-|/opt/gateway-)(\d+\.\d+\.\d+)", DOC)) == {gateway.__version__}
    assert UNIT.relative_to(ROOT).as_posix() in DOC
