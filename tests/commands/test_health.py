"""`gateway health`: what a container's or a service manager's health check is told."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.commands.cli_runner import Cli
from tests.support.gateway_process import GatewayProcess
from tests.support.processes import free_port

_IMPORTED = "import sys, gateway.commands.health; print(*sys.modules)"


def test_a_gateway_that_ends_is_alive_and_not_ready(tmp_path: Path) -> None:
    """Found by its data folder, a gateway is well while it runs, alive but not ready while it drains, and gone after that."""
    cli = Cli(tmp_path)
    with GatewayProcess(cli.data, env={"GATEWAY_SERVER_DRAIN_SECONDS": "60"}) as gateway:
        assert cli("health").stdout == "ok\n"
        assert cli("health", "--live", "--json").json == {"ok": True, "problems": []}
        gateway.signal(signal.SIGTERM)
        gateway.wait_until(lambda: not gateway.is_ready(), "the gateway drains")
        draining = cli("health")
        assert (draining.code, draining.stdout) == (1, "not ready: told to stop\n")
        assert cli("health", "--live", "--url", gateway.address).code == 0
        gateway.kill()
    assert "no gateway listens" in cli("health").refusal


def test_what_does_not_answer_is_not_well(cli: Cli) -> None:
    """Where nobody listens, or the address is none, the exit code is 1 and the reason is told."""
    nobody = cli("health", "--json", "--url", f"http://127.0.0.1:{free_port()}")
    assert nobody.code == 1
    assert "does not answer" in json.loads(nobody.stdout)["problems"][0]
    assert cli("health", GATEWAY_URL="http://127.0.0.1:port").stdout == "not ready: 'http://127.0.0.1:port' is no address\n"


def test_looking_is_cheap(cli: Cli) -> None:
    """A check every few seconds does not import the settings, nor anything that they need."""
    done = subprocess.run([sys.executable, "-c", _IMPORTED], env=cli.env(), capture_output=True, text=True, check=True)
    assert not {"pydantic", "httpx2", "asyncio", "gateway.config"} & set(done.stdout.split())
