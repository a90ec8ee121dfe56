"""Takes secrets out of what is about to be shown to operators: log lines, attributes of spans, errors of the command line.

Two nets, since either has holes. By value: what this process was given to keep (`know`), wherever it stands. By shape: API keys,
ours and other vendors', bearer and basic credentials, passwords in URLs, one-time links, session cookies, the values of names
such as `password`. What is found becomes `***`. A key's masked form stays.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from gateway.domain.credentials import KEY_SHAPE

HIDDEN: Final = "***"
_LEAST = 4  # characters of a secret that is looked for by value: shorter ones stand in too many words
_LONG = 16  # characters from which a secret is looked for within words as well
_LEAST_OF_CREDENTIALS = 12
_MOST_KNOWN = 1000
_DEEPEST = 8

_WHOLE_NAMES = r"(?:proxy-)?authorization|(?:set-)?cookie"
_NAMES = (
    r"x-api-key|api[-_]?key|[\w-]*password|passwd|pwd|passphrase|[\w-]*secret|pepper|credentials?"
    r"|(?:[\w]+[-_])?token(?!s)"
)
_SECRET_NAME = re.compile(rf"(?i)(?:{_WHOLE_NAMES}|{_NAMES})")
# A name, what stands between it and its value in JSON, in Python's own words (quoted again, too) and in headers; then the value.
_IS = r"(?:\\*[\"'])?\s*(?:=>|[:=]|(?<=[\"'])\s*,)\s*(?:b(?=\\*[\"']))?"
_QUOTED = r"\\+\"[^\"\n]*|\\+'[^'\n]*|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?"
_SHAPES: Final = (
    KEY_SHAPE,
    r"(?<![0-9A-Za-z])(?:sk-(?:sp-)?|st-)[0-9A-Za-z]{12,}",
    r"(?<![0-9A-Za-z])(?:sk|pk|rk|gsk|hf|xai)[-_](?=[A-Za-z_-]*[0-9])[0-9A-Za-z_-]{16,}",
    r"eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]*)?",
    r"\$argon2\w*\$[^\s\"']+",
    # What `secrets.token_urlsafe(32)` makes: cookies, links, the admin token.
    r"(?<![0-9A-Za-z_-])(?=[0-9A-Z_-]*[a-z])(?=[0-9a-z_-]*[A-Z])(?=[A-Za-z]*[0-9_-])[0-9A-Za-z_-]{43}(?![0-9A-Za-z_-])",
)
_AFTER: Final = (
    rf"(?i)((?<![\w-])(?:{_WHOLE_NAMES}){_IS})(?:{_QUOTED}|[^\"'\r\n]+)",
    rf"(?i)((?<![\w-])(?:{_NAMES}){_IS})(?:{_QUOTED}|[^\s\"']+)",
    r"(?i)(\b(?:bearer|basic)[ \t]+)[^\s\"'<>]{4,}",
    r"((?<=://)[^\s:/@\"'<>]*:)[^\s\"<>]+(?=@)",
    r"(/link/)[0-9A-Za-z_%-]{8,}",
    r"(gateway-session\s*[=:]\s*)[^\s\"';]+",
)
_WITHOUT = [re.compile(shape) for shape in _SHAPES]
_BEHIND = [re.compile(shape) for shape in _AFTER]
# One look that most texts pass: each shape holds one of these in lower case, or is a long run.
_HINTS = (
    "sk-", "sk_", "st-", "pk-", "pk_", "rk-", "rk_", "hf-", "hf_", "xai", "eyj", "argon2", "authorization", "cookie", "api-key",
    "api_key", "apikey", "passw", "pwd", "passphrase", "secret", "pepper", "credential", "token", "bearer", "basic", "://",
    "/link/", "gateway-session",
)  # fmt: skip
_RUN = re.compile(r"(?<![0-9A-Za-z_-])[0-9A-Za-z_-]{43}(?![0-9A-Za-z_-])")


class Redactor:
    """What hides. `known` are the secrets that it looks for by value."""

    def __init__(self) -> None:
        self._known: dict[str, re.Pattern[str] | None] = {}

    def know(self, secret: str | None) -> None:
        """Hide this text from now on, also as a URL has it. The oldest is forgotten where there are too many."""
        if not secret or len(secret) < _LEAST:
            return
        for form in {secret, unquote(secret), quote(secret, safe="", errors="backslashreplace"), repr(secret)[1:-1]}:
            bounded = None if len(form) >= _LONG else re.compile(rf"(?<![0-9A-Za-z]){re.escape(form)}(?![0-9A-Za-z])")
            self._known.pop(form, None)
            self._known[form] = bounded
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def know_url(self, url: str | None) -> None:
        """Hide the password of a URL."""
        try:
            self.know(urlsplit(url).password if url else None)
        except ValueError:  # no URL that has one
            return

    def text(self, text: str) -> str:
        """The text without what is secret; itself where there is nothing."""
        for secret, bounded in tuple(self._known.items()):
            if secret in text:
                text = text.replace(secret, HIDDEN) if bounded is None else bounded.sub(HIDDEN, text)
        lower = text.lower()
        if not any(hint in lower for hint in _HINTS) and _RUN.search(text) is None:
            return text
        for shape in _BEHIND:
            text = shape.sub(rf"\1{HIDDEN}", text)
        for shape in _WITHOUT:
            text = shape.sub(HIDDEN, text)
        return text

    def value(self, value: object, depth: int = 0) -> object:
        """Any value as text, number, list or dict, without what is secret; what is none of these as its `repr`."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes | bytearray):
            return self.text(bytes(value).decode("utf-8", "backslashreplace"))
        if depth < _DEEPEST and isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._held(value, depth)
        return self.text(_shown(value))

    def _held(self, value: Mapping[object, object] | Collection[object], depth: int) -> object:
        if isinstance(value, Mapping):
            return {self._name(key): self.field(key, each, depth + 1) for key, each in value.items()}
        some = list(value)
        if len(some) == 2 and isinstance(some[0], str | bytes):  # noqa: PLR2004 — a header field: its name, its value
            return [self.value(some[0], depth + 1), self.field(some[0], some[1], depth + 1)]
        return [self.value(each, depth + 1) for each in some]

    def field(self, name: object, value: object, depth: int = 0) -> object:
        """A value that has a name: hidden whole where the name says that it is secret."""
        plain = name.decode("latin-1") if isinstance(name, bytes) else name
        if isinstance(plain, str) and _SECRET_NAME.fullmatch(plain) and value is not None and not isinstance(value, bool):
            return HIDDEN
        return self.value(value, depth)

    def _name(self, name: object) -> str:
        return self.text(name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name))


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 — a value that cannot even be shown must not end what was to be told
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


class Credentials:
    """The gateway's own credentials at its upstreams, for replies that repeat them to a client."""

    def __init__(self) -> None:
        self._known: dict[bytes, None] = {}

    def know(self, credential: str | None) -> None:
        """Keep it, unless it is so short that it could be a word. The oldest is forgotten where there are too many."""
        if credential and len(credential) >= _LEAST_OF_CREDENTIALS:
            self._known[credential.encode("utf-8", "backslashreplace")] = None
            if len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]

    def hide(self, body: bytes) -> bytes:
        """A body without them; itself where it has none."""
        for credential in tuple(self._known):
            if credential in body:
                body = body.replace(credential, HIDDEN.encode())
        return body


REDACTOR: Final = Redactor()
"""This process's own. Whoever gets hold of a secret that may come back in an error tells it."""

CREDENTIALS: Final = Credentials()
"""This process's own; told by whoever sends them."""
