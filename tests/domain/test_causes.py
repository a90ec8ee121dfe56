"""Causes of refusals, as they are counted."""

import pytest

from gateway.domain.causes import Cause


@pytest.mark.parametrize("cause", [Cause("limit_requests", "workspace"), Cause("model_not_found"), Cause("")])
def test_a_cause_is_read_as_it_was_written(cause: Cause) -> None:
    """What is counted says the code and whose limit it was, and can be told apart again."""
    assert Cause.parse(str(cause)) == cause


def test_a_cause_without_a_level_is_the_code_alone() -> None:
    """Where no limit refused the call, what is counted is the code that the client was sent."""
    assert str(Cause("model_not_found")) == "model_not_found"
    assert str(Cause("limit_requests", "account")) == "limit_requests:account"
