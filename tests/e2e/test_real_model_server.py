"""The gateway in front of an inference server that nobody here wrote: llama.cpp's, with a tiny random model."""

from collections.abc import AsyncIterator

import pytest

from tests.support.gateway_process import GatewayProcess, Json
from tests.support.model_server import MODEL, ModelServer
from tests.support.processes import wait_until
from tests.support.sdk import Sdk, chunks, close

pytestmark = pytest.mark.xdist_group("e2e-llama")

LONG = {"max_tokens": 60_000, "extra_body": {"ignore_eos": True}}
"""Far more than the model can say while a test lasts."""


@pytest.fixture
def key(gateway_llama: GatewayProcess) -> Json:
    """A key whose rows in the ledger are one test's alone."""
    return gateway_llama.create_key()


@pytest.fixture
async def llama(gateway_llama: GatewayProcess, key: Json) -> AsyncIterator[Sdk]:
    sdk = Sdk(gateway_llama.base_url, key["key"], asynchronous=True, max_retries=0)
    yield sdk
    await sdk.close()


async def test_models_are_those_of_the_server(llama: Sdk) -> None:
    """With `GATEWAY_UPSTREAM_MODELS=*` the gateway's models are what that server lists."""
    listed = (await llama(lambda client: client.models.list())).data
    assert [model.id for model in listed] == [MODEL]


async def test_chat(llama: Sdk, key: Json, gateway_llama: GatewayProcess) -> None:
    """A chat completion runs through, and the ledger has the server's own count of tokens."""
    answer = await llama.chat(model=MODEL, max_tokens=16, extra_body={"ignore_eos": True})
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 16
    (row,) = gateway_llama.metered(key["id"], 1)
    assert (row["input_tokens"], row["output_tokens"]) == (answer.usage.prompt_tokens, 16)


async def test_stream(llama: Sdk, key: Json, gateway_llama: GatewayProcess) -> None:
    """A stream runs through token by token; its usage is metered though the client did not ask for it."""
    found = await chunks(await llama.chat(model=MODEL, max_tokens=16, stream=True, extra_body={"ignore_eos": True}))
    assert len(found) > 10
    assert all(chunk.choices for chunk in found)
    assert found[-1].choices[0].finish_reason == "length"
    (row,) = gateway_llama.metered(key["id"], 1)
    assert (row["output_tokens"], row["estimated"], row["outcome"]) == (16, 0, "ok")


async def test_embeddings(llama: Sdk) -> None:
    """Embeddings run through: one vector an input, different for different texts."""
    answer = await llama(lambda client: client.embeddings.create(model=MODEL, input=["the time", "a man"]))
    first, second = (item.embedding for item in answer.data)
    assert len(first) == len(second) == 64
    assert first != second


async def test_leaving_a_stream_frees_the_server(llama: Sdk, model_server: ModelServer) -> None:
    """After the client closes a stream, the server itself shows that it computes nothing any more."""
    streams = [await llama.chat(model=MODEL, stream=True, **LONG) for _ in range(2)]
    for stream in streams:
        await chunks(stream, 5)
    assert model_server.requests_processing() == 2
    for stream in streams:
        await close(stream)
    wait_until(lambda: model_server.requests_processing() == 0, "no request is in progress", seconds=5)
