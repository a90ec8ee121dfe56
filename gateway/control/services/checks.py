"""Checks that several resources share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway.control.problems import BadRequest, FieldError, SavedNotInForce
from gateway.domain.faults import StorageUnavailable
from gateway.domain.grants import LimitProblem, Limits


def refuse(problems: Sequence[LimitProblem]) -> None:
    """Raise BadRequest if there are problems."""
    if problems:
        errors = [FieldError(problem.param, problem.message) for problem in problems]
        raise BadRequest(" ".join(problem.message for problem in problems), errors=errors)


def shown(limits: Limits) -> dict[str, int | None]:
    """Limits as the audit trail keeps them."""
    return {"rpm": limits.rpm, "tpm": limits.tpm}


@contextmanager
def saved() -> Iterator[None]:
    """What follows a committed change: a database that goes away here leaves it saved. Raises SavedNotInForce."""
    try:
        yield
    except StorageUnavailable as error:
        raise SavedNotInForce from error
