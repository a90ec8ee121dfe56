"""The services of docker-compose.yml as processes: what clients see through the load balancer, with its real configuration."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any, Self

import httpx2
import openai
import pytest

from tests.deploy.composed import BALANCER, Stack
from tests.support import debian

pytestmark = pytest.mark.xdist_group("compose-stack")

HELLO: Any = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    debian.require("haproxy")
    with Stack() as running:
        yield running


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    """A key that was made at one gateway."""
    return str(stack.json("gateway-1", "keys", "create", "--description", "test")["key"])


@pytest.fixture
async def client(stack: Stack, key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official SDK at the load balancer, without retries of its own."""
    base_url = f"{stack.balancer.address}/compatible-mode/v1"
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=30) as made:
        yield made


async def _until(condition: Any, what: str, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"waited {seconds:g} s in vain: {what}"
        await asyncio.sleep(0.05)


class Callers:
    """Clients that call one after the other, without a pause, and keep what went wrong."""

    def __init__(self, client: openai.AsyncOpenAI, count: int = 4) -> None:
        self._client = client
        self._count = count
        self.passed = 0
        self.failed: list[Exception] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self) -> None:
        while True:
            try:
                await self._client.chat.completions.create(model="m", messages=HELLO)
                self.passed += 1
                await asyncio.sleep(0.01)
            except openai.APIError as error:
                self.failed.append(error)


def test_haproxy_takes_its_configuration() -> None:
    """HAProxy itself finds the file valid; only the containers' names are not known here."""
    command = [debian.require("haproxy"), "-c", "-f", str(BALANCER)]
    done = subprocess.run(
        command, env={**os.environ, "TRUSTED_PROXIES": "127.0.0.1 10.0.0.0/8"}, capture_output=True, check=False
    )
    said = done.stderr.decode() + done.stdout.decode()
    assert done.returncode == 0, said
    assert [line for line in said.splitlines() if "[WARNING]" in line and "could not resolve" not in line] == []


def test_the_gateways_are_as_they_should_be(stack: Stack) -> None:
    """`gateway check` finds nothing wrong with either gateway, nor with Redis as it is started; both share their secrets."""
    for name in stack.gateways:
        found = json.loads(stack.command(name, "check", "--json").stdout)
        assert [each for each in found["problems"] if each["source"] != "upstream slow"] == []  # where only some tests listen
        assert [each for each in found["warnings"] if each["source"] == "redis"] == []
        assert any("as the gateway needs it" in line for line in found["fine"])
        test = stack.services[name]["healthcheck"]["test"]
        assert test[:2] == ["CMD", "gateway"]
        here = [word.replace("http://127.0.0.1:8080", stack.gateways[name].address) for word in test[2:]]
        assert stack.command(name, *here).stdout == "ok\n"
    assert {path.name for path in (stack.folder / "data").iterdir()} == {"key-pepper", "admin-token"}


async def test_calls_go_to_both(stack: Stack, client: openai.AsyncOpenAI, key: str) -> None:
    """A key that was made at one gateway works at the other, and calls that are open at once are shared out between both."""
    for gateway in stack.gateways.values():
        direct = openai.AsyncOpenAI(base_url=f"{gateway.address}/compatible-mode/v1", api_key=key, max_retries=0)
        async with direct:
            await direct.chat.completions.create(model="m", messages=HELLO)
    streams = [
        await client.chat.completions.create(model="m", messages=HELLO, stream=True, max_tokens=10, seed=200) for _ in range(4)
    ]
    metrics = [httpx2.get(f"{each.address}/metrics", trust_env=False).text for each in stack.gateways.values()]
    assert [text.split("\ngateway_open_streams ")[1].split("\n")[0] for text in metrics] == ["2.0", "2.0"]
    for stream in streams:
        assert len([chunk async for chunk in stream if chunk.choices]) == 10


async def test_events_are_not_held_back(client: openai.AsyncOpenAI) -> None:
    """The events of a stream arrive as the model server sends them, a fifth of a second apart, not together at the end."""
    await client.chat.completions.create(model="m", messages=HELLO)
    began = time.monotonic()
    stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True, max_tokens=5, seed=200)
    at = [time.monotonic() - began async for chunk in stream if chunk.choices]
    assert len(at) == 5
    assert at[0] < 0.8
    assert all(0.1 < later - earlier < 0.4 for earlier, later in pairwise(at)), at


