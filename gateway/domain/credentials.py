"""API keys: how one is made, checked for typing errors, masked and digested.

A key is a prefix that names its kind, 32 random base62 characters (190.5 bits) and 6 base62 characters of CRC-32 over all
before them. So a mistyped key is refused without any look-up. Only the digest and the masked form are ever stored.
"""

import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from enum import StrEnum

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE62_SET = frozenset(_BASE62)
_RANDOM = 32
_CHECK = 6
_SHOWN = 4


class KeyKind(StrEnum):
    """What a key's prefix says it is (the reference's documentation of API keys)."""

    STANDARD = "sk-"
    PLAN = "sk-sp-"
    TEMPORARY = "st-"


# Longest first: every plan key also begins with the standard prefix.
_KINDS = (KeyKind.PLAN, KeyKind.STANDARD, KeyKind.TEMPORARY)

KEY_SHAPE = rf"(?:{'|'.join(re.escape(kind) for kind in _KINDS)})[0-9A-Za-z]{{{_RANDOM + _CHECK},}}"
"""A regular expression for what looks like a key, wherever it stands, whether or not its check sum is right."""
_SHAPE = re.compile(KEY_SHAPE)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the one moment that its plaintext exists; `text` goes into the reply that creates it and nowhere else."""

    text: str
    masked: str
    digest: bytes

    def __repr__(self) -> str:
        return f"NewKey({self.masked})"


def _check_sum(text: str) -> str:
    value = zlib.crc32(text.encode())
    digits = []
    for _ in range(_CHECK):
        value, digit = divmod(value, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def generate(kind: KeyKind, pepper: bytes) -> NewKey:
    """A new key of `kind`, from the operating system's randomness."""
    body = kind.value + "".join(secrets.choice(_BASE62) for _ in range(_RANDOM))
    text = body + _check_sum(body)
    return NewKey(text=text, masked=mask(text), digest=digest(text, pepper))


def kind_of(text: str) -> KeyKind | None:
    """The kind of a well-formed key whose check sum is right, else None. Needs no secret and no store."""
    for kind in _KINDS:
        if text.startswith(kind.value):
            body = text[len(kind.value) :]
            if len(body) != _RANDOM + _CHECK or not _BASE62_SET.issuperset(body):
                return None
            return kind if _check_sum(text[:-_CHECK]) == text[-_CHECK:] else None
    return None


def hide_keys(text: str) -> str:
    """The text without what looks like a key: errors say back what a caller typed, and that may be one in the wrong place."""
    return _SHAPE.sub("***", text)


def mask(text: str) -> str:
    """The form that may be shown for ever: prefix, first and last four characters."""
    prefix = next((kind.value for kind in _KINDS if text.startswith(kind.value)), "")
    body = text[len(prefix) :]
    return f"{prefix}{body[:_SHOWN]}****{body[-_SHOWN:]}"


def digest(text: str, pepper: bytes) -> bytes:
    """HMAC-SHA-256 of the key under the server-side pepper: what the store is asked for."""
    return hmac.digest(pepper, text.encode("utf-8", "surrogatepass"), "sha256")


def pepper_fingerprint(pepper: bytes) -> str:
    """What stands in the database to tell one pepper from another; says nothing about the pepper itself."""
    return hmac.digest(pepper, b"gateway pepper fingerprint v1", "sha256")[:16].hex()
