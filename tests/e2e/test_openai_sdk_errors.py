"""The official SDK raises the exception that fits, and its own retries work by the gateway's headers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.sdk import Sdk, chunks

pytestmark = pytest.mark.xdist_group("e2e-demo")

RPM = 30
"""Requests a minute: once they are used up, the next has to wait for about two seconds."""


@contextmanager
def refused(kind: type[openai.APIStatusError], status: int, code: str | None) -> Iterator[None]:
    """The block raises exactly `kind`, with the status, the code and a request ID."""
    with pytest.raises(openai.APIStatusError) as caught:
        yield
    assert type(caught.value) is kind
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert caught.value.request_id


def with_key(sdk: Sdk, gateway: GatewayProcess, key: str, **options: Any) -> Sdk:
    """A client of the same kind with another key; the caller closes it."""
    return Sdk(gateway.base_url, key, asynchronous=sdk.asynchronous, **{"max_retries": 0, **options})


@pytest.fixture
def limited_key(gateway_demo: GatewayProcess, request: pytest.FixtureRequest) -> str:
    """A key of an account of its own, with few requests a minute for the demo's embeddings."""
    account = gateway_demo.create_account(request.node.name[:100])
    gateway_demo.admin("PUT", f"/accounts/{account['id']}/limits/demo-embedding", {"rpm": RPM})
    return str(gateway_demo.create_key(account["default_workspace_id"])["key"])


async def embed(sdk: Sdk) -> Any:
    return await sdk(lambda client: client.embeddings.create(model="demo-embedding", input="hi"))


async def use_up(sdk: Sdk) -> openai.RateLimitError:
    """Call until the limit is reached, what refilled in between included; the error that says so."""
    for _ in range(4 * RPM):
        try:
            await embed(sdk)
        except openai.RateLimitError as error:
            return error
    raise AssertionError(f"{4 * RPM} calls passed a limit of {RPM} a minute")


async def test_wrong_key(sdk: Sdk, gateway_demo: GatewayProcess) -> None:
    """A key that does not exist is an authentication error."""
    stranger = with_key(sdk, gateway_demo, "sk-nobody")
    with refused(openai.AuthenticationError, 401, "invalid_api_key"):
        await stranger.chat()
    await stranger.close()


async def test_deleted_key(sdk: Sdk, gateway_demo: GatewayProcess) -> None:
    """A key that has just worked is an authentication error from the moment that its deletion is acknowledged."""
    key = gateway_demo.create_key()
    short_lived = with_key(sdk, gateway_demo, key["key"])
    await short_lived.chat()
    gateway_demo.admin("DELETE", f"/api-keys/{key['id']}")
    with refused(openai.AuthenticationError, 401, "invalid_api_key"):
        await short_lived.chat()
    await short_lived.close()


async def test_deleting_a_key_cuts_its_streams(sdk: Sdk, gateway_demo: GatewayProcess) -> None:
    """A stream under way of a deleted key ends with an error that the SDK raises, never as if it were complete."""
    key = gateway_demo.create_key()
    short_lived = with_key(sdk, gateway_demo, key["key"])
    stream = await short_lived.chat(stream=True, extra_body={"demo_delay_ms": 5000})
    await chunks(stream, 1)
    gateway_demo.admin("DELETE", f"/api-keys/{key['id']}")
    with pytest.raises(openai.APIError) as caught:
        await chunks(stream)
    assert caught.value.code == "invalid_api_key"
    await short_lived.close()


async def test_model_that_is_not_granted(sdk: Sdk, gateway_demo: GatewayProcess) -> None:
    """In a sub-workspace, a model that is not granted is a permission error; the granted one works and is the only one listed."""
    account = gateway_demo.create_account("permissions")
    workspace = gateway_demo.admin("POST", "/workspaces", {"name": "sub", "account_id": account["id"]})["id"]
    gateway_demo.admin("PUT", f"/workspaces/{workspace}/grants/demo-embedding", {})
    narrow = with_key(sdk, gateway_demo, gateway_demo.create_key(workspace)["key"])
    with refused(openai.PermissionDeniedError, 403, "Model.AccessDenied"):
        await narrow.chat()
    await embed(narrow)
    assert [model.id for model in (await narrow(lambda client: client.models.list())).data] == ["demo-embedding"]
    await narrow.close()


async def test_unknown_model(sdk: Sdk) -> None:
    """A model that does not exist is a not-found error, called or retrieved."""
    with refused(openai.NotFoundError, 404, "model_not_found"):
        await sdk.chat(model="nothing")
    with refused(openai.NotFoundError, 404, "model_not_found"):
        await sdk(lambda client: client.models.retrieve("nothing"))


async def test_bad_requests(sdk: Sdk) -> None:
    """What the gateway cannot read is a bad request in the reference's words; what the upstream refuses is passed on as it is."""
    with refused(openai.BadRequestError, 400, "invalid_parameter_error"):
        await sdk.chat(model="")
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat(n=99)
    assert caught.value.param == "n"
    assert "from 1 to 16" in caught.value.message


async def test_rate_limit(sdk: Sdk, gateway_demo: GatewayProcess, limited_key: str) -> None:
    """Past the limit comes a rate-limit error that says how long to wait and what is left."""
    limited = with_key(sdk, gateway_demo, limited_key)
    error = await use_up(limited)
    await limited.close()
    assert error.code == "limit_requests"
    headers = error.response.headers
    assert 0 < int(headers["retry-after-ms"]) <= 60_000 // RPM
    assert int(headers["retry-after"]) == -(-int(headers["retry-after-ms"]) // 1000)
    assert headers["x-ratelimit-limit-requests"] == str(RPM)
    assert headers["x-ratelimit-remaining-requests"] == "0"


async def test_automatic_retry(sdk: Sdk, gateway_demo: GatewayProcess, limited_key: str) -> None:
    """The SDK waits as long as the 429 says, so its first retry succeeds; its own guess of half a second would not do."""
    statuses: list[int] = []

    def seen(response: httpx2.Response) -> None:
        statuses.append(response.status_code)

    async def seen_async(response: httpx2.Response) -> None:
        seen(response)

    http_client: Any = (
        httpx2.AsyncClient(event_hooks={"response": [seen_async]})
        if sdk.asynchronous
        else httpx2.Client(event_hooks={"response": [seen]})
    )
    limited = with_key(sdk, gateway_demo, limited_key, max_retries=2, http_client=http_client)
    patient = limited.client
    limited.client = patient.with_options(max_retries=0)
    await use_up(limited)
    statuses.clear()
    limited.client = patient
    answer = await embed(limited)
    await limited.close()
    assert len(answer.data) == 1
    assert statuses == [429, 200]