async def test_a_gateway_is_stopped_and_no_call_fails(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """While a gateway is told to stop, ends and is started again, calls go on, and the streams that it has come to their end."""
    streams = [
        await client.chat.completions.create(model="m", messages=HELLO, stream=True, max_tokens=20, seed=200) for _ in range(4)
    ]
    async with Callers(client) as callers:
        stopped = stack.gateways["gateway-2"]
        stopped.signal(signal.SIGTERM)
        await _until(lambda: stopped.exit_code is not None, "the gateway ends")
        assert stopped.exit_code == 0
        assert stack.balancer.ready() == {"gateway-1"}
        await asyncio.to_thread(stack.restart, "gateway-2")
        before = callers.passed
        await _until(lambda: callers.passed > before + 20, "calls go on")
    assert callers.failed == []
    for stream in streams:
        assert len([chunk async for chunk in stream if chunk.choices]) == 20


async def test_a_gateway_that_is_killed_costs_its_open_calls_alone(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """When a gateway dies, each client loses at most the call that it has open there; all that begin after that pass."""
    async with Callers(client) as callers:
        await _until(lambda: callers.passed > 20, "calls pass")
        stack.gateways["gateway-1"].kill()
        lost, before = len(callers.failed), callers.passed
        await _until(lambda: callers.passed > before + 100, "calls go on")
        assert len(callers.failed) - lost <= 4
        await _until(lambda: stack.balancer.ready() == {"gateway-2"}, "the load balancer has noticed")
        noticed = len(callers.failed)
        await asyncio.to_thread(stack.restart, "gateway-1")
        assert len(callers.failed) == noticed


class Silent:
    """A model server that never answers. `calls` are all that reached it, `open` those whose connection is still there."""

    def __init__(self) -> None:
        self.calls = self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.calls += 1
            self.open += 1
            await reader.read()  # the rest, until the gateway closes the connection
            self.open -= 1
        writer.close()


@pytest.fixture
async def silent(stack: Stack) -> AsyncIterator[Silent]:
    """The server of the model `slow`."""
    made = Silent()
    async with await asyncio.start_server(made.serve, "127.0.0.1", stack.slow_port):
        yield made


async def _slow(client: openai.AsyncOpenAI, silent: Silent) -> "asyncio.Task[Any]":
    """A call that waits for its answer at the model server."""
    call = asyncio.create_task(client.chat.completions.create(model="slow", messages=HELLO))
    await _until(lambda: silent.open == 1 or call.done(), "the call is under way")
    assert not call.done(), call.exception()
    return call


async def test_who_leaves_takes_the_call_along(client: openai.AsyncOpenAI, silent: Silent) -> None:
    """A client that closes its connection before an answer has begun ends the call at the model server within two seconds."""
    call = await _slow(client, silent)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await _until(lambda: silent.open == 0, "the model server is rid of the call", 2)


async def test_a_call_is_never_put_twice(stack: Stack, client: openai.AsyncOpenAI, silent: Silent) -> None:
    """A call whose gateway dies fails, and is not sent to the other gateway: it may have been carried out."""
    call = await _slow(client, silent)
    calls = silent.calls
    (name,) = (each for each in stack.gateways if _has_calls(stack, each))
    stack.gateways[name].kill()
    with pytest.raises((openai.InternalServerError, openai.APIConnectionError)):  # the latter on a connection that had been used
        await asyncio.wait_for(call, 5)
    assert silent.calls == calls
    await asyncio.to_thread(stack.restart, name)


def _has_calls(stack: Stack, name: str) -> bool:
    metrics = httpx2.get(f"{stack.gateways[name].address}/metrics", trust_env=False).text
    return "\ngateway_open_calls 0.0\n" not in metrics


async def test_without_the_database_known_keys_go_on(stack: Stack, client: openai.AsyncOpenAI, key: str) -> None:
    """While PostgreSQL is away no gateway is ready, and calls with keys that the gateways know pass all the same."""
    for gateway in stack.gateways.values():  # each knows the key
        async with openai.AsyncOpenAI(base_url=f"{gateway.address}/compatible-mode/v1", api_key=key, max_retries=0) as direct:
            await direct.chat.completions.create(model="m", messages=HELLO)
    await asyncio.to_thread(stack.postgres.stop)
    try:
        await _until(lambda: not stack.balancer.ready(), "no gateway is ready")
        assert stack.balancer.is_well()
        for _ in range(10):
            await client.chat.completions.create(model="m", messages=HELLO)
    finally:
        await asyncio.to_thread(stack.postgres.start)
    await asyncio.to_thread(stack.whole)


async def test_without_a_gateway_the_error_is_one_that_clients_read(stack: Stack, client: openai.AsyncOpenAI) -> None:
    """With every gateway gone, the answer is a 503 in the form that OpenAI's SDKs read, which says when to try again."""
    for gateway in stack.gateways.values():
        gateway.kill()
    with pytest.raises(openai.InternalServerError) as told:
        await client.chat.completions.create(model="m", messages=HELLO)
    assert told.value.status_code == 503
    assert told.value.code == "ServiceUnavailable"
    assert told.value.response.headers["retry-after"] == "1"
    await _until(lambda: not stack.balancer.is_well(), "the load balancer's own health check fails")
    for name in stack.gateways:
        await asyncio.to_thread(stack.gateways[name].close)
        stack.gateways[name] = stack.started(name)
    await asyncio.to_thread(stack.whole)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "//metrics", "/%6Detrics", "/metrics?x=1", "/METRICS"])
def test_metrics_are_not_passed_on(stack: Stack, path: str) -> None:
    """The gateways' metrics, which are open to containers, cannot be had through the load balancer, however they are spelt."""
    reply = httpx2.get(stack.balancer.address + path, trust_env=False)
    assert (reply.status_code, reply.json()) == (404, {"detail": "Not found."})
    assert httpx2.get(f"{stack.balancer.address}/livez", trust_env=False).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("source", "told", "seen"),
    [
        ("127.0.0.2", None, "127.0.0.2"),
        ("127.0.0.2", "203.0.113.9", "127.0.0.2"),
        ("127.0.0.3", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.3", "198.51.100.7, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.3", "198.51.100.7, 10.1.2.3", "10.1.2.3"),
        ("127.0.0.3", None, "127.0.0.3"),
    ],
)
def test_gateways_know_whom_a_request_came_from(stack: Stack, source: str, told: str | None, seen: str) -> None:
    """The audit trail has the client's own address; what a client says of it counts only from a proxy that is trusted."""
    token = (stack.folder / "data" / "admin-token").read_text().strip()
    headers = {"authorization": f"Bearer {token}"} | ({} if told is None else {"x-forwarded-for": told})
    transport = httpx2.HTTPTransport(local_address=source)
    with httpx2.Client(base_url=f"{stack.balancer.address}/admin/v1", headers=headers, transport=transport) as admin:
        made = admin.post("/accounts", json={"name": f"{source} {told}"}).raise_for_status().json()
        entries = admin.get("/audit", params={"target": made["id"]}).raise_for_status().json()["data"]
    assert {entry["client"] for entry in entries} == {seen}
