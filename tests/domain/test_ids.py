"""Identifiers, and what can be read from them."""

import re
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import ids

times = st.integers(0, 2**48 - 1)


@given(now_ms=times)
def test_a_call_id_is_a_uuid_of_version_7(now_ms: int) -> None:
    """A call's ID is a UUIDv7 (RFC 9562, section 5.7) in its usual spelling, and holds the time it was made at."""
    text = ids.call_id(now_ms)
    value = uuid.UUID(text)
    assert str(value) == text
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert value.int >> 80 == now_ms


@given(first=times, second=times)
def test_call_ids_sort_by_time(first: int, second: int) -> None:
    """Call IDs of different milliseconds sort as text in the order in which they were made."""
    if first != second:
        assert (ids.call_id(first) < ids.call_id(second)) == (first < second)


def test_call_ids_of_one_millisecond_are_unique() -> None:
    """A hundred thousand calls within one millisecond have as many IDs: no ledger row takes another's place."""
    assert len({ids.call_id(1_800_000_000_000) for _ in range(100_000)}) == 100_000


def test_all_random_bits_are_used() -> None:
    """Each of the 74 random bits of a call ID varies, so that an ID cannot be guessed."""
    made = [uuid.UUID(ids.call_id(0)).int for _ in range(200)]
    free = (1 << 76) - (1 << 64) | (1 << 62) - 1
    ever_set = ever_clear = 0
    for value in made:
        ever_set |= value
        ever_clear |= ~value
    assert ever_set & free == free
    assert ever_clear & free == free


@pytest.mark.parametrize(
    ("make", "prefix"),
    [(ids.account_id, "acc-"), (ids.workspace_id, "llm-"), (ids.key_id, "ak-"), (ids.upstream_id, "up-")],
)
def test_ids_say_what_they_name(make: Callable[[], str], prefix: str) -> None:
    """An ID's prefix says what it names, its sixteen characters are safe in a URL, and no two are alike."""
    made = [make() for _ in range(1_000)]
    assert all(re.fullmatch(re.escape(prefix) + "[a-z0-9]{16}", one) for one in made)
    assert len(set(made)) == len(made)
