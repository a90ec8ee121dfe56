"""The reference service's table of errors, row by row, as clients see it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import errors
from gateway.domain.errors import Refusal

INVALID = "invalid_request_error"

TABLE: list[tuple[Refusal, int, str | None, str, str]] = [
    (
        errors.NoKey(),
        401,
        None,
        INVALID,
        (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
            "(i.e. Authorization: Bearer YOUR_KEY)."
        ),
    ),
    (errors.InvalidKey(), 401, "invalid_api_key", INVALID, "Incorrect API key provided."),
    (errors.ModelAccessDenied(), 403, "Model.AccessDenied", "Model.AccessDenied", "Model access denied."),
    (errors.WorkspaceAccessDenied(), 403, "Workspace.AccessDenied", "Workspace.AccessDenied", "Workspace access denied."),
    (
        errors.ModelNotFound("qwen-x"),
        404,
        "model_not_found",
        INVALID,
        "The model `qwen-x` does not exist or you do not have access to it.",
    ),
    (
        errors.ModelNotSupported("qwen-x"),
        404,
        "model_not_supported",
        INVALID,
        "Unsupported model qwen-x for OpenAI compatibility mode.",
    ),
    (errors.LimitRequests(), 429, "limit_requests", "limit_requests", "You exceeded your current requests list."),
    (
        errors.LimitTokens(),
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    (
        errors.LimitBurst(),
        429,
        "limit_burst_rate",
        "limit_burst_rate",
        (
            "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale requests "
            "more smoothly over time."
        ),
    ),
    (  # the reference's text is not known; this one is the gateway's own
        errors.BudgetExceeded(),
        429,
        "BudgetLimitExceeded",
        "BudgetLimitExceeded",
        "The spending limit is reached, please raise it or wait for the next period.",
    ),
    (
        errors.Arrearage(),
        400,
        "Arrearage",
        "Arrearage",
        "Access denied, please make sure your account is in good standing.",
    ),
    (
        errors.FreeTierOnly(),
        403,
        "AllocationQuota.FreeTierOnly",
        "AllocationQuota.FreeTierOnly",
        "Free quota exhausted.",
    ),
    (
        errors.InvalidBody(),
        400,
        "invalid_parameter_error",
        INVALID,
        "Required body invalid, please check the request body format.",
    ),
    (errors.NoModel(), 400, "invalid_parameter_error", INVALID, "you must provide a model parameter"),
    (errors.RequestTimeOut(), 500, "RequestTimeOut", "server_error", "Request timed out, please try again later."),
    (
        errors.ServiceUnavailable(),
        503,
        "ServiceUnavailable",
        "server_error",
        "Too many requests. Your requests are being throttled due to system capacity limits. Please try again later.",
    ),
    (errors.ModelUnavailable(), 503, "ModelUnavailable", "server_error", "Model is unavailable, please try again later."),
    (
        errors.InternalError(),
        500,
        "internal_error",
        "server_error",
        "An internal error has occurred, please try again later.",
    ),
]

# Cases for which the reference's answer is not known: OpenAI's conventions and the HTTP standard.
OURS: list[tuple[Refusal, int, str | None, str, str]] = [
    (errors.NotFound("GET", "/x"), 404, "not_found", INVALID, "Invalid URL (GET /x)"),
    (
        errors.MethodNotAllowed("GET", "POST"),
        405,
        "method_not_allowed",
        INVALID,
        "Not allowed to GET on this URL; use POST.",
    ),
    (
        errors.LimitConcurrency(),
        429,
        "limit_concurrency",
        "limit_concurrency",
        "Too many of your calls are open at once, please wait until one of them has ended.",
    ),
    (errors.InvalidParameter(), 400, "invalid_parameter_error", INVALID, "A parameter is invalid."),
    (errors.BodyTimeout(), 408, "request_timeout", INVALID, "The request body did not arrive in time."),
    (errors.BodyTooLarge(), 413, "request_too_large", INVALID, "The request body is too large."),
    (
        errors.UpstreamError(),
        502,
        "upstream_error",
        "server_error",
        "The model server could not be reached or gave no valid reply, please try again later.",
    ),
]

EVERY = [pytest.param(*row, id=type(row[0]).__name__) for row in TABLE + OURS]


@pytest.mark.parametrize(("refusal", "status", "code", "kind", "message"), EVERY)
def test_a_refusal_answers_as_the_reference_does(
    refusal: Refusal, status: int, code: str | None, kind: str, message: str
) -> None:
    """Clients that were written for the reference service meet its statuses, codes, types and texts here."""
    assert refusal.status == status
    body = refusal.body("0198c1de-7a00-7000-8000-000000000000")
    assert body == {
        "error": {"message": message, "type": kind, "param": refusal.param, "code": code},
        "request_id": "0198c1de-7a00-7000-8000-000000000000",
    }
    assert json.loads(json.dumps(body)) == body


def test_the_table_is_whole() -> None:
    """No refusal is left out of the table above, and no two tables disagree on which there are."""
    assert len(TABLE) == 18
    assert {type(row[0]) for row in TABLE + OURS} == set(errors.all_refusals())
    statuses = [refusal.status for refusal in errors.all_refusals()]
    assert statuses == sorted(statuses)


@given(secret=st.text(min_size=1), message=st.none() | st.just("Say this instead."))
def test_detail_never_reaches_a_client(secret: str, message: str | None) -> None:
    """An internal text given as detail is in the log alone, for every refusal that takes one."""
    for refusal in errors.all_refusals():
        if refusal in {errors.ModelNotFound, errors.ModelNotSupported, errors.NotFound, errors.MethodNotAllowed}:
            continue  # these are made of what the client itself sent
        raised = refusal(secret, message=message)
        assert raised.detail == secret
        assert str(raised) == secret
        assert raised.error()["message"] == (message or refusal.text)
        assert raised.body("id") == refusal(message=message).body("id")
        assert raised.headers == ()


def test_a_refusal_names_its_parameter_and_its_wait() -> None:
    """What a client needs to mend or to repeat a call goes along: the field, the wait, the allowed methods."""
    assert errors.ModelNotFound("x").error()["param"] == "model"
    assert errors.ModelNotSupported("x").error()["param"] == "model"
    assert errors.InvalidParameter(message="n must be 1.", param="n").error() == {
        "message": "n must be 1.",
        "type": INVALID,
        "param": "n",
        "code": "invalid_parameter_error",
    }
    assert errors.LimitRequests(retry_after_ms=1500).retry_after_ms == 1500
    assert errors.LimitRequests().retry_after_ms is None
    assert errors.MethodNotAllowed("PUT", "GET, POST").headers == ((b"allow", b"GET, POST"),)


def test_a_long_path_is_cut() -> None:
    """An endless path in a request does not come back whole."""
    assert len(errors.NotFound("GET", "/" + "x" * 100_000).message) < 250


def test_a_refusal_can_be_raised_and_read_in_a_log() -> None:
    """A refusal without detail still says in a traceback what it was."""
    with pytest.raises(Refusal, match=r"^Incorrect API key provided\.$"):
        raise errors.InvalidKey
