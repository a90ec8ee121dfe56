"""The demo upstream as its users meet it: a process on a port of its own."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.support.demo_process import DemoProcess


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoProcess]:
    with DemoProcess() as process:
        yield process


@pytest.fixture
def client(demo: DemoProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=demo.base_url, timeout=30) as client:
        yield client
