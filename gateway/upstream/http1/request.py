"""A request in bytes (RFC 9112, sections 3 and 5)."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from gateway.domain.faults import UnsendableRequest
from gateway.domain.upstreams import Headers

# Set here alone: the target, the framing, and the credential, which must never be the caller's.
_OWN: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization"))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# What no value may hold (RFC 9110, section 5.5), but for the ends of lines, which are counted.
_CONTROLS: Final = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\r\n")
_TARGET = re.compile(rb"[!-~]+")
_PORTS: Final = {"http": 80, "https": 443}
_KNOWN_NAMES: set[bytes] = set()
_MOST_KNOWN = 1000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead: `tls` says whether they are encrypted, `host` is the name that a certificate has to be for; `key`
    is all of it in one string, by which the pool finds its connections.
    """

    tls: bool
    host: str
    port: int
    key: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.tls:d} {self.host} {self.port}")


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream with one credential: the header lines that every request to it has, and its own path."""

    origin: Origin
    path: bytes
    host: bytes
    credential: bytes
    starts: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict, compare=False, repr=False)

    def start(self, method: bytes, path: bytes) -> bytes:
        """The lines of a head that do not depend on the call. Raises UnsendableRequest."""
        known = self.starts.get((method, path))
        if known is None:
            if not _TARGET.fullmatch(path):
                raise _forbidden()
            known = b"%s %s%s HTTP/1.1\r\n%s%s" % (method, self.path, path, self.host, self.credential)
            if len(self.starts) < _MOST_KNOWN:
                self.starts[method, path] = known
        return known


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
    if not _KNOWN_NAMES.issuperset(dict(headers)):
        headers = [field for field in headers if _is_sent(field[0])]
    lines = b"".join([b"%s: %s\r\n" % field for field in headers])
    # Each line ends once, and nowhere else: so no value has an end of a line in it.
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        raise _forbidden()
    if len(lines.translate(None, _CONTROLS)) != len(lines):
        raise _forbidden()
    end = b"\r\n" if length is None else b"content-length: %d\r\n\r\n" % length
    return b"".join((to.start(method, path), lines, end))


def _is_sent(name: bytes) -> bool:
    """Whether a field of that name is sent as it is given. Raises UnsendableRequest for what is no name."""
    if name in _KNOWN_NAMES:
        return True
    if not _NAME.fullmatch(name):
        raise _forbidden()
    if name.lower() in _OWN:
        return False
    if len(_KNOWN_NAMES) < _MOST_KNOWN and name.islower():
        _KNOWN_NAMES.add(name)
    return True


def _forbidden() -> UnsendableRequest:
    """Its text quotes nothing: what cannot be sent may be a credential."""
    return UnsendableRequest("a header cannot be sent: it holds characters that HTTP forbids")
