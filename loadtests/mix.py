"""What the load of `locustfile.py` is made of, and what is read of replies. Nothing here needs Locust."""

import json
import random
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

LONGEST_WAIT = 60.0
"""Seconds that a refused user waits at most, whatever the reply says."""
_WORDS = ("the quick brown fox jumps over the lazy dog while seven wizards mix a pail of liquid oxygen and " * 20).encode()
_LETTERS = string.ascii_letters + string.digits
_DATA = b"data:"
_DONE = b"[DONE]"
_LONGEST_CODE = 60
_STRANGE = re.compile(r"[^\w.\- ]")


class Unusable(ValueError):  # noqa: N818 — says what the options are
    """Options that make no load; the text says which and why, and quotes no key."""


@dataclass(frozen=True)
class Mix:
    """The kinds of calls and how often each is made. Shares are of all calls, sizes in bytes, times in seconds.

    `weights` are those of `models`, in the same order; with `most_tokens` 0 a call names no bound on its answer; `waits` says
    that who gets a 429 waits as it says. `prefix` is what stands before a path.
    """

    keys: Sequence[str]
    models: Sequence[str]
    weights: Sequence[float]
    streamed: float
    listed: float
    bad_key: float
    prompts: tuple[float, float]
    pauses: tuple[float, float]
    most_tokens: int
    prefix: str
    waits: bool

    @classmethod
    def of(cls, options: Any) -> Self:
        """The mix that command-line options ask for. Raises Unusable."""
        models = weights_of(options.models)
        shares = {name: _share(name, getattr(options, name)) for name in ("stream_share", "list_share", "bad_key_share")}
        if shares["list_share"] + shares["bad_key_share"] > 1:
            raise Unusable("--list-share and --bad-key-share are more than 1 together")
        if options.max_tokens < 0:
            raise Unusable("--max-tokens is below 0")
        if options.when_limited not in ("wait", "fail"):
            raise Unusable("--when-limited is neither wait nor fail")
        return cls(
            keys=keys_of(options.keys, options.keys_file),
            models=list(models),
            weights=list(models.values()),
            streamed=shares["stream_share"],
            listed=shares["list_share"],
            bad_key=shares["bad_key_share"],
            prompts=range_of("--prompt-bytes", options.prompt_bytes),
            pauses=range_of("--pause", options.pause),
            most_tokens=options.max_tokens,
            prefix="/" + options.prefix.strip("/") if options.prefix.strip("/") else "",
            waits=options.when_limited == "wait",
        )

    def key(self) -> str:
        return random.choice(self.keys)

    def pause(self) -> float:
        return random.uniform(*self.pauses)

    def kind(self) -> str:
        """What to do next: `list`, `bad key`, `stream` or `chat`."""
        dice = random.random()
        if dice < self.listed:
            return "list"
        if dice < self.listed + self.bad_key:
            return "bad key"
        return "stream" if random.random() < self.streamed else "chat"

    def body(self, *, stream: bool) -> tuple[str, bytes]:
        """A model, and the body of a chat call to it, whose prompt is another one each time, so that no cache answers it."""
        (model,) = random.choices(self.models, self.weights)
        fields: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": prompt(int(random.uniform(*self.prompts)))}],
        }
        if self.most_tokens:
            fields["max_tokens"] = self.most_tokens
        if stream:
            fields["stream"] = True
        return model, json.dumps(fields).encode()


