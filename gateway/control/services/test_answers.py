"""What came back of a test call, in words: the reply of the model, or what went wrong and what to look at."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import responses
from typing import Any
from urllib.parse import quote

from gateway.domain.trials import Cause, Outcome

SHOWN = 2048
"""Characters of an answer that are shown."""
_LONGEST_ERROR = 500
_HIDDEN = "***"
_SHORTEST_SECRET = 4
_LARGEST = 2**53
_NAMES = 5
_REDIRECTS = range(300, 400)


@dataclass(frozen=True, slots=True)
class Answer:
    """`reply` is the model's text, else the beginning of what came; `error` and `hint` are None where all is well.

    `usage` holds `input_tokens`, `output_tokens` and `total_tokens`, as far as the upstream told them.
    """

    ok: bool
    reply: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    hint: str | None = None


_WRONG_BASE_URL = "Look at the base URL: most end in /v1."
_OF_CAUSES = {
    Cause.REFUSED: "The connection was refused",
    Cause.NAME: "The host's name does not resolve",
    Cause.TLS: "No TLS connection came about",
    Cause.TIME: "It took too long",
    Cause.UNSENDABLE: "The request cannot be sent",
    Cause.OTHER: "No whole answer came",
}
_HINTS_OF_CAUSES = {
    Cause.REFUSED: """Nothing listens at this host and port. Look at the base URL, and whether the server runs and listens on more
        than the loopback address of its own machine.""",
    Cause.NAME: """Look at the spelling of the host in the base URL, and at the DNS of the machine that the gateway runs on.""",
    Cause.TLS: """The server's certificate has to be valid for this host and signed by an authority that the gateway's machine
        trusts; a server without TLS takes http:// instead of https://.""",
    Cause.TIME: """The server is not reached through the network, or is too busy: a model that is loaded at its first call may
        need minutes. Look at firewalls and at the server's load, and try again.""",
    Cause.UNSENDABLE: """The base URL or the credential holds characters that HTTP forbids; enter both anew.""",
    Cause.OTHER: """The server broke off, or does not speak HTTP at this port. Look at the base URL and at the server's log.""",
}
_NO_ADDRESS = f"The server has no such address, or does not know the model by this name. {_WRONG_BASE_URL}"
_BAD_REQUEST = """The server does not take this request. Look at the model's type in the catalogue: an embedding model is asked
    for an embedding once its type says so."""
_LIMITED = "The server limits how much may be asked of it; look at the limits and the balance of this credential there."
_REDIRECTED = "Redirects are not followed, since they would carry the credential elsewhere; set the address that it leads to."
_NO_CREDENTIAL = "The server asks for a credential, and none is set; enter one."
_WRONG_CREDENTIAL = "The server does not take the credential, or not for this model; enter it anew."
_FAILED = "The server itself failed, or a proxy before it does not reach it; look at its log."
_NO_MODEL_SERVER = f"No model server may be there. {_WRONG_BASE_URL}"


def read(outcome: Outcome, kind: str, secret: str | None) -> Answer:
    """The outcome of a call of a `kind`: `chat`, `completion`, `embedding`, or `list` of models. Nothing in it holds `secret`."""
    forms = _forms(secret)
    if outcome.cause is not None:
        error = ": ".join(filter(None, (_OF_CAUSES[outcome.cause], _hide(outcome.words, forms)[:_LONGEST_ERROR]))) + "."
        hint = _one_line(_HINTS_OF_CAUSES[outcome.cause])
        return Answer(ok=False, reply=_beginning(outcome, forms), error=error, hint=hint)
    found = _json(outcome.body) if outcome.whole else None
    shown = _shown(found, outcome, forms)
    if outcome.status != HTTPStatus.OK:
        error, hint = _refusal(outcome, found, forms, has_secret=secret is not None)
        return Answer(ok=False, reply=shown, error=error, hint=hint)
    text = _READERS[kind](found) if isinstance(found, dict) else None
    if text is None:
        return Answer(ok=False, reply=shown, error=_strange(found, outcome), hint=_NO_MODEL_SERVER)
    return Answer(ok=True, reply=_hide(text, forms)[:SHOWN] or shown, usage=_usage(found))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _forms(secret: str | None) -> list[str]:
    """The credential as it may be repeated: as it is, in JSON, in a URL; the longest first. What is shorter than four is none."""
    if secret is None or len(secret) < _SHORTEST_SECRET:
        return []
    return sorted({secret, json.dumps(secret)[1:-1], quote(secret), quote(secret, safe="")}, key=len, reverse=True)


def _hide(text: str, forms: list[str]) -> str:
    for form in forms:
        text = text.replace(form, _HIDDEN)
    return text


