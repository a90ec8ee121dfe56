"""The official openai SDK, its synchronous and its asynchronous client used alike, so that one test covers both."""

import inspect
from collections.abc import Callable
from typing import Any

import openai


class Sdk:
    """A client of either kind. Blocking in a synchronous one is harmless here: the server is another process."""

    def __init__(self, base_url: str, api_key: str, *, asynchronous: bool, **options: Any) -> None:
        kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        self.asynchronous = asynchronous
        self.client: Any = kind(base_url=base_url, api_key=api_key, timeout=30, **options)

    async def __call__(self, method: Callable[[Any], Any]) -> Any:
        """What `method(client)` gives, awaited where it has to be."""
        result = method(self.client)
        return await result if inspect.isawaitable(result) else result

    async def chat(self, **fields: Any) -> Any:
        """A chat completion of the demo's model, or a stream of one."""
        fields = {"model": "demo-chat", "messages": [{"role": "user", "content": "good morning"}], **fields}
        return await self(lambda client: client.chat.completions.create(**fields))

    async def close(self) -> None:
        await self(lambda client: client.close())


async def chunks(stream: Any, most: int | None = None) -> list[Any]:
    """The stream's next chunks: all that are left, or at most `most`."""
    found: list[Any] = []
    end = object()
    while len(found) != most:
        # Not a `for` loop: left early, it would close the SDK's own iterator.
        chunk = await anext(stream, end) if hasattr(stream, "__anext__") else next(stream, end)
        if chunk is end:
            break
        found.append(chunk)
    return found


async def close(stream: Any) -> None:
    """Leave in the middle of a stream, as a client does that has read enough."""
    closing = stream.close()
    if inspect.isawaitable(closing):
        await closing