def prompt(size: int) -> str:
    """A text of so many bytes that begins as no other does."""
    start = random.randrange(len(_WORDS))
    text = f"{random.getrandbits(40):010x} ".encode() + _WORDS[start:]
    return (text + _WORDS * (size // len(_WORDS) + 1))[:size].decode()


def nobodys_key() -> str:
    """A key of the right form that nobody has."""
    return "sk-" + "".join(random.choices(_LETTERS, k=38))


def keys_of(text: str, file: str) -> list[str]:
    """The keys that `text` holds, with commas in between, and those of a file, one a line. Raises Unusable if there is none."""
    keys = [part.strip() for part in text.split(",")]
    if file:
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Unusable(f"--keys-file cannot be read: {error}") from None
        keys += [line.strip() for line in lines if not line.lstrip().startswith("#")]
    keys = [key for key in keys if key]
    if not keys:
        raise Unusable(
            "no API key is given: set LOAD_KEYS=sk-… (several with commas), or LOAD_KEYS_FILE to a file with one a line"
        )
    if any(not key.isprintable() or not key.isascii() or " " in key for key in keys):
        raise Unusable("one of the keys holds characters that no key has")
    return keys


def weights_of(text: str) -> dict[str, float]:
    """Models and their weights, written `a=3,b=1`; a model without a weight counts 1. Raises Unusable."""
    weights: dict[str, float] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, found, number = part.rpartition("=")
        if not found:
            name, number = part, "1"
        try:
            weight = float(number)
        except ValueError:
            raise Unusable(f"--models: the weight of {name.strip()!r} is no number") from None
        if not name.strip() or name.strip() in weights or not 0 <= weight < float("inf"):
            raise Unusable(f"--models: {part!r} is no model with a weight, or stands there twice")
        weights[name.strip()] = weight
    if not any(weights.values()):
        raise Unusable("--models names no model")
    return weights


def range_of(name: str, text: str) -> tuple[float, float]:
    """Two numbers written `100-2000`, or one, which is both. Raises Unusable."""
    first, found, last = text.partition("-")
    try:
        low, high = float(first), float(last if found else first)
    except ValueError:
        raise Unusable(f"{name} is neither a number nor two with a hyphen: {text!r}") from None
    if not 0 <= low <= high < float("inf"):
        raise Unusable(f"{name} goes from {low:g} to {high:g}")
    return low, high


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise Unusable(f"--{name.replace('_', '-')} is not between 0 and 1")
    return value


def refusal(status: int, body: bytes) -> str:
    """How a reply that was not wanted is named: by its status and its error's code, so that equal ones count together."""
    try:
        error = json.loads(body)["error"]
        code = error.get("code") or error.get("type") or ""
    except (ValueError, TypeError, KeyError, AttributeError):
        code = ""
    return f"{status} {_STRANGE.sub('?', str(code))[:_LONGEST_CODE]}".rstrip()


def wait_of(headers: Mapping[str, Any]) -> float:
    """The seconds after which a refused call may be made again; a second where the reply does not say."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError, TypeError):
            continue
        if seconds >= 0:
            return min(seconds, LONGEST_WAIT)
    return 1.0


class StreamClock:
    """The times of one event stream, of which each line is told as it comes. All times are seconds of one clock.

    `started` is when the request was sent, `first` how long after it the first event came; `gaps` are the times between events,
    without that before `[DONE]`; `error` is the code of an error event.
    """

    def __init__(self, started: float) -> None:
        self.started = self._last = started
        self.first: float | None = None
        self.gaps: list[float] = []
        self.bytes = 0
        self.done = False
        self.error = ""

    def line(self, line: bytes, now: float) -> None:
        self.bytes += len(line)
        if not line.startswith(_DATA):
            return
        data = line[len(_DATA) :].strip()
        if data == _DONE:
            self.done = True
            return
        if self.first is None:
            self.first = now - self._last
        else:
            self.gaps.append(now - self._last)
        self._last = now
        if b'"error"' in data:
            self._read_error(data)

    def _read_error(self, data: bytes) -> None:
        try:
            value = json.loads(data)
        except ValueError:
            return
        if isinstance(value, dict) and value.get("error"):
            self.error = refusal(200, data).removeprefix("200").strip() or "error"

    @property
    def problem(self) -> str:
        """What is wrong with the stream, now that it is over; nothing if nothing is."""
        if self.error:
            return f"the stream brought an error: {self.error}"
        if self.first is None:
            return "the stream brought no event"
        return "" if self.done else "the stream ended without [DONE]"

    def samples(self) -> Iterator[tuple[str, float]]:
        """What is worth an entry of its own, by name, in seconds."""
        if self.first is not None:
            yield "first event", self.first
        if self.gaps:
            yield "between events, mean", sum(self.gaps) / len(self.gaps)
            yield "between events, longest", max(self.gaps)
