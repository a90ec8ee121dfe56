"""A request in bytes (RFC 9112, sections 3 and 5)."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.domain.faults import UnsendableRequest
from gateway.domain.upstreams import Headers

# Set here alone: the target, the framing, and the credential, which must never be the caller's.
_OWN: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization"))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# What no value may hold (RFC 9110, section 5.5): control characters but the tab, and the ends of lines above all.
_NOT_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TARGET = re.compile(rb"[!-~]+")
_PORTS: Final = {"http": 80, "https": 443}
_KNOWN_NAMES: set[bytes] = set()
_MOST_KNOWN = 1000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead: `tls` says whether they are encrypted, `host` is the name that a certificate has to be for."""

    tls: bool
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream with one credential: the header lines that every request to it has, and its own path."""

    origin: Origin
    path: bytes
    host: bytes
    credential: bytes


def target(base_url: str, api_key: str | None) -> Target:
    """Read an upstream's address. Raises UnsendableRequest, whose text and cause quote neither address nor credential."""
    try:
        base_url.encode("utf-8")
        parts = urlsplit(base_url if base_url.isprintable() else "")  # urlsplit would drop ends of lines
        host, port = parts.hostname, parts.port
        default = _PORTS[parts.scheme]
        path = parts.path.rstrip("/").encode("ascii")
        literal = "" if host is None else host.encode("idna" if not host.isascii() else "ascii").decode("ascii")
        credential = b"" if not api_key else b"authorization: Bearer %s\r\n" % api_key.encode("ascii")
    except (ValueError, KeyError):
        raise UnsendableRequest("the upstream's base URL or credential cannot be sent") from None
    fits = _TARGET.fullmatch(path or b"/") and literal and re.fullmatch(r"[A-Za-z0-9._:%\-]+", literal)
    credential_fits = not credential or _TARGET.fullmatch((api_key or "").encode())
    if not fits or not credential_fits or parts.query or parts.fragment:
        raise UnsendableRequest("the upstream's base URL or credential cannot be sent") from None
    shown = f"[{literal}]" if ":" in literal else literal
    number = default if port is None else port
    authority = shown if number == default else f"{shown}:{number}"
    return Target(Origin(parts.scheme == "https", literal, number), path, b"host: %s\r\n" % authority.encode(), credential)


def head_of(method: bytes, to: Target, path: bytes, headers: Headers, length: int | None) -> bytes:
    """A request's head. `length` is that of its body, None where it has none.

    The target's own `host` and `authorization`, and the framing, take the place of any that `headers` (names in lower case) hold.
    Raises UnsendableRequest for a field that HTTP forbids.
    """
    lines = [b"%s %s%s HTTP/1.1\r\n" % (method, to.path, path), to.host]
    for name, value in headers:
        if name in _OWN:
            continue
        if name not in _KNOWN_NAMES:
            _check_name(name)
            if name.lower() in _OWN:
                continue
        lines.append(b"%s: %s\r\n" % (name, value))
    if length is not None:
        lines.append(b"content-length: %d\r\n" % length)
    if to.credential:
        lines.append(to.credential)
    lines.append(b"\r\n")
    head = b"".join(lines)
    # Each line ends once, and nowhere else: so no value has an end of a line in it.
    ends = len(lines)
    if head.count(b"\n") != ends or head.count(b"\r") != ends or not _TARGET.fullmatch(path):
        raise _forbidden()
    if any(_NOT_IN_VALUE.search(value) for _, value in headers):
        raise _forbidden()
    return head


def _check_name(name: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise _forbidden()
    if len(_KNOWN_NAMES) < _MOST_KNOWN and name.islower():
        _KNOWN_NAMES.add(name)


def _forbidden() -> UnsendableRequest:
    """Its text quotes nothing: what cannot be sent may be a credential."""
    return UnsendableRequest("a header cannot be sent: it holds characters that HTTP forbids")