def _without_cut(text: str, forms: list[str]) -> str:
    """A text whose end was cut off, without the part of a credential that the cut may have left."""
    ends = [form[:length] for form in forms for length in range(len(form), 0, -1)]
    return text.removesuffix(next((end for end in ends if text.endswith(end)), ""))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _storable(text: str) -> str:
    """Without half characters, which JSON can name and UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _shown(found: Any, outcome: Outcome, forms: list[str]) -> str | None:
    """The beginning of an answer: written anew where it is JSON, so that a credential in another spelling is found."""
    if found is None:
        return _beginning(outcome, forms)
    return _hide(_storable(json.dumps(found, ensure_ascii=False, indent=2)), forms)[:SHOWN]


def _beginning(outcome: Outcome, forms: list[str]) -> str | None:
    text = _hide(outcome.body.decode("utf-8", "replace"), forms)
    return (text if outcome.whole else _without_cut(text, forms))[:SHOWN] or None


def _usage(found: Any) -> dict[str, int]:
    told = found.get("usage")
    if not isinstance(told, dict):
        return {}
    names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens", "total_tokens": "total_tokens"}
    numbers = {ours: told.get(theirs) for ours, theirs in names.items()}
    return {name: value for name, value in numbers.items() if type(value) is int and 0 <= value < _LARGEST}


def _first(found: dict[str, Any], name: str) -> dict[str, Any]:
    many = found.get(name)
    return many[0] if isinstance(many, list) and many and isinstance(many[0], dict) else {}


def _chat(found: dict[str, Any]) -> str | None:
    message = _first(found, "choices").get("message")
    if not isinstance(message, dict):
        return None
    content = message.get("content")
    return _storable(content) if isinstance(content, str) else ""


def _completion(found: dict[str, Any]) -> str | None:
    text = _first(found, "choices").get("text")
    return _storable(text) if isinstance(text, str) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) < _LARGEST)


def _embedding(found: dict[str, Any]) -> str | None:
    vector = _first(found, "data").get("embedding")
    if not isinstance(vector, list) or not vector or not all(_is_number(each) for each in vector):
        return None
    return f"A vector of {len(vector):,} numbers: {', '.join(f'{each:.4g}' for each in vector[:_NAMES])}, …"


def _list(found: dict[str, Any]) -> str | None:
    rows = found.get("data")
    if not isinstance(rows, list):
        return None
    names = [_storable(row["id"]) for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    if not names:
        return "It lists no models."
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return f"It lists {len(names):,} model{'s' if len(names) > 1 else ''}: {', '.join(names[:_NAMES])}{more}."


_READERS: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "chat": _chat,
    "completion": _completion,
    "embedding": _embedding,
    "list": _list,
}
"""For each kind of call the reader of its answer: None where the answer is not of OpenAI's form."""


def _strange(found: Any, outcome: Outcome) -> str:
    if not outcome.whole:
        return "The answer is larger than a test call reads."
    return "The answer is not JSON." if found is None else "The answer is not of the form that OpenAI's API has."


def _told(found: Any) -> str:
    """What an error says of itself, in the forms that model servers use; empty where it says nothing."""
    error = found.get("error", found) if isinstance(found, dict) else found
    for name in ("message", "detail", "msg"):
        if isinstance(error, dict) and isinstance(error.get(name), str):
            return _storable(error[name])
    return _storable(error) if isinstance(error, str) else ""


def _refusal(outcome: Outcome, found: Any, forms: list[str], *, has_secret: bool) -> tuple[str, str]:
    status = outcome.status or 0
    error = f"The server answered {status} {responses.get(status, '')}".rstrip()
    if told := _hide(_told(found), forms).strip():
        error += f": {told[:_LONGEST_ERROR]}"
    if outcome.location is not None and status in _REDIRECTS:
        error += f", and leads to {_hide(outcome.location, forms)[:_LONGEST_ERROR]}"
    return error if error.endswith((".", "!", "?")) else error + ".", _one_line(_hint(status, has_secret=has_secret))


def _hint(status: int, *, has_secret: bool) -> str:
    hints = {
        401: _WRONG_CREDENTIAL if has_secret else _NO_CREDENTIAL,
        403: _WRONG_CREDENTIAL if has_secret else _NO_CREDENTIAL,
        404: _NO_ADDRESS,
        405: _NO_ADDRESS,
        400: _BAD_REQUEST,
        422: _BAD_REQUEST,
        402: _LIMITED,
        429: _LIMITED,
    }
    if status in _REDIRECTS:
        return _REDIRECTED
    return hints.get(status, _FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _NO_MODEL_SERVER)
