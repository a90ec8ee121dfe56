"""What became of the tokens that this process reserved in Redis."""

from dataclasses import dataclass

from gateway.domain.admission import Ask, Conservation
from gateway.storage.redis import script


@dataclass(frozen=True, slots=True)
class Debt:
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
        amounts = script.amounts(debt.ask)
        if debt.certain:
            self.live -= sum(amounts)
        elif applied:
            self.reserved += sum(amounts)
        if applied:
            self.used += debt.tokens * len(amounts)
            self.overdrawn += sum(max(0, debt.tokens - amount) for amount in amounts)
            self.given_back += sum(max(0, amount - debt.tokens) for amount in amounts)
        elif debt.certain:
            self.expired += sum(amounts)

    def sums(self) -> Conservation:
        return Conservation(self.reserved, self.overdrawn, self.used, self.given_back, self.live, self.expired)
