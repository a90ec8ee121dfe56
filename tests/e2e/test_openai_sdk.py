"""An application with the official openai SDK sees through the gateway what it would see at OpenAI."""

import base64
import json
import re
import struct
from collections.abc import AsyncIterator

import pytest

from tests.support.demo_process import demo_stats
from tests.support.gateway_process import GatewayProcess
from tests.support.processes import wait_until
from tests.support.sdk import Sdk, chunks, close

pytestmark = pytest.mark.xdist_group("e2e-demo")

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def test_chat(sdk: Sdk) -> None:
    """A chat completion comes back whole, with the upstream's text and usage."""
    answer = await sdk.chat()
    assert answer.choices[0].message.content.startswith("[demo] ")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.system_fingerprint == "demo"


async def test_streamed_chat_hides_usage_that_was_not_asked_for(sdk: Sdk) -> None:
    """The gateway asks the upstream for usage by itself, and the client that did not ask sees nothing of it."""
    found = await chunks(await sdk.chat(stream=True, extra_body={"demo_delay_ms": 0}))
    assert all(chunk.choices for chunk in found)
    assert all(chunk.usage is None for chunk in found)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in found)
    assert said == (await sdk.chat()).choices[0].message.content
    assert found[-1].choices[0].finish_reason == "stop"


async def test_streamed_chat_shows_usage_that_was_asked_for(sdk: Sdk) -> None:
    """With `include_usage` the last chunk carries the usage, and no choices."""
    options = {"include_usage": True}
    *found, last = await chunks(await sdk.chat(stream=True, stream_options=options, extra_body={"demo_delay_ms": 0}))
    assert all(chunk.usage is None for chunk in found)
    assert last.choices == []
    assert last.usage == (await sdk.chat()).usage


async def test_tool_call(sdk: Sdk) -> None:
    """Tools go to the upstream, and its call comes back."""
    choice = (await sdk.chat(tools=[WEATHER])).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.name == "weather"
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": "demo"}


async def test_streamed_tool_call(sdk: Sdk) -> None:
    """A tool call arrives in parts that join to the same arguments."""
    found = await chunks(await sdk.chat(tools=[WEATHER], tool_choice="required", stream=True))
    parts = [part for chunk in found for part in chunk.choices[0].delta.tool_calls or []]
    assert parts[0].function.name == "weather"
    assert json.loads("".join(part.function.arguments for part in parts)) == {"city": "demo"}
    assert found[-1].choices[0].finish_reason == "tool_calls"


async def test_embeddings(sdk: Sdk) -> None:
    """Vectors are the same as floats, as base64, and by the SDK's own way (it asks for base64 and decodes)."""

    async def embed(**fields: str) -> list[object]:
        request = {"model": "demo-embedding", "input": ["red", "blue"], **fields}
        return [item.embedding for item in (await sdk(lambda client: client.embeddings.create(**request))).data]

    by_default, floats, texts = await embed(), await embed(encoding_format="float"), await embed(encoding_format="base64")
    assert len(floats) == len(texts) == 2
    for vector, decoded, text in zip(floats, by_default, texts, strict=True):
        assert isinstance(text, str)
        packed = struct.unpack("<64f", base64.b64decode(text))
        assert list(packed) == decoded == pytest.approx(vector)


async def test_completions(sdk: Sdk) -> None:
    """The older endpoint works as well, whole and streamed."""
    request = {"model": "demo-chat", "prompt": "hello", "max_tokens": 40}
    answer = await sdk(lambda client: client.completions.create(**request))
    stream = await sdk(lambda client: client.completions.create(**request, stream=True, extra_body={"demo_delay_ms": 0}))
    found = await chunks(stream)
    assert answer.choices[0].text.startswith("[demo] ")
    assert "".join(chunk.choices[0].text for chunk in found if chunk.choices) == answer.choices[0].text


async def test_models(sdk: Sdk) -> None:
    """The models are listed, each can be retrieved, and the demo's say whose they are."""
    listed = (await sdk(lambda client: client.models.list())).data
    assert {model.id for model in listed} == {"demo-chat", "demo-embedding"}
    model = await sdk(lambda client: client.models.retrieve("demo-chat"))
    assert (model.id, model.owned_by) == ("demo-chat", "demo")


async def test_request_id(sdk: Sdk) -> None:
    """Every reply carries a request ID where the SDK looks for it, whole or streamed."""
    answer = await sdk.chat()
    assert UUID.fullmatch(answer._request_id)
    stream = await sdk.chat(stream=True, extra_body={"demo_delay_ms": 0})
    request_id = stream.response.headers["x-request-id"]
    await chunks(stream)
    assert UUID.fullmatch(request_id)
    assert request_id != answer._request_id


@pytest.fixture
async def metered(sdk: Sdk, gateway_demo: GatewayProcess) -> AsyncIterator[tuple[Sdk, str]]:
    """The SDK with a key of its own, whose rows in the ledger are this test's alone; and the key's ID."""
    key = gateway_demo.create_key()
    own = Sdk(gateway_demo.base_url, key["key"], asynchronous=sdk.asynchronous, max_retries=0)
    yield own, key["id"]
    await own.close()


async def test_leaving_a_stream_stops_the_upstream(metered: tuple[Sdk, str], gateway_demo: GatewayProcess) -> None:
    """A client that leaves in the middle ends the upstream's work within a second or two, and is charged for what passed by."""
    sdk, key_id = metered
    demo = gateway_demo.demo_base_url()
    stream = await sdk.chat(
        stream=True, extra_body={"demo_delay_ms": 100}, messages=[{"role": "user", "content": "word " * 1000}]
    )
    await chunks(stream, 5)
    assert demo_stats(demo)["in_progress"] == 1
    await close(stream)
    wait_until(lambda: demo_stats(demo)["in_progress"] == 0, "the upstream has stopped", seconds=3)
    (row,) = gateway_demo.metered(key_id, 1)
    assert (row["outcome"], row["stream"], row["estimated"]) == ("client_gone", 1, 1)
    assert row["output_tokens"] > 0


async def test_calls_are_metered_as_the_upstream_counts(metered: tuple[Sdk, str], gateway_demo: GatewayProcess) -> None:
    """A streamed call whose client did not ask for usage has the upstream's exact tokens in the ledger, as a whole one has."""
    sdk, key_id = metered
    usage = (await sdk.chat()).usage
    await chunks(await sdk.chat(stream=True, extra_body={"demo_delay_ms": 0}))
    for row in gateway_demo.metered(key_id, 2):
        assert (row["input_tokens"], row["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
        assert (row["outcome"], row["billing"], row["model"], row["estimated"]) == ("ok", "payg", "demo-chat", 0)
