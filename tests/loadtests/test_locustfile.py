"""The operators' load, run as they run it: Locust as a process of its own, against a real gateway."""

import functools
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx2
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.processes import ROOT, ChildProcess, free_port
from tests.support.shared_profile import FastUpstream

EVENTS = 5
TIMES = ("first event", "between events, mean", "between events, longest")


class Locust(ChildProcess):
    """Locust with `loadtests/locustfile.py`, its keys in the environment; its users end the calls that they have begun."""

    def __init__(self, host: str, keys: str, *options: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("LOAD_", "LOCUST_"))}
        env |= {"PYTHONPATH": str(ROOT)} | ({"LOAD_KEYS": keys} if keys else {})
        command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--host", host, "--stop-timeout", "10"]
        super().__init__([*command, "--json", *options], env=env)

    def rows(self) -> dict[str, dict[str, Any]]:
        """The final figures of each row, by its name. (The CSV files lack up to the last second.)"""
        return {row["name"]: row for row in json.loads(self.stdout())}

    def aggregated(self) -> int:
        """The calls in the last line of the table."""
        return int(re.findall(r"Aggregated +(\d+) +\d+\(", self.output())[-1])

    def errors(self) -> set[str]:
        """What went wrong, each once, as the error report has it."""
        report = self.output().partition("Error report")[2]
        return {line.strip() for line in re.findall(r"^\d+ +(.*)$", report, re.MULTILINE)}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with FastUpstream() as upstream, GatewayProcess(tmp_path_factory.mktemp("gateway"), upstream=upstream.base_url) as running:
        yield running


def test_a_mixed_load_is_counted_by_what_each_call_was(gateway: GatewayProcess) -> None:
    """Calls, streams with their times, lists, bad keys and 429s have rows of their own, which agree with the gateway's ledger."""
    free = gateway.create_key()
    workspace = gateway.admin("POST", "/workspaces", {"name": "limited"})["id"]
    gateway.admin("PUT", f"/workspaces/{workspace}/grants/m", {"rpm": 20, "tpm": None})
    limited = gateway.create_key(workspace)
    shares = ["--list-share", "0.1", "--bad-key-share", "0.1", "--models", "m=9,nobody=1", "--pause", "0.01"]
    run = ["--headless", "-u", "8", "-r", "8", "-t", "3s", "--max-tokens", str(EVENTS)]
    with Locust(gateway.address, f"{free['key']},{free['key']},{limited['key']}", *run, *shares) as locust:
        assert locust.wait() == 1, locust.output()  # since calls of a model that nobody has fail
        rows, errors, aggregated = locust.rows(), locust.errors(), locust.aggregated()
    for name in ("chat: m", "chat, streamed: m", "list models", "chat, bad key", "chat: m, 429", "chat, streamed: m, 429"):
        assert rows[name]["num_requests"] > 0, name
        assert rows[name]["num_failures"] == 0, name
    assert {rows[f"chat, streamed: m, {name}"]["num_requests"] for name in TIMES} == {rows["chat, streamed: m"]["num_requests"]}
    assert 0 < rows["chat, streamed: m, first event"]["total_response_time"] <= rows["chat, streamed: m"]["total_response_time"]
    assert aggregated == sum(row["num_requests"] for row in rows.values() if row["method"] != "SSE")
    assert rows["chat: nobody"]["num_failures"] == rows["chat: nobody"]["num_requests"] > 0
    refusals = {"404 model_not_found", "403 model_access_denied"}
    assert errors
    assert errors <= {f"POST chat{kind}: nobody: {each}" for kind in ("", ", streamed") for each in refusals}
    keys = [free["id"], limited["id"]]
    for name, stream in (("chat: m", 0), ("chat, streamed: m", 1)):
        count = functools.partial(answered, gateway, keys, stream, rows[name]["num_requests"])
        gateway.wait_until(count, f"as many rows in the ledger as {name} was counted")


def answered(gateway: GatewayProcess, keys: list[str], stream: int, wanted: int) -> bool:
    entries = [entry for key in keys for entry in gateway.ledger(key)]
    return [(entry["outcome"], entry["stream"]) for entry in entries].count(("ok", stream)) == wanted


def test_the_web_page_offers_the_options_and_hides_the_keys(gateway: GatewayProcess) -> None:
    """What is changed on the page holds for the run that it starts; keys are neither there nor in a report nor printed."""
    key = gateway.create_key()["key"]
    port = free_port()
    page = ["--web-host", "127.0.0.1", "--web-port", str(port)]
    with (
        Locust(gateway.address, key, *page, "--pause", "0.01") as locust,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):

        def there() -> bool:
            with suppress(httpx2.TransportError):
                return client.get("/").status_code == 200
            return False

        def state() -> str:
            return str(client.get("/stats/requests").json()["state"])

        locust.wait_until(there, "the page is there")
        form = {"user_count": "3", "spawn_rate": "3", "host": gateway.address, "list_share": "0"}
        client.post("/swarm", data=form | {"models": "a=much"})
        locust.wait_until(lambda: "the weight of 'a' is no number" in locust.output(), "the page's mistake is named")
        locust.wait_until(lambda: state() == "stopped", "nothing runs with a mistake")
        client.post("/swarm", data=form | {"models": "m", "stream_share": "1"})
        locust.wait_until(lambda: client.get("/stats/requests").json()["total_rps"] > 0, "calls are made")
        seen = [client.get(path).text for path in ("/", "/stats/requests", "/stats/report")]
        locust.signal(signal.SIGTERM)
        assert locust.wait() == 0, locust.output()
        seen.append(locust.output())
        assert locust.rows().keys() == {"chat, streamed: m", *(f"chat, streamed: m, {name}" for name in TIMES)}
    assert "stream_share" in seen[0]
    assert "keys_file" not in seen[0]
    assert not [text for text in seen if key in text]


@pytest.mark.parametrize(
    ("keys", "options", "says"),
    [("", [], "no API key is given"), ("sk-1", ["--models", "a=x"], "the weight of 'a' is no number")],
)
def test_what_cannot_run_says_why(keys: str, options: list[str], says: str) -> None:
    """Without a key, or with options that make no load, Locust ends before it has begun, with a sentence that says why."""
    with Locust("http://127.0.0.1:9", keys, "--headless", "-t", "5s", *options) as locust:
        assert locust.wait() == 1
        assert says in locust.output()
        assert "Traceback" not in locust.output()


@contextmanager
def breaking_server() -> Iterator[str]:
    """A server whose every event stream breaks off in its middle."""
    listening = socket.create_server(("127.0.0.1", 0))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(head + b'16\r\ndata: {"choices":[]}\n\n\r\n')

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def test_streams_that_break_off_are_failures() -> None:
    """A stream without its end counts as failed, whoever serves it, and no user hangs on it."""
    only_streams = ["--stream-share", "1", "--list-share", "0", "--models", "m", "--pause", "0.05", "--prefix", "/v1"]
    with breaking_server() as host, Locust(host, "sk-1", "--headless", "-u", "1", "-t", "1s", *only_streams) as locust:
        assert locust.wait() == 1, locust.output()
        row = locust.rows()["chat, streamed: m"]
        assert row["num_failures"] == row["num_requests"] > 1
        assert locust.errors() == {"POST chat, streamed: m: the stream broke off: HTTPParseError"}
