"""`gateway serve`: what stops it from starting, and how it ends."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.commands import listen
from gateway.commands.output import Failure
from tests.commands.cli_runner import Cli
from tests.support.gateway_process import GatewayProcess
from tests.support.processes import ChildProcess, wait_until


def demo_of(gateway: ChildProcess) -> int:
    """The process ID of the demo upstream that a gateway has started."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    (child,) = [int(each) for each in children]
    return child


def runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this machine has no /proc")


def test_a_taken_port_is_told(cli: Cli) -> None:
    """A port that another program uses stops the start with exit code 1 and a remedy, before anything is made but the folder."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        ran = cli.process("serve", "--port", str(other.getsockname()[1]))
    assert ran.code == 1
    assert "is taken by another program" in ran.stderr
    assert "GATEWAY_PORT" in ran.stderr
    assert sorted(path.name for path in cli.data.iterdir()) == ["gateway.lock"]


def test_a_second_gateway_on_the_folder_is_refused(cli: Cli) -> None:
    """Two gateways on one data folder would each keep limits of their own, so the second is refused, with the first's address."""
    with GatewayProcess(cli.data) as gateway:
        ran = cli.process("serve", "--port", "0")
        assert ran.code == 1
        assert gateway.address in ran.stderr
        assert gateway.is_ready()


@pytest.mark.parametrize("env", [{"GATEWAY_WORKERS": "2"}, {"GATEWAY_REDIS_URL": "http://127.0.0.1"}, {"GATEWAY_PORT": "x"}])
def test_a_wrong_configuration_is_refused(cli: Cli, env: dict[str, str]) -> None:
    """A configuration that cannot work stops the start with exit code 1, the variable's name and the remedy."""
    ran = cli.process("serve", **env)
    assert ran.code == 1
    assert next(iter(env)) in ran.stderr
    assert not cli.data.exists()


def test_an_option_is_named_in_its_refusal(cli: Cli) -> None:
    """Whoever gives --workers is told about --workers."""
    assert "--workers: 2 workers need Redis" in cli.process("serve", "--workers", "2").stderr


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_well(cli: Cli, number: signal.Signals) -> None:
    """Told to stop, the gateway exits with 0, its demo upstream ends with it, and the folder is free again."""
    with GatewayProcess(cli.data) as gateway:
        demo = demo_of(gateway)
        gateway.signal(number)
        assert gateway.wait() == 0
        assert "Traceback" not in gateway.output()
        assert not runs(demo)
    assert (cli.data / "gateway.lock").read_bytes() == b""


@needs_proc
def test_the_demo_does_not_outlive_a_killed_gateway(cli: Cli) -> None:
    """However the gateway ends, no demo upstream stays behind, and the next start finds the folder free."""
    with GatewayProcess(cli.data) as gateway:
        demo = demo_of(gateway)
        gateway.kill()
        wait_until(lambda: not runs(demo), "the demo upstream has ended")
    with GatewayProcess(cli.data) as again:
        assert again.is_ready()


def test_a_signal_at_any_time_of_the_start_ends_it(cli: Cli) -> None:
    """Told to stop while it is still starting, the gateway exits with 0 and leaves no process behind."""
    with ChildProcess([sys.executable, "-m", "gateway", "serve", "--port", "0"], env=cli.env(), cwd=cli.folder) as child:
        child.wait_until((cli.data / "gateway.lock").exists, "the start is under way")
        child.signal(signal.SIGTERM)
        assert child.wait() == 0
        assert "Traceback" not in child.output()


@needs_proc
@pytest.mark.parametrize("source", ["settings", "database"])
def test_no_demo_where_an_upstream_is_known(cli: Cli, source: str) -> None:
    """The demo upstream is started only where neither the settings nor the database name another."""
    upstream = "http://127.0.0.1:9/v1"
    if source == "database":
        cli("upstreams", "add", upstream, GATEWAY_KEY_PEPPER="key-pepper-of-the-tests")
    with GatewayProcess(cli.data, upstream=upstream if source == "settings" else None) as gateway:
        assert [row["base_url"] for row in gateway.admin("GET", "/upstreams")["data"]] == [upstream]


def test_json(cli: Cli) -> None:
    """For programs, the address is one line of JSON, and no key is made."""
    with ChildProcess(
        [sys.executable, "-m", "gateway", "serve", "--port", "0", "--json"], env=cli.env(), cwd=cli.folder
    ) as child:
        child.wait_until(lambda: child.stdout().endswith("\n"), "the address is printed")
        said = json.loads(child.stdout())
        assert said["endpoint"] == said["url"] + "/compatible-mode/v1"
        assert cli("keys", "list", "--json").json["data"] == []


def test_a_first_key_is_made_only_where_there_is_none(cli: Cli) -> None:
    """Whoever made a key before the first start is not given another one."""
    cli("keys", "create", GATEWAY_KEY_PEPPER="key-pepper-of-the-tests")
    with GatewayProcess(cli.data) as gateway:
        gateway.wait_until(lambda: "is running" in gateway.stdout(), "the greeting is printed")
        assert len(gateway.admin("GET", f"/workspaces/{gateway.default_workspace()}/api-keys")["data"]) == 1
        assert "sk-" not in gateway.stdout()


def test_serving_goes_on_when_nobody_reads(cli: Cli) -> None:
    """A standard output that nobody reads any more does not keep the gateway from serving."""
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", "0"], env=cli.env(), cwd=cli.folder, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        try:
            wait_until(lambda: b"http" in _content(cli.data / "gateway.lock"), "the gateway listens")
            assert cli("workspaces", "list").code == 0
        finally:
            process.terminate()
            assert process.wait(30) == 0


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_addresses(host: str, url: str) -> None:
    """The address that is printed and kept for commands can be reached from this machine."""
    assert listen.url_of(host, 80) == url


@pytest.mark.parametrize(
    ("bind", "remedy"),
    [
        (lambda: listen.bind("no such host.invalid", 0), "GATEWAY_HOST"),
        (lambda: listen.bind("203.0.113.1", 0), "GATEWAY_HOST"),
    ],
)
def test_an_unusable_host_is_told(bind: Callable[[], object], remedy: str) -> None:
    """A host that is unknown, or is none of this machine's addresses, is refused with the setting to change."""
    with pytest.raises(Failure, match=remedy):
        bind()
