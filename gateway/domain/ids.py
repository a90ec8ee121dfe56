"""Identifiers: what names an account, a workspace, a key, an upstream, a call."""

import secrets
import uuid

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH = 16


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
    value = (now_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | 0b10 << 62
    return str(uuid.UUID(int=value | secrets.randbits(12) << 64 | secrets.randbits(62)))
