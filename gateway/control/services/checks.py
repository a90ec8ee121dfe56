"""Checks that several resources share."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from gateway.control.context import Services
from gateway.control.problems import BadRequest, FieldError, NotFound, SavedNotInForce
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


@asynccontextmanager
async def deletion(services: Services) -> AsyncIterator[None]:
    """A deletion, which may repeat one that was saved and answered 503: that a thing is gone is told only once that is in force.

    Raises NotYetInForce, StorageUnavailable.
    """
    try:
        yield
    except NotFound:
        await services.policy.sweep()
        raise
