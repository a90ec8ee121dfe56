"""What became of the tokens that this process reserved in Redis."""

from dataclasses import dataclass

import msgspec

from gateway.domain.admission import Ask, Conservation
from gateway.storage.redis import script


class Debt(msgspec.Struct, frozen=True, gc=False):
    """A settlement. It is `certain` that there is something to settle, unless the admission got no answer."""

    ask: Ask
    tokens: int
    certain: bool


@dataclass(slots=True)
class Counted:
    """Tokens that this process reserved, and what became of them, in whole units over all buckets."""

    reserved: int = 0
    overdrawn: int = 0
    given_back: int = 0
    used: int = 0
    expired: int = 0
    live: int = 0

    def admitted(self, ask: Ask) -> None:
        tokens = script.tokens(ask)
        self.reserved += tokens
        self.live += tokens

    def settled(self, debt: Debt, *, applied: bool) -> None:
        """A settlement came to its end; `applied` tells whether there was a reservation to settle."""
        amounts, used = script.amounts(debt.ask), debt.tokens
        reserved = sum(amounts)
        if debt.certain:
            self.live -= reserved
        elif applied:
            self.reserved += reserved
        if not applied:
            self.expired += reserved if debt.certain else 0
            return
        for amount in amounts:
            self.used += used
            if used > amount:
                self.overdrawn += used - amount
            else:
                self.given_back += amount - used

    def sums(self) -> Conservation:
        return Conservation(self.reserved, self.overdrawn, self.used, self.given_back, self.live, self.expired)
