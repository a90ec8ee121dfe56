"""Passwords: what makes one, and its hash (Argon2id, with the parameters that its library recommends).

Hashing takes tens of milliseconds and 64 MiB by design, so it runs in threads, few at a time: calls go on meanwhile, and a flood
of attempts to sign in waits for its turn.
"""

import asyncio
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST, LONGEST = 12, 256
_AT_ONCE = 2

_hasher = PasswordHasher()


def problem(password: str, *, email: str = "") -> str | None:
    """What is wrong with a new password, as a sentence; None where nothing is (NIST SP 800-63B: length counts, not symbols)."""
    text = _normal(password)
    if len(text) < SHORTEST:
        return f"Use at least {SHORTEST} characters; a few words in a row will do."
    if len(text) > LONGEST:
        return f"Use at most {LONGEST} characters."
    if len(set(text)) < SHORTEST // 3:
        return "Use more different characters."
    if email and (text.casefold() in email.casefold() or email.casefold() in text.casefold()):
        return "Use a password that does not hold your e-mail address."
    return None


def _normal(password: str) -> str:
    """One form for the ways that keyboards have to send the same characters."""
    return unicodedata.normalize("NFKC", password)


class Passwords:
    """Hashes and verifies; belongs to one event loop."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def hashed(self, password: str) -> str:
        async with self._turns:
            return await asyncio.to_thread(_hasher.hash, _normal(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the stored one. Where none is stored it takes as long, and is not."""
        async with self._turns:
            right = await asyncio.to_thread(_verified, stored, _normal(password)[: 2 * LONGEST])
        return right and stored is not None

    @staticmethod
    def is_outdated(stored: str) -> bool:
        """Whether the hash was made with weaker parameters than those of now."""
        return _hasher.check_needs_rehash(stored)


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody has this password")


def _verified(stored: str | None, password: str) -> bool:
    try:
        return _hasher.verify(stored or _nobodys(), password)
    except (VerificationError, InvalidHashError):
        return False
