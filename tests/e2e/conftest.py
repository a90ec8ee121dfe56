"""Running gateways for the tests from end to end: one in front of the demo, one in front of a real model server."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.model_server import ModelServer
from tests.support.sdk import Sdk


@pytest.fixture(scope="session")
def gateway_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with no upstream set, so with its built-in demo."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway-demo")) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def model_server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="session")
def gateway_llama(tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer) -> Iterator[GatewayProcess]:
    """A gateway whose only upstream is the real model server."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway-llama"), upstream=model_server.base_url) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def demo_key(gateway_demo: GatewayProcess) -> str:
    """A key of the default workspace, which reaches every model without a limit."""
    return str(gateway_demo.create_key()["key"])


@pytest.fixture(params=["sync", "async"])
async def sdk(request: pytest.FixtureRequest, gateway_demo: GatewayProcess, demo_key: str) -> AsyncIterator[Sdk]:
    """The official SDK at the gateway with the demo, without retries."""
    sdk = Sdk(gateway_demo.base_url, demo_key, asynchronous=request.param == "async", max_retries=0)
    yield sdk
    await sdk.close()
