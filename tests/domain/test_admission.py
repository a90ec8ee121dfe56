"""The words of admission: what a question and an answer hold by default, and what is conserved."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.admission import Answer, Ask, Conservation, Decision

amounts = st.integers(0, 10**12)


@given(settled=amounts, given_back=amounts, live=amounts, expired=amounts, overdrawn=amounts)
def test_conserved_tokens_balance(settled: int, given_back: int, live: int, expired: int, overdrawn: int) -> None:
    """Where every reserved or overdrawn token is settled, given back, live or expired, the imbalance is 0."""
    reserved = settled + given_back + live + expired - overdrawn
    assert Conservation(reserved, overdrawn, settled, given_back, live, expired).imbalance == 0


@pytest.mark.parametrize(
    ("name", "sign"), [("reserved", 1), ("overdrawn", 1), ("settled", -1), ("given_back", -1), ("live", -1), ("expired", -1)]
)
@given(amount=amounts)
def test_a_lost_token_shows(name: str, sign: int, amount: int) -> None:
    """A token that is missing or counted twice on any side shows in the imbalance, to the unit."""
    assert replace(Conservation(), **{name: amount}).imbalance == sign * amount


def test_every_count_has_a_side() -> None:
    """A count that is added to the conservation also enters the balance."""
    ones = Conservation(**{field.name: 1 for field in fields(Conservation)})
    assert len(fields(Conservation)) == 6
    assert ones.imbalance == -2


def test_an_empty_admission_reserves_nothing() -> None:
    """A question without claims asks for the epoch alone, and an answer without gauges names no bucket."""
    assert Ask("call", "acc-1", epoch=3).claims == ()
    admitted = Decision(Answer.ADMITTED)
    assert (admitted.gauges, admitted.refused, admitted.wait_us) == ((), None, 0)
