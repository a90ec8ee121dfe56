"""One call of each kind before anything is measured, so that no figure is that of an error page."""

import json
import urllib.error
import urllib.request
from typing import Any

from loadtests.load import Shot
from loadtests.peers import Peer
from loadtests.upstream import EVENTS, LARGE

_SECONDS = 60.0


def check(peer: Peer) -> None:
    """Raises RuntimeError, with what came instead, where a peer does not hand on what the upstream says or takes a bad key."""
    for shot in (Shot(), Shot("large"), Shot("events", stream=True)):
        status, body = _ask(peer, shot, peer.keys[0])
        if status != 200 or not _right(shot.model, body):
            raise RuntimeError(f"{peer.name} answers a call of {shot.model} with {status}: {_told(body)}")
    if "refused" not in peer.cannot:
        status, body = _ask(peer, Shot(), peer.bad_key)
        if not 400 <= status < 500:
            raise RuntimeError(f"{peer.name} answers a bad key with {status}: {_told(body)}")


def _ask(peer: Peer, shot: Shot, key: str) -> tuple[int, bytes]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **peer.headers}
    request = urllib.request.Request(f"http://127.0.0.1:{peer.port}{peer.path}", data=shot.body().encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def _right(model: str, body: bytes) -> bool:
    if model == "events":
        return body.count(b'"hello"') == EVENTS and body.rstrip().endswith(b"[DONE]")
    try:
        reply: Any = json.loads(body)
        text = reply["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return False
    return bool(len(text) == LARGE if model == "large" else text.startswith("Hello to the whole wide world"))


def _told(body: bytes) -> str:
    return repr(body[:300]) if len(body) <= 600 else f"{body[:300]!r} … {body[-300:]!r}"
