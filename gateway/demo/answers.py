"""What every endpoint's answer is made of: words, tokens, usage, and the pace of a stream."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

FINGERPRINT = "demo"
WORD_PAUSE = 1 / 30
"""Seconds between two words of a stream: 30 words a second, about as fast as a quick reader."""

_MOST_ECHOED_WORDS = 2000
_EXPLANATION = (
    "No language model is behind this answer: the demo upstream repeats what it is told. "
    "To reach a real model server, set GATEWAY_UPSTREAM_BASE_URL."
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Whole:
    """A JSON answer, sent after `delay` seconds."""

    body: Json
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Events:
    """A streamed answer: each event is sent `pause` seconds after the one before, then `[DONE]`."""

    events: Iterator[tuple[float, Json]]


@dataclass(frozen=True, slots=True)
class Text:
    """An answer's words, cut to what the client allows. `tokens` counts what is left of it."""

    words: list[str]
    tokens: int
    finish_reason: str

    def __str__(self) -> str:
        return " ".join(self.words)

    def pieces(self) -> Iterator[str]:
        """The text in parts of one word each, which joined give it back."""
        for index, word in enumerate(self.words):
            yield word if index == 0 else f" {word}"


def count_tokens(words: int) -> int:
    """The demo's tokens: four for three words, rounded up."""
    return (words * 4 + 2) // 3


def reply_to(said: str, most_tokens: int | None) -> Text:
    """The demo's answer to `said`, in at most `most_tokens` tokens; at least one word is always said."""
    heard = said.split()
    if heard:
        quoted = " ".join(heard[:_MOST_ECHOED_WORDS])
        noun = "word" if len(heard) == 1 else "words"
        text = f'[demo] You wrote {len(heard)} {noun}: "{quoted}" {_EXPLANATION}'
    else:
        text = f"[demo] You wrote no text. {_EXPLANATION}"
    words = text.split()
    tokens = count_tokens(len(words))
    if most_tokens is None or tokens <= most_tokens:
        return Text(words, tokens, "stop")
    return Text(words[: max(1, most_tokens * 3 // 4)], most_tokens, "length")


def usage(prompt_tokens: int, completion_tokens: int) -> Json:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def head(prefix: str, kind: str, model: str) -> Json:
    """The fields that open an answer and each of its chunks."""
    return {
        "id": f"{prefix}-demo-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": FINGERPRINT,
    }
