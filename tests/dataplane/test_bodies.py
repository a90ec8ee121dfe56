"""How much of request bodies is kept."""

import pytest

from gateway.dataplane.bodies import Bodies
from gateway.domain.errors import BodyTooLarge, ServiceUnavailable


def test_one_body_is_bounded() -> None:
    """A body over the bound of a call is a 413, whether its size was declared or found out, and what was kept is given back."""
    bodies = Bodies(most=100, most_together=1000)
    with bodies.hold() as hold:
        hold.check(100)
        with pytest.raises(BodyTooLarge):
            hold.check(101)
        hold.add(60)
        with pytest.raises(BodyTooLarge):
            hold.add(41)
        assert bodies.held == 60
        hold.add(40)
    assert bodies.held == 0


def test_all_bodies_together_are_bounded() -> None:
    """Bodies over the bound of the process are a 503 with a wait; one that ends makes room for the next."""
    bodies = Bodies(most=100, most_together=150)
    with bodies.hold() as one, bodies.hold() as other:
        one.add(100)
        other.add(50)
        with pytest.raises(ServiceUnavailable) as refused:
            other.add(1)
        assert refused.value.retry_after_ms
        with pytest.raises(ServiceUnavailable):
            other.check(51)
        other.check(50)  # what it keeps itself is not counted twice
    with bodies.hold() as third:
        third.add(100)
    assert bodies.held == 0


def test_what_is_kept_is_given_back_on_a_fault() -> None:
    """However a call ends, its body's bytes are given back."""
    bodies = Bodies(most=100, most_together=150)

    def call() -> None:
        with bodies.hold() as hold:
            hold.add(100)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        call()
    assert bodies.held == 0
