"""The demo upstream as an ASGI application: routes, pace, and an end to the work when the client leaves."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.demo import chat, completions, embeddings
from gateway.demo.answers import Events, Json, Whole
from gateway.demo.requests import CHAT_MODEL, EMBEDDING_MODEL, Body, Rejected, parse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ENDPOINTS: dict[str, Callable[[Body], Whole | Events]] = {
    "/v1/chat/completions": chat.answer,
    "/v1/completions": completions.answer,
    "/v1/embeddings": embeddings.answer,
}
_MODELS = [
    {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "demo"} for name in (CHAT_MODEL, EMBEDDING_MODEL)
]
_READ_ONLY = ("/v1/models", "/v1/demo/stats")


class Demo:
    """`in_progress` counts the model calls being answered right now, `served` those that were answered to their end."""

    def __init__(self) -> None:
        self.in_progress = 0
        self.served = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return
        counted = int(scope["path"] in _ENDPOINTS)
        self.in_progress += counted
        work = asyncio.create_task(self._reply(scope["method"], scope["path"], body, send))
        left = asyncio.create_task(_client_left(receive))
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                self.served += counted
        finally:
            self.in_progress -= counted
            work.cancel()
            left.cancel()
            await asyncio.gather(work, left, return_exceptions=True)

    async def _reply(self, method: str, path: str, raw: bytes, send: Send) -> None:
        try:
            answer = self._answer(method, path, raw)
        except Rejected as rejected:
            await _send_json(send, rejected.status, rejected.body)
            return
        if isinstance(answer, Whole):
            await asyncio.sleep(answer.delay)
            await _send_json(send, 200, answer.body)
        else:
            await _send_events(send, answer)

    def _answer(self, method: str, path: str, raw: bytes) -> Whole | Events:
        if path not in _ENDPOINTS and path not in _READ_ONLY:
            raise Rejected(f"Invalid URL ({method} {path})", status=404)
        if method != ("POST" if path in _ENDPOINTS else "GET"):
            raise Rejected(f"Not allowed to {method} on {path}.", status=405)
        if path == "/v1/models":
            return Whole({"object": "list", "data": _MODELS})
        if path == "/v1/demo/stats":
            return Whole({"in_progress": self.in_progress, "served": self.served})
        return _ENDPOINTS[path](parse(raw))


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None if the client left first."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _encode(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


async def _send_json(send: Send, status: int, body: Json) -> None:
    content = _encode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _send_events(send: Send, answer: Events) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for pause, event in answer.events:
        await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": b"data: %b\n\n" % _encode(event), "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
