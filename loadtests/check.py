"""One call of each kind before anything is measured, so that no figure is that of an error page."""

import json
import urllib.error
import urllib.request
from typing import Any

from loadtests.load import Shot
from loadtests.peers import Missing, Peer
from loadtests.upstream import EVENTS, LARGE

_SECONDS = 60.0


def check(peer: Peer) -> None:
    """Raises Missing, with what came instead, where a peer does not hand on what the upstream says, or does not refuse what it is
    measured at refusing.
    """
    for shot in (Shot(), Shot("large"), Shot("events", stream=True)):
        status, body = _ask(peer, shot)
        if status != 200 or not _right(shot.model, body):
            raise Missing(f"it answers a call of {shot.model} with {status}: {_told(body)}")
    if "refused" not in peer.cannot:
        status, body = _ask(peer, Shot(caller="unknown"))
        if not 400 <= status <= 403:  # LiteLLM says 400 where it has no database to ask
            raise Missing(f"it answers a bad key with {status}: {_told(body)}")
    if "limited" not in peer.cannot:
        status, body = max(_ask(peer, Shot(caller="over its limit")) for _ in range(3))  # one may pass
        if status != 429:
            raise Missing(f"it answers calls over their limit with {status}: {_told(body)}")


def _ask(peer: Peer, shot: Shot) -> tuple[int, bytes]:
    keys, path = peer.address(shot.caller)
    headers = {"authorization": f"Bearer {keys[0]}", "content-type": "application/json", **peer.headers}
    request = urllib.request.Request(f"http://127.0.0.1:{peer.port}{path}", data=shot.body().encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        raise Missing(f"a call of {shot.model} breaks off: {error}") from error


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
