"""The demo upstream's other endpoints, its errors, and its life as a process."""

import base64
import itertools
import re
import signal
import struct
import sys
from typing import Any

import httpx2
import pytest

from tests.support.demo_process import DemoProcess
from tests.support.processes import ChildProcess

USER = [{"role": "user", "content": "hi"}]


def embed(client: httpx2.Client, **fields: Any) -> dict[str, Any]:
    response = client.post("/embeddings", json={"model": "demo-embedding", **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_models_are_labelled(client: httpx2.Client) -> None:
    """The models say by their names and their owner that they are the demo's."""
    models = client.get("/models").json()["data"]
    assert [(model["id"], model["owned_by"]) for model in models] == [("demo-chat", "demo"), ("demo-embedding", "demo")]


def test_embeddings_are_unit_vectors_and_repeatable(client: httpx2.Client) -> None:
    """The same text has the same vector of length 1, another text another one."""
    answer = embed(client, input=["red apples", "blue seas", "red apples"])
    first, second, third = (item["embedding"] for item in answer["data"])
    assert len(first) == 64
    assert sum(value * value for value in first) == pytest.approx(1)
    assert first == third
    assert first != second
    assert answer["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


def test_similar_texts_have_similar_vectors(client: httpx2.Client) -> None:
    """Texts that share words are nearer than texts that share none, so that a first search gives sensible results."""
    items = embed(client, input=["a red apple pie", "a red apple cake", "seven grey ships"], dimensions=512)["data"]
    near, far = (sum(a * b for a, b in zip(items[0]["embedding"], items[i]["embedding"], strict=True)) for i in (1, 2))
    assert near > 0.5 > abs(far)


def test_base64_holds_the_same_vector(client: httpx2.Client) -> None:
    """`base64` is the float vector in 32-bit little-endian, at any number of dimensions."""
    floats = embed(client, input="hello", dimensions=7)["data"][0]["embedding"]
    packed = embed(client, input="hello", dimensions=7, encoding_format="base64")["data"][0]["embedding"]
    assert struct.unpack("<7f", base64.b64decode(packed)) == pytest.approx(floats)


@pytest.mark.parametrize(("given", "count"), [([1, 2, 3], 1), ([[1, 2], [3]], 2), ("one", 1), (["one", "two"], 2)])
def test_every_form_of_input_is_taken(client: httpx2.Client, given: object, count: int) -> None:
    """A text, several, token numbers, and several lists of them each give one vector an item."""
    assert [item["index"] for item in embed(client, input=given)["data"]] == list(range(count))


BAD_CHAT: list[tuple[dict[str, Any], int, str | None]] = [
    ({"messages": USER}, 400, "model"),
    ({"model": "other", "messages": USER}, 404, "model"),
    ({"model": "demo-embedding", "messages": USER}, 404, "model"),
    ({"model": "demo-chat"}, 400, "messages"),
    ({"model": "demo-chat", "messages": []}, 400, "messages"),
    ({"model": "demo-chat", "messages": ["hi"]}, 400, "messages[0]"),
    ({"model": "demo-chat", "messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content"),
    ({"model": "demo-chat", "messages": USER, "n": 0}, 400, "n"),
    ({"model": "demo-chat", "messages": USER, "max_tokens": True}, 400, "max_tokens"),
    ({"model": "demo-chat", "messages": USER, "max_tokens": 0}, 400, "max_tokens"),
    ({"model": "demo-chat", "messages": USER, "stream": "yes"}, 400, "stream"),
    ({"model": "demo-chat", "messages": USER, "stream_options": {}}, 400, "stream_options"),
    ({"model": "demo-chat", "messages": USER, "tools": [{}]}, 400, "tools"),
    ({"model": "demo-chat", "messages": USER, "tool_choice": "required"}, 400, "tool_choice"),
]


@pytest.mark.parametrize(("body", "status", "param"), BAD_CHAT)
def test_bad_requests_are_refused_in_openais_shape(
    client: httpx2.Client, body: dict[str, Any], status: int, param: str | None
) -> None:
    """A bad field is answered with the right status and named, never with a 500."""
    response = client.post("/chat/completions", json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


@pytest.mark.parametrize("given", [None, "", [], [""], 5, [1, "a"], [[]]])
def test_bad_embedding_inputs_are_refused(client: httpx2.Client, given: object) -> None:
    """An input without content has no vector."""
    response = client.post("/embeddings", json={"model": "demo-embedding", "input": given})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "input"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000])
def test_broken_bodies_are_refused(client: httpx2.Client, raw: bytes) -> None:
    """A body that is no JSON object is the client's error, however broken or deep."""
    response = client.post("/chat/completions", content=raw)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_wrong_method_and_path_are_refused(client: httpx2.Client) -> None:
    """What does not exist is 404, what exists with another method 405."""
    assert [client.get("/nothing").status_code, client.get("/embeddings").status_code] == [404, 405]


def test_it_ends_with_its_parent() -> None:
    """The end of standard input, which a killed parent cannot prevent, ends it, even while it answers."""
    request = {"model": "demo-chat", "messages": USER, "stream": True, "demo_delay_ms": 60_000}
    with (
        DemoProcess() as process,
        httpx2.Client(base_url=process.base_url) as client,
        client.stream("POST", "/chat/completions", json=request),
    ):
        process.close_stdin()
        assert process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_streams_end(number: signal.Signals) -> None:
    """Told to stop, it finishes the answers under way, and prints no traceback."""
    request = {"model": "demo-chat", "messages": USER, "stream": True, "demo_delay_ms": 20}
    with DemoProcess() as process, httpx2.Client(base_url=process.base_url, timeout=30) as client:
        with client.stream("POST", "/chat/completions", json=request) as response:
            lines = response.iter_lines()
            list(itertools.islice(lines, 3))
            process.signal(number)
            rest = list(lines)
        assert "data: [DONE]" in rest
        process.wait()
        assert "Traceback" not in process.output()


def test_it_says_where_it_listens() -> None:
    """Started by hand, it tells people its address."""
    with ChildProcess([sys.executable, "-m", "gateway", "demo", "--port", "0"]) as process:
        process.wait_until(lambda: process.stdout().endswith("\n"), "it has said its piece")
        found = re.search(r"http://127\.0\.0\.1:[1-9]\d*/v1", process.stdout())
        assert found, process.output()
        assert httpx2.get(f"{found[0]}/models", timeout=30).status_code == 200
