"""The demo upstream's chat and completions, through its own port."""

import json
from typing import Any

import httpx2
import pytest

from tests.support.demo_process import DemoProcess
from tests.support.processes import wait_until

HELLO = [{"role": "user", "content": "good morning to you"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 2},
                "unit": {"enum": ["C", "F"]},
                "place": {"$ref": "#/$defs/place"},
                "spare": {"type": "boolean"},
            },
            "required": ["city", "days", "unit", "place"],
            "$defs": {"place": {"type": "object", "properties": {"lat": {"type": "number"}}}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def chat(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    return client.post("/chat/completions", json={"model": "demo-chat", "messages": HELLO, **fields})


def events(response: httpx2.Response) -> list[dict[str, Any]]:
    """The stream's events, after checking that it ends with `[DONE]` and nothing behind it."""
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n")]
    assert lines[-2:] == ["[DONE]", ""]
    return [json.loads(line) for line in lines[:-2]]


def stream(client: httpx2.Client, **fields: Any) -> list[dict[str, Any]]:
    return events(chat(client, stream=True, demo_delay_ms=0, **fields))


def test_answer_is_labelled_and_about_the_last_message(client: httpx2.Client) -> None:
    """Nobody can take the demo for a model: its answer says that it is one, and repeats what was said last."""
    answer = chat(client, messages=[*HELLO, {"role": "user", "content": [{"type": "text", "text": "and good night"}]}]).json()
    assert answer["object"] == "chat.completion"
    assert answer["system_fingerprint"] == "demo"
    message = answer["choices"][0]["message"]
    assert message["content"].startswith("[demo] ")
    assert '"and good night"' in message["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_usage_counts_the_same_for_the_same_words(client: httpx2.Client) -> None:
    """Tokens are a plain function of the words, so that tests of metering can foretell them."""
    first, second = chat(client).json()["usage"], chat(client).json()["usage"]
    assert first == second
    assert first["prompt_tokens"] == 10  # 4 words and 3 for the message: 7 x 4/3, rounded up
    assert first["total_tokens"] == first["prompt_tokens"] + first["completion_tokens"]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("limit", [1, 2, 8])
def test_limit_on_tokens_is_kept_and_said(client: httpx2.Client, field: str, limit: int) -> None:
    """An answer cut by the client's limit says `length` and counts no more than the limit."""
    answer = chat(client, **{field: limit}).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == limit
    assert len(answer["choices"][0]["message"]["content"].split()) == max(1, limit * 3 // 4)


def test_stream_says_the_same_as_the_json_answer(client: httpx2.Client) -> None:
    """A stream is role, words, finish and nothing else, and its words are those of the JSON answer."""
    chunks = stream(client)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in chunk for chunk in chunks)
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    said = "".join(delta.get("content", "") for delta in deltas)
    assert said == chat(client).json()["choices"][0]["message"]["content"]


def test_stream_carries_usage_only_when_asked(client: httpx2.Client) -> None:
    """With `include_usage`, every chunk has the field and one last chunk without choices fills it, as OpenAI's do."""
    *chunks, last = stream(client, stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == chat(client).json()["usage"]


def test_several_choices_each_have_their_index(client: httpx2.Client) -> None:
    """`n` choices are answered, streamed and counted."""
    one, three = chat(client).json(), chat(client, n=3).json()
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["completion_tokens"] == 3 * one["usage"]["completion_tokens"]
    finished = [chunk["choices"][0]["index"] for chunk in stream(client, n=3) if chunk["choices"][0]["finish_reason"]]
    assert finished == [0, 1, 2]


def test_tool_call_has_arguments_that_fit_the_schema(client: httpx2.Client) -> None:
    """The call is for the first tool, with every required argument and of the type that the schema asks for."""
    choice = chat(client, tools=[WEATHER, CLOCK]).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    call = choice["message"]["tool_calls"][0]["function"]
    assert call["name"] == "weather"
    assert json.loads(call["arguments"]) == {"city": "demo", "days": 2, "unit": "C", "place": {"lat": 1}}


def test_streamed_tool_call_is_the_same_in_parts(client: httpx2.Client) -> None:
    """The parts of a streamed call join to the arguments of the JSON answer; the first names the tool."""
    chunks = stream(client, tools=[WEATHER])
    parts = [part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert parts[0]["function"]["name"] == "weather"
    assert parts[0]["id"]
    assert json.loads("".join(part["function"]["arguments"] for part in parts))["city"] == "demo"
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_tool_choice_is_obeyed(client: httpx2.Client) -> None:
    """A named tool is called, `none` gives text, a tool's result is answered with text, an unknown name is refused."""
    named = chat(client, tools=[WEATHER, CLOCK], tool_choice={"type": "function", "function": {"name": "clock"}}).json()
    assert named["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "clock", "arguments": "{}"}
    assert chat(client, tools=[WEATHER], tool_choice="none").json()["choices"][0]["finish_reason"] == "stop"
    after = chat(client, tools=[WEATHER], messages=[*HELLO, {"role": "tool", "tool_call_id": "x", "content": "sunny"}]).json()
    assert '"sunny"' in after["choices"][0]["message"]["content"]
    unknown = chat(client, tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "nothing"}})
    assert unknown.status_code == 400


def test_completions_answer_each_prompt(client: httpx2.Client) -> None:
    """The older endpoint answers every prompt, keeps `max_tokens`, and streams."""
    request = {"model": "demo-chat", "prompt": ["one", "two"], "max_tokens": 50}
    answer = client.post("/completions", json=request).json()
    assert answer["object"] == "text_completion"
    assert ['"one"' in choice["text"] or '"two"' in choice["text"] for choice in answer["choices"]] == [True, True]
    streamed = events(client.post("/completions", json={**request, "prompt": "one", "stream": True, "demo_delay_ms": 0}))
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == answer["choices"][0]["text"]
    assert streamed[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [True, False])
def test_work_ends_when_the_client_leaves(demo: DemoProcess, client: httpx2.Client, stream: bool) -> None:
    """A client that closes its connection stops the answer, in the middle of a stream or before a delayed JSON answer."""
    request = {"model": "demo-chat", "messages": HELLO, "stream": stream, "demo_delay_ms": 60_000}
    with httpx2.Client(base_url=demo.base_url) as leaving:
        if stream:
            with leaving.stream("POST", "/chat/completions", json=request):
                wait_until(lambda: demo.in_progress() == 1, "the call is under way")
        else:
            with pytest.raises(httpx2.ReadTimeout):
                leaving.post("/chat/completions", json=request, timeout=0.5)
    wait_until(lambda: demo.in_progress() == 0, "the call has ended")
