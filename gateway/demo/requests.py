"""Reading a request's fields, with OpenAI-shaped errors for what cannot be taken."""

import json
from typing import Any

CHAT_MODEL = "demo-chat"
EMBEDDING_MODEL = "demo-embedding"
MOST_CHOICES = 16
MOST_DELAY_MS = 60_000

Body = dict[str, Any]


class Rejected(Exception):  # noqa: N818 — an answer to the client, not a fault
    """A request that is answered with an error. `param` names the field, `code` is OpenAI's where it has one."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def parse(raw: bytes) -> Body:
    """The JSON object that `raw` holds. Raises Rejected for anything else."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"The body is not valid JSON: {str(error)[:200]}") from error
    if not isinstance(body, dict):
        raise Rejected("The body must be a JSON object.")
    return body


def model(body: Body, served: str) -> str:
    """The `model` field, which must be `served`. Raises Rejected: 400 without one, 404 for another."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise Rejected("you must provide a model parameter", param="model")
    if name != served:
        message = f"The model `{name}` does not exist or is not for this endpoint; the demo upstream serves `{served}` here."
        raise Rejected(message, status=404, param="model", code="model_not_found")
    return name


def integer(body: Body, field: str, least: int, most: int) -> int | None:
    """An optional whole number from `least` to `most`."""
    value = body.get(field)
    if value is None:
        return None
    # JSON's true is an int to Python, and no number to the client.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Rejected(f"`{field}` must be a whole number from {least} to {most}.", param=field)
    return value


def flag(body: Body, field: str) -> bool:
    """An optional boolean, false where it is absent."""
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise Rejected(f"`{field}` must be true or false.", param=field)
    return bool(value)


def delay(body: Body) -> float | None:
    """The demo's own field `demo_delay_ms`, in seconds: the pause between two words of a stream, or before a JSON answer."""
    milliseconds = integer(body, "demo_delay_ms", 0, MOST_DELAY_MS)
    return None if milliseconds is None else milliseconds / 1000


def wants_usage(body: Body) -> bool:
    """Whether a stream ends with a chunk that carries the usage (`stream_options.include_usage`)."""
    options = body.get("stream_options")
    if options is None:
        return False
    if not body.get("stream"):
        raise Rejected("`stream_options` is only allowed when `stream` is true.", param="stream_options")
    if not isinstance(options, dict):
        raise Rejected("`stream_options` must be an object.", param="stream_options")
    return flag(options, "include_usage")


def text_of(content: object) -> str:
    """The text of a message's `content`: a string, or a list of parts of which those with text count."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(part for part in parts if isinstance(part, str))
    return ""
