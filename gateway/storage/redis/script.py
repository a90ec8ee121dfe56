"""The words of `admission.lua`: items packed, answers read.

An item is a plain list that msgpack can carry; what each means, the script's header says.
"""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from gateway.domain.admission import Answer, Ask, Conservation, Decision, Fill, Gauge, Mode, Slot
from gateway.domain.buckets import Claim, Kind

SOURCE = resources.files("gateway.storage.redis").joinpath("admission.lua").read_bytes()
"""The script, as it is loaded into Redis."""

_ADMIT, _SETTLE, _RENEW, _RAISE, _SUMS, _LOOK = 1, 2, 3, 4, 5, 6
_ADMITTED, _REFUSED = 0, 1
_MODE: Mode = "redis"


def admit(ask: Ask, lease_us: int) -> list[Any]:
    """Ask for admission; a reservation's lease then lasts `lease_us` microseconds."""
    claims: list[Any] = []
    reserved = 0
    for claim in ask.claims:
        kind, amount = claim.kind, claim.amount
        if kind is Kind.TOKENS:
            reserved += amount
        claims.append((claim.bucket, claim.limit, claim.capacity, amount, 2 * kind + claim.level))
    slots = [(_slot(slot), slot.limit) for slot in ask.slots] if ask.slots else ()
    return [_ADMIT, ask.account_id, ask.call_id, ask.epoch, ask.nonce, lease_us, reserved, claims, slots]


def decision(ask: Ask, answer: Sequence[Any]) -> Decision:
    """The answer to `admit`."""
    kind, now = answer[0], answer[1]
    if kind == _ADMITTED:
        return Decision(Answer.ADMITTED, _gauges(ask.claims, answer[2:]), decided_at=now, mode=_MODE)
    if kind == _REFUSED and answer[2] >= len(ask.claims):
        full = ask.slots[answer[2] - len(ask.claims)]
        return Decision(Answer.REFUSED, _gauges(ask.claims, answer[4:]), wait_us=answer[3], decided_at=now, full=full, mode=_MODE)
    if kind == _REFUSED:
        return Decision(Answer.REFUSED, _gauges(ask.claims, answer[4:]), ask.claims[answer[2]], answer[3], now, mode=_MODE)
    return Decision(Answer.STALE, decided_at=now, nonce=answer[2], mode=_MODE)


def settle(ask: Ask, actual: int) -> list[Any]:
    """Correct what `ask` reserved to the `actual` tokens. Answered with 1, or with 0 if nothing was reserved (any more)."""
    claims = [(claim.bucket, claim.limit, claim.capacity, claim.amount) for claim in ask.claims if claim.kind is Kind.TOKENS]
    slots = [_slot(slot) for slot in ask.slots] if ask.slots else ()
    return [_SETTLE, ask.account_id, ask.call_id, sum([claim[3] for claim in claims]), actual, claims, slots]


def renew(account_id: str, lease_us: int, epochs: Sequence[int], asks: Sequence[Ask]) -> list[Any]:
    """Push the leases of `asks` back, and ask of each epoch whether it is stale: answered with a list of 0 and 1."""
    return [_RENEW, account_id, lease_us, epochs, [[ask.call_id, tokens(ask), *map(_slot, ask.slots)] for ask in asks]]


def raise_epoch(account_id: str, epoch: int) -> list[Any]:
    """Put an epoch in force."""
    return [_RAISE, account_id, epoch]


def sums(account_id: str) -> list[Any]:
    """Ask for an account's tokens, see `conservation`."""
    return [_SUMS, account_id]


def conservation(answer: Sequence[int]) -> Conservation:
    """The answer to `sums`."""
    reserved, overdrawn, settled, given_back, expired, live = answer
    return Conservation(reserved, overdrawn, settled, given_back, live, expired)


def look(account_id: str, claims: Sequence[Claim]) -> list[Any]:
    """Ask how full an account's buckets are, see `fills`."""
    return [_LOOK, account_id, [[claim.bucket, claim.limit, claim.capacity] for claim in claims]]


def fills(claims: Sequence[Claim], answer: Sequence[int]) -> tuple[int, tuple[Fill, ...]]:
    """The answer to `look`: how many calls are open, and the buckets."""
    pairs = zip(claims, answer[1::2], answer[2::2], strict=True)
    return answer[0], tuple(Fill(claim, remaining, reset_us) for claim, remaining, reset_us in pairs)


def _slot(slot: Slot) -> str:
    return f"{slot.level}:{slot.owner}:{slot.model}"


def amounts(ask: Ask) -> list[int]:
    """What a call reserves of each bucket of tokens."""
    return [claim.amount for claim in ask.claims if claim.kind is Kind.TOKENS]


def tokens(ask: Ask) -> int:
    """What a call reserves of all buckets of tokens together, which its member in the set of open calls tells."""
    return sum(amounts(ask))


def _gauges(claims: Sequence[Claim], pairs: Sequence[int]) -> tuple[Gauge, ...]:
    return tuple(map(Gauge, claims, pairs[::2], pairs[1::2]))
