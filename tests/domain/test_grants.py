"""Who may call which model, and which limits may be set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.credentials import KeyKind
from gateway.domain.grants import (
    MAX_LIMIT,
    NO_LIMITS,
    KeyStatus,
    LimitProblem,
    Limits,
    Principal,
    check_grant,
    check_limits,
    may_use,
)

DEFAULT_REFUSED = LimitProblem(
    "workspace", "The default workspace reaches every model at the account's limits and cannot be limited."
)
TPM_NEEDS_RPM = LimitProblem("tpm", "tpm cannot be set without rpm; set rpm as well.")

wild = st.none() | st.integers() | st.integers(1, 100) | st.sampled_from([0, 1, MAX_LIMIT, MAX_LIMIT + 1])
limits = st.builds(Limits, rpm=wild, tpm=wild)


def principal(*, is_default: bool, grants: tuple[str, ...] = (), key_models: frozenset[str] | None = None) -> Principal:
    return Principal(
        key_id="ak-1",
        kind=KeyKind.STANDARD,
        status=KeyStatus.ACTIVE,
        workspace_id="llm-1",
        account_id="acc-1",
        is_default=is_default,
        epoch=1,
        catalogue_version=1,
        grants=dict.fromkeys(grants, NO_LIMITS),
        key_models=key_models,
    )


@pytest.mark.parametrize(
    ("is_default", "granted", "key_models", "may"),
    [
        (True, False, None, True),
        (True, True, None, True),
        (True, False, "names it", True),
        (True, True, "names it", True),
        (True, False, "names others", False),
        (True, True, "names others", False),
        (True, True, "names none", False),
        (False, False, None, False),
        (False, True, None, True),
        (False, False, "names it", False),
        (False, True, "names it", True),
        (False, False, "names others", False),
        (False, True, "names others", False),
        (False, True, "names none", False),
    ],
)
def test_who_may_use_a_model(is_default: bool, granted: bool, key_models: str | None, may: bool) -> None:
    """The default workspace reaches every model, a sub-workspace its grants alone, and a key's own list narrows either."""
    lists = {None: None, "names it": {"qwen", "x"}, "names others": {"x"}, "names none": set[str]()}
    listed = lists[key_models]
    who = principal(
        is_default=is_default,
        grants=("qwen", "y") if granted else ("y",),
        key_models=None if listed is None else frozenset(listed),
    )
    assert may_use(who, "qwen") is may


@given(own=limits, base=limits)
def test_own_limits_come_before_the_base(own: Limits, base: Limits) -> None:
    """A limit that is set at a level counts there, and one that is not is the base's, each for itself."""
    both = own.over(base)
    assert both.rpm == (base.rpm if own.rpm is None else own.rpm)
    assert both.tpm == (base.tpm if own.tpm is None else own.tpm)
    assert own.over(NO_LIMITS) == own
    assert NO_LIMITS.over(base) == base


def problem(name: str) -> LimitProblem:
    return LimitProblem(name, f"{name} must be a whole number from 1 to 100,000,000, or null for no limit.")


@pytest.mark.parametrize(
    ("asked", "problems"),
    [
        (Limits(), []),
        (Limits(rpm=1), []),
        (Limits(rpm=1, tpm=1), []),
        (Limits(rpm=MAX_LIMIT, tpm=MAX_LIMIT), []),
        (Limits(rpm=0), [problem("rpm")]),
        (Limits(rpm=-5), [problem("rpm")]),
        (Limits(rpm=MAX_LIMIT + 1), [problem("rpm")]),
        (Limits(rpm=1, tpm=0), [problem("tpm")]),
        (Limits(rpm=0, tpm=MAX_LIMIT + 1), [problem("rpm"), problem("tpm")]),
        (Limits(tpm=5), [TPM_NEEDS_RPM]),
        (Limits(tpm=0), [problem("tpm"), TPM_NEEDS_RPM]),
    ],
)
def test_what_is_wrong_with_limits(asked: Limits, problems: list[LimitProblem]) -> None:
    """Limits outside 1 to 100,000,000, and tokens without requests, are refused with a sentence that says what to do."""
    assert check_limits(asked) == problems
    assert check_grant(asked, NO_LIMITS, is_default=False) == problems


@pytest.mark.parametrize(
    ("asked", "account", "problems"),
    [
        (Limits(rpm=60, tpm=1000), Limits(rpm=60, tpm=1000), []),
        (Limits(), Limits(rpm=60, tpm=1000), []),
        (Limits(rpm=61), Limits(rpm=60), [LimitProblem("rpm", "rpm 61 is above the account's 60 for this model.")]),
        (
            Limits(rpm=1, tpm=1_000_001),
            Limits(rpm=60, tpm=1_000_000),
            [LimitProblem("tpm", "tpm 1,000,001 is above the account's 1,000,000 for this model.")],
        ),
        (
            Limits(rpm=2, tpm=2),
            Limits(rpm=1, tpm=1),
            [
                LimitProblem("rpm", "rpm 2 is above the account's 1 for this model."),
                LimitProblem("tpm", "tpm 2 is above the account's 1 for this model."),
            ],
        ),
        (Limits(rpm=2, tpm=2), Limits(rpm=2), []),
        (
            Limits(tpm=2),
            Limits(rpm=1, tpm=1),
            [TPM_NEEDS_RPM, LimitProblem("tpm", "tpm 2 is above the account's 1 for this model.")],
        ),
    ],
)
def test_what_is_wrong_with_a_grant(asked: Limits, account: Limits, problems: list[LimitProblem]) -> None:
    """A workspace's limit above its account's is refused, naming both numbers."""
    assert check_grant(asked, account, is_default=False) == problems


@given(asked=limits, account=limits)
def test_the_default_workspace_can_never_be_limited(asked: Limits, account: Limits) -> None:
    """Whatever is asked, the default workspace keeps the account's limits."""
    assert check_grant(asked, account, is_default=True) == [DEFAULT_REFUSED]


@given(asked=limits, account=limits)
def test_an_accepted_grant_is_within_the_account(asked: Limits, account: Limits) -> None:
    """What is accepted is in range, has requests where it has tokens, and is never above the account's."""
    if check_grant(asked, account, is_default=False):
        return
    for own, highest in ((asked.rpm, account.rpm), (asked.tpm, account.tpm)):
        assert own is None or 1 <= own <= MAX_LIMIT
        assert own is None or highest is None or own <= highest
    assert asked.tpm is None or asked.rpm is not None
