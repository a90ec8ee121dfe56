"""How the admin API says no: problem documents (RFC 9457) that also carry the `error` object of OpenAI's shape, so that every
refusal of the gateway reads alike. What was sent is never echoed: it may hold a secret.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from starlette.responses import JSONResponse

from gateway.domain.credentials import hide_keys

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field or parameter, and what to do about it."""

    param: str
    message: str

    def __post_init__(self) -> None:
        """A name that a caller made up may be a key in the wrong place."""
        object.__setattr__(self, "param", hide_keys(self.param))
        object.__setattr__(self, "message", hide_keys(self.message))


class Problem(Exception):  # noqa: N818 — a refusal is an answer, not a fault of ours
    """A request that is answered with an error. `detail` is public and says what to do."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    text: ClassVar[str] = "An internal error has occurred; try again later and quote the request ID if it stays."

    def __init__(self, detail: str = "", *, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(hide_keys(detail or self.text))
        self.detail = hide_keys(detail or self.text)
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


class BadRequest(Problem):
    status, code = 400, "invalid_parameter_error"
    text = "The request has values that cannot be taken as they are; see errors."

    @classmethod
    def field(cls, param: str, message: str) -> "BadRequest":
        return cls(message, errors=[FieldError(param, message)])


class Unauthorized(Problem):
    status, code = 401, "invalid_admin_token"
    text = (
        "Sign in at /console/, or send the admin token (GATEWAY_ADMIN_TOKEN) in an Authorization header: "
        "Authorization: Bearer YOUR_ADMIN_TOKEN."
    )


class NoMetricsToken(Problem):
    status, code = 401, "invalid_metrics_token"
    text = (
        "Send the token of metrics.token in an Authorization header, Authorization: Bearer YOUR_TOKEN, or ask from an address "
        "that metrics.allow_networks names."
    )


class Forbidden(Problem):
    status, code = 403, "forbidden"
    text = "You do not have the right to do this."


class BadCsrfToken(Forbidden):
    code = "csrf"
    text = "The request does not come from a page of this console, or the page is of another session; load the page again."


class NotFound(Problem):
    status, code = 404, "not_found"
    text = "There is nothing under this address."


class MethodNotAllowed(Problem):
    status, code = 405, "method_not_allowed"
    text = "This address does not take this method."


class Conflict(Problem):
    status, code = 409, "conflict"
    text = "The request does not fit the present state."


class PreconditionFailed(Problem):
    status, code = 412, "precondition_failed"
    text = "It was changed meanwhile; read it again, then repeat the change with the ETag of then."


class IdempotencyKeyReused(Problem):
    status, code = 422, "idempotency_key_reused"
    text = "This Idempotency-Key was sent before, with other values; take a new one for a new request."


class TooManyAttempts(Problem):
    status, code = 429, "too_many_attempts"
    text = "Too many attempts failed; wait a while, then try again."


class LimitReached(Conflict):
    code = "limit_reached"


class TooLarge(Problem):
    status, code = 413, "request_too_large"
    text = "The request body is over 1 MiB; send a smaller one."


class Unavailable(Problem):
    status, code = 503, "ServiceUnavailable"
    text = "The database cannot be reached; try again in a few seconds, after a look at whether a change was saved."


class SavedNotInForce(Unavailable):
    """The change is committed, and its epoch could not be raised (admission.md, epochs, rule 1)."""

    code = "not_yet_in_force"
    text = "Saved; not yet in force everywhere; repeating is safe."


def document(problem: Problem, request_id: str) -> dict[str, Any]:
    """The problem document. `type` is `about:blank`, so `title` is the status's own phrase (RFC 9457, section 4.2.1);
    `error.code` tells cases of one status apart.
    """
    return {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "errors": [asdict(error) for error in problem.errors],
        "request_id": request_id,
        "error": {
            "message": problem.detail,
            "type": "server_error" if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error",
            "param": problem.errors[0].param if problem.errors else None,
            "code": problem.code,
        },
    }


def answer(problem: Problem, request_id: str) -> JSONResponse:
    headers = problem.headers
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {"retry-after": "1", **headers}
    return JSONResponse(document(problem, request_id), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)
