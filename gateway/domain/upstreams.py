"""Upstream model servers: what is known of one, which of its models it serves under which name, and how both are written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LONGEST_MODEL_NAME = 255
"""In characters: the width of a model's name in the database."""
_MOST_MODELS = 10_000
_PUBLIC = re.compile(r"[^\s,=*]+")
_ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/models")

Headers = list[tuple[bytes, bytes]]
"""Header fields in the order sent; names in lower case."""

Fields = Mapping[bytes, bytes]
"""The same by name; of a name that is there several times the last."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One upstream server that serves a model, under the name it uses itself."""

    upstream_id: str
    upstream_name: str
    model: str
    upstream_model: str
    base_url: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream server as configured.

    `models` maps public names to the names the upstream uses itself; `lists_models` says that it serves, besides these, whatever
    its own `GET models` lists (`*` in settings). `source` is `config` (environment or gateway.toml; read-only), `demo` or
    `database`. `api_key` is a secret: never logged, never shown, so `repr` leaves it out.
    """

    id: str
    name: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    models: Mapping[str, str] = field(default_factory=dict)
    lists_models: bool = False
    weight: int = 1
    enabled: bool = True
    source: str = "database"


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The models of an upstream: public names and its own, and whether it serves besides whatever it lists (`*`)."""

    names: Mapping[str, str] = field(default_factory=dict)
    lists: bool = True

    def __str__(self) -> str:
        named = [public if public == own else f"{public}={own}" for public, own in self.names.items()]
        return ",".join([*named, "*"] if self.lists else named)


def is_model_name(name: str) -> bool:
    """Whether a name can be a model's, stored or listed by an upstream: 1 to 255 printable characters."""
    return 0 < len(name) <= LONGEST_MODEL_NAME and name.isprintable()


def read_models(value: object) -> ModelNames:
    """Model names as people write them: one text with commas, a list of texts, or a table of public names and own names.

    A text is `a`, `a=own name` or `*`. Public names hold no blank, comma, equals sign or asterisk, so that a list written with
    blanks instead of commas is noticed. Raises ValueError, whose text goes on from "it …" and quotes no name that is refused.
    """
    if isinstance(value, ModelNames):
        return value
    pairs = _pairs(value)
    names: dict[str, str] = {}
    for place, (public, own) in enumerate(pairs, 1):
        if public == own == "*":
            continue
        if not (_PUBLIC.fullmatch(public) and is_model_name(public) and is_model_name(own) and "," not in own):
            raise ValueError(f"its entry {place} is no model name")
        if public in names:
            raise ValueError(f"the name {public} stands there twice")
        names[public] = own
    if not pairs:
        raise ValueError("it names no model")
    if len(names) > _MOST_MODELS:
        raise ValueError(f"it names more than {_MOST_MODELS:,} models; * takes what the upstream lists itself")
    return ModelNames(names, lists=("*", "*") in pairs)


def _pairs(value: object) -> list[tuple[str, str]]:
    match value:
        case str():
            return [_pair(part) for part in value.split(",") if part.strip()]
        case list() if all(isinstance(part, str) for part in value):
            return [_pair(part) for part in value]
        case dict() if all(isinstance(part, str) for pair in value.items() for part in pair):
            return [(public.strip(), own.strip()) for public, own in value.items()]
        case _:
            raise ValueError("it is no list of names")


def _pair(text: str) -> tuple[str, str]:
    public, found, own = text.strip().partition("=")
    return (public.strip(), own.strip()) if found else (public, public)


def read_base_url(text: str) -> str:
    """The base URL of an upstream, without a slash at its end. Raises ValueError, whose text goes on from "it …" and quotes
    nothing: what is wrong may hold a credential.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("its host or port cannot be read") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("it does not begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("it holds a user name or password; give the credential as api_key instead")
    if not host or port == 0 or not re.fullmatch(r"[!-~]+", text, re.ASCII) or "\\" in text:
        raise ValueError("its host or port cannot be read")
    if "?" in text or "#" in text:
        raise ValueError("it has a query or a fragment, behind which no path can be appended")
    if parts.path.rstrip("/").endswith(_ENDPOINTS):
        raise ValueError("it names one endpoint; leave out what comes behind /v1")
    return text.rstrip("/")
