"""Items into script calls, and a script's answer into the items' answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.storage.redis.queue import Entry

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


@dataclass(slots=True)
class Batch:
    """So many `items` as went out at one time. `left` counts calls without an answer; the rest are times of the event loop."""

    left: int
    sent: float
    deadline: float
    items: int = 0


@dataclass(slots=True)
class Call:
    """One script call on its way. `key` is None where one server holds every account."""

    entries: list[Entry]
    payload: bytes
    key: bytes | None
    batch: Batch
    asking: bool = False
    loaded: bool = False


def account_key(account_id: str) -> bytes:
    """The key under which an account's calls go to a Cluster: whatever else the account has lies in the same slot."""
    return b"gw:{%s}:epoch" % account_id.encode()


def calls_of(entries: list[Entry], batch: Batch, *, keyed: bool, asking: bool) -> list[Call]:
    """The calls that carry `entries`: one, or with `keyed` one an account. An item that cannot be packed fails by itself."""
    calls = []
    for key, group in _by_account(entries) if keyed else ((None, entries),):
        payload = _payload(group)
        if group:
            calls.append(Call(group, payload, key, batch, asking))
    return calls


def _by_account(entries: list[Entry]) -> Iterable[tuple[bytes | None, list[Entry]]]:
    accounts: dict[str, list[Entry]] = {}
    for entry in entries:
        accounts.setdefault(entry.account_id, []).append(entry)
    return ((account_key(account_id), group) for account_id, group in accounts.items())


def _payload(entries: list[Entry]) -> bytes:
    """The packed items. An entry that cannot be packed is removed, and its future told why."""
    try:
        return _encode([entry[1] for entry in entries])
    except Exception:  # noqa: BLE001 — whatever an item's own type raises concerns its caller, not the others in the batch
        for entry in list(entries):
            try:
                _encode(entry.item)
            except Exception as error:  # noqa: BLE001 — as above: it is handed to the caller
                entry.future.set_exception(error)
                entries.remove(entry)
        return _encode([entry.item for entry in entries])


def deliver(entries: list[Entry], reply: bytes) -> bool:
    """Give each entry its answer. False, and nobody has an answer, if the reply does not hold one for each."""
    try:
        answers: Any = _decode(reply)
    except msgspec.DecodeError:
        return False
    if not isinstance(answers, list) or len(answers) != len(entries):
        return False
    for entry, answer in zip(entries, answers, strict=True):
        future = entry[0]
        if not future.done():
            future.set_result(answer)
    return True
