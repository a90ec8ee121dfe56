"""The two scripts that Redis runs, as far as epochs go: what a raise and an admission make of what is stored."""

from typing import NamedTuple

from tests.model.rules import Rules
from tests.model.state import EPOCH, PLACEHOLDER, Value


class Answer(NamedTuple):
    """What is stored after an admission; whether the epoch sent holds; if not, the nonce to learn before reading (0: none)."""

    value: Value | None
    holds: bool
    nonce: int = 0


def raise_epoch(rules: Rules, value: Value | None, epoch: int, identity: int) -> Value | None:
    """What a raise to `epoch` makes of `value` on the server `identity`."""
    raised = Value(EPOCH, epoch, identity)
    if value is None:
        return raised if rules.raise_installs_over_nothing else None
    if value.kind == PLACEHOLDER:
        if rules.raise_leaves_placeholder:
            return value
        return raised if rules.raise_installs_over_placeholder else None
    if value.identity != identity and rules.identity_is_compared:
        return raised if rules.raise_installs_over_foreign else None
    return raised if value.number < epoch or not rules.raise_takes_the_highest else value


def admission(rules: Rules, value: Value | None, sent: Value, nonce: int, fresh: int) -> Answer:
    """What an admission with `sent` makes of `value`.

    `nonce` was known before `sent` was read (0: none was); `fresh` names a new placeholder.
    """
    ours = value is not None and (value.identity == sent.identity or not rules.placeholder_has_identity)
    if ours and value is not None and value.kind == PLACEHOLDER:
        if not nonce or (value.number != nonce and rules.install_by_nonce):
            return Answer(value, holds=False, nonce=value.number)
        value = sent
    if value is None and not rules.missing_is_stale:
        value = sent
    if value is not None and value.kind == EPOCH and (value.identity == sent.identity or not rules.identity_is_compared):
        if value.number == sent.number:
            return Answer(value, holds=True)
        if value.number > sent.number or rules.newer_epoch == "stale":
            return Answer(value, holds=False)
        if rules.newer_epoch == "install":
            return Answer(sent, holds=True)
    return Answer(Value(PLACEHOLDER, fresh, sent.identity), holds=False, nonce=fresh)
