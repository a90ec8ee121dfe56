"""Checks that several resources share."""

from collections.abc import Sequence

from gateway.control.problems import BadRequest, FieldError
from gateway.domain.grants import LimitProblem, Limits

LONGEST_MODEL_NAME = 255
"""In characters: the width of a model's name in the database."""


def refuse(problems: Sequence[LimitProblem]) -> None:
    """Raise BadRequest if there are problems."""
    if problems:
        errors = [FieldError(problem.param, problem.message) for problem in problems]
        raise BadRequest(" ".join(problem.message for problem in problems), errors=errors)


def is_model_name(name: str) -> bool:
    """Whether a name can be a model's: the same rule as for the names that upstreams list."""
    return 0 < len(name) <= LONGEST_MODEL_NAME and name.isprintable()


def shown(limits: Limits) -> dict[str, int | None]:
    """Limits as the audit trail keeps them."""
    return {"rpm": limits.rpm, "tpm": limits.tpm}
