"""A trial of an upstream: one small call, to see whether it can be reached and answers as it should."""

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why no whole answer came."""

    REFUSED = "refused"
    """Nothing listens at the address."""
    NAME = "name"
    """The host's name does not resolve."""
    TLS = "tls"
    """No TLS connection: a certificate that is not trusted, or a server that does not speak it."""
    TIME = "time"
    """It took too long."""
    UNSENDABLE = "unsendable"
    """The base URL or the credential cannot be put into HTTP."""
    OTHER = "other"
    """A network that does not lead there, a connection that broke, an answer that is no HTTP."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is asked: `path` is appended to the upstream's base URL; JSON `body` is sent by POST, None asks by GET."""

    path: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back, after so many `milliseconds`.

    `status` is None where no answer came at all. `body` is its beginning as it came, which may repeat the credential; `whole`
    says that it is all. `location` is where a redirect leads, which was not followed. `cause` is None where an answer came to its
    end, or to the bound on its size; `words` says more, without any secret.
    """

    milliseconds: int
    status: int | None = None
    body: bytes = b""
    whole: bool = True
    location: str | None = None
    cause: Cause | None = None
    words: str = ""
