"""Identifiers: what names an account, a workspace, a key, an upstream, a call."""

import os
import secrets

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH = 16

# Randomness for call IDs is fetched for many at once: asking the operating system for each would cost as much as all the rest.
_DIGITS, _AT_ONCE = 20, 256
_randoms: list[str] = []
_VARIANT = {f"{digit:x}": "89ab"[digit & 3] for digit in range(16)}
os.register_at_fork(after_in_child=_randoms.clear)


def _new(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def account_id() -> str:
    return _new("acc-")


def workspace_id() -> str:
    """A workspace's ID, of the reference service's form `llm-…`; it never changes."""
    return _new("llm-")


def key_id() -> str:
    return _new("ak-")


def upstream_id() -> str:
    return _new("up-")


def user_id() -> str:
    return _new("usr-")


def session_id() -> str:
    """What names a session to people; it opens nothing."""
    return _new("ses-")


def link_id() -> str:
    """What names a one-time link to people; it opens nothing."""
    return _new("lnk-")


def increase_id() -> str:
    return _new("inc-")


def call_id(now_ms: int) -> str:
    """A UUIDv7 (RFC 9562, section 5.7) for the Unix time `now_ms` in milliseconds: the call's ID, its `x-request-id` and
    its ledger row's key. Never taken from a client, who could suppress a bill by repeating one."""
    try:
        some = _randoms.pop()
    except IndexError:
        many = os.urandom(_DIGITS // 2 * _AT_ONCE).hex()
        _randoms.extend(many[start : start + _DIGITS] for start in range(0, len(many), _DIGITS))
        some = _randoms.pop()
    time = f"{now_ms & (1 << 48) - 1:012x}"
    return f"{time[:8]}-{time[8:]}-7{some[:3]}-{_VARIANT[some[3]]}{some[4:7]}-{some[7:19]}"
