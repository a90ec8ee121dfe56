"""Guesses of what a call will use."""

import pytest

from gateway.dataplane.estimate import Estimator, ReserveOutput
from gateway.domain.usage import Usage


@pytest.mark.parametrize(
    ("reserve", "most", "choices", "tokens"),
    [
        ("none", 50, 3, 100),
        ("expected", None, 1, 100 + 256),
        ("expected", 50, 1, 150),
        ("expected", 1000, 2, 100 + 512),
        ("max", 50, 2, 200),
        ("max", 1000, 1, 1100),
        ("max", None, 1, 100 + 256),
        ("expected", -5, 1, 100),
    ],
)
def test_the_first_reservation(reserve: ReserveOutput, most: int | None, choices: int, tokens: int) -> None:
    """Before anything is learnt: a token for four bytes, and the output that the setting says, for each choice."""
    assert Estimator(reserve).reserve("w", "m", 400, most, choices) == tokens


def test_a_reservation_is_one_token_at_least() -> None:
    """No call is free of charge before it ran."""
    assert Estimator("none").reserve("w", "m", 0, None, 1) == 1


@pytest.mark.parametrize("reserve", ["expected", "max"])
def test_absurd_bounds_give_a_number_all_the_same(reserve: ReserveOutput) -> None:
    """A client's enormous `n` or `max_tokens` cannot make the arithmetic fail."""
    estimator = Estimator(reserve)
    for most in (None, 10**400):
        for choices in (1, 10**400, int(1e308)):
            assert estimator.reserve("w", "m", 400, most, choices) >= 100


def test_estimates_follow_what_is_learnt() -> None:
    """All is learnt for one workspace and model, and touches no other's: no tenant can set what others reserve or are charged."""
    estimator = Estimator("expected")
    for _ in range(60):
        estimator.learn("w", "m", 400, Usage(input=200, output=80), choices=2, stream_bytes=800)
    assert estimator.reserve("w", "m", 400, None, 1) == 240
    assert estimator.reserve("w", "m", 400, None, 2) == 280
    assert estimator.reserve("other", "m", 400, None, 1) == 100 + 256
    assert estimator.reserve("w", "other", 400, None, 1) == 100 + 256
    assert estimator.passed_by("w", "m", 3, 800) == 80
    assert estimator.passed_by("w", "m", 90, 800) == 90
    assert estimator.passed_by("w", "other", 3, 800) == estimator.passed_by("other", "m", 3, 800) == 3
    for _ in range(300):
        estimator.learn("w", "m", 400, Usage(input=400, output=8))
    assert estimator.input_tokens("w", "m", 400) == pytest.approx(400, abs=2)


def test_what_is_learnt_is_bounded() -> None:
    """Workspaces and models that come and go do not fill the memory."""
    estimator = Estimator("expected")
    for number in range(10_100):
        estimator.learn(f"w{number}", "m", 400, Usage(input=1, output=8))
    assert len(estimator._learnt) == 10_000
