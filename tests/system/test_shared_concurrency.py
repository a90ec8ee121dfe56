"""Calls that are open at once are counted over all processes."""

import asyncio
import re

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.load import Connection, request
from tests.support.shared_profile import SharedProfile

pytestmark = [pytest.mark.xdist_group("shared"), pytest.mark.timeout(120)]


def _open_streams(gateway: GatewayProcess) -> int:
    (found,) = re.findall(r"^gateway_open_streams (\d+)", gateway.get("/metrics").text, re.MULTILINE)
    return int(found)


async def test_a_key_has_its_places_at_all_processes_together() -> None:
    """Three streams at two processes are all that a key may have; the fourth is refused at either until one has ended."""
    with SharedProfile(2, GATEWAY_LIMITS_KEY_CONCURRENCY="3") as shared:
        key = shared.gateways[0].create_key()["key"]
        ports = [gateway.port for gateway in shared.gateways]
        stream = request(key, stream=True, max_tokens=60, seed=50)
        open_streams = [Connection(port) for port in (*ports, ports[0])]
        streams = [asyncio.create_task(connection.call(stream)) for connection in open_streams]
        call = request(key)
        connections = [Connection(port) for port in ports]
        async with asyncio.timeout(10):
            while sum(_open_streams(gateway) for gateway in shared.gateways) < 3:
                await asyncio.sleep(0.02)
        assert [(await connection.call(call))[0] for connection in connections] == [429, 429]
        status, body = await connections[0].call(call)
        assert (status, b"limit_concurrency" in body) == (429, True)
        assert [status for status, _ in await asyncio.gather(*streams)] == [200, 200, 200]
        async with asyncio.timeout(10):
            while [(await connection.call(call))[0] for connection in connections] != [200, 200]:
                await asyncio.sleep(0.05)
        for connection in (*connections, *open_streams):
            connection.close()
