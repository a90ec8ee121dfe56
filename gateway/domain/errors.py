"""Every refusal that a client can meet, as one typed tree.

Each class is a row of the reference service's table of errors in OpenAI-compatible mode (or, where its docstring says so,
OpenAI's own convention). `message` is public; `detail` is for the log alone, so that an internal text cannot reach a client
by accident.
"""

from typing import Any, ClassVar

from gateway.domain.credentials import hide_keys


class Refusal(Exception):  # noqa: N818 — a refusal is an answer, not a fault of ours
    """A call that is answered with an error.

    `retry_after_ms`: how long to wait before the same call can pass, in milliseconds; None where waiting does not help.
    """

    status: ClassVar[int]
    code: ClassVar[str | None]
    type: ClassVar[str] = "invalid_request_error"
    text: ClassVar[str]

    def __init__(
        self,
        detail: str = "",
        *,
        message: str | None = None,
        param: str | None = None,
        retry_after_ms: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(detail or self.text)
        self.detail = detail
        self.message = hide_keys(message) if message else self.text
        self.param = param
        self.retry_after_ms = retry_after_ms
        self.headers = headers

    def error(self) -> dict[str, Any]:
        """The `error` object, as OpenAI's SDKs read it."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}

    def body(self, request_id: str) -> dict[str, Any]:
        return {"error": self.error(), "request_id": request_id}


class NoKey(Refusal):
    status, code = 401, None
    text = (
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY)."
    )


class InvalidKey(Refusal):
    """A wrong, deleted or disabled key, or one of another plan: one answer, so that nothing is learnt by trying."""

    status, code = 401, "invalid_api_key"
    text = "Incorrect API key provided."


class ModelAccessDenied(Refusal):
    status, code, type = 403, "Model.AccessDenied", "Model.AccessDenied"
    text = "Model access denied."


class WorkspaceAccessDenied(Refusal):
    status, code, type = 403, "Workspace.AccessDenied", "Workspace.AccessDenied"
    text = "Workspace access denied."


class FreeTierOnly(Refusal):
    status, code, type = 403, "AllocationQuota.FreeTierOnly", "AllocationQuota.FreeTierOnly"
    text = "Free quota exhausted."


class ModelNotFound(Refusal):
    status, code = 404, "model_not_found"
    text = "The model does not exist or you do not have access to it."

    def __init__(self, model: str) -> None:
        super().__init__(message=f"The model `{model}` does not exist or you do not have access to it.", param="model")


class ModelNotSupported(Refusal):
    status, code = 404, "model_not_supported"
    text = "Unsupported model for OpenAI compatibility mode."

    def __init__(self, model: str) -> None:
        super().__init__(message=f"Unsupported model {model} for OpenAI compatibility mode.", param="model")


class NotFound(Refusal):
    """An unknown path (OpenAI's convention; the reference's own text is not known)."""

    status, code = 404, "not_found"
    text = "Invalid URL."

    def __init__(self, method: str, path: str) -> None:
        super().__init__(message=f"Invalid URL ({method} {hide_keys(path)[:200]})")


class MethodNotAllowed(Refusal):
    """A known path with another method (RFC 9110, section 15.5.6)."""

    status, code = 405, "method_not_allowed"
    text = "Method not allowed."

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(message=f"Not allowed to {method} on this URL; use {allowed}.", headers=((b"allow", allowed.encode()),))


class InvalidBody(Refusal):
    status, code = 400, "invalid_parameter_error"
    text = "Required body invalid, please check the request body format."


class InvalidParameter(Refusal):
    """A field that cannot be taken as it is; the message names it (code and type as for every bad body)."""

    status, code = 400, "invalid_parameter_error"
    text = "A parameter is invalid."


class NoModel(Refusal):
    status, code = 400, "invalid_parameter_error"
    text = "you must provide a model parameter"


class Arrearage(Refusal):
    status, code, type = 400, "Arrearage", "Arrearage"
    text = "Access denied, please make sure your account is in good standing."


class BodyTimeout(Refusal):
    """The request did not arrive in time (RFC 9110, section 15.5.9)."""

    status, code = 408, "request_timeout"
    text = "The request body did not arrive in time."


class BodyTooLarge(Refusal):
    """A body over the limit of the settings (RFC 9110, section 15.5.14)."""

    status, code = 413, "request_too_large"
    text = "The request body is too large."


class LimitRequests(Refusal):
    status, code, type = 429, "limit_requests", "limit_requests"
    text = "You exceeded your current requests list."


class LimitTokens(Refusal):
    status, code, type = 429, "insufficient_quota", "insufficient_quota"
    text = "You exceeded your current quota, please check your plan and billing details."


class LimitConcurrency(Refusal):
    """The reference's text for model calls is not known; ours says what to do."""

    status, code, type = 429, "limit_concurrency", "limit_concurrency"
    text = "Too many of your calls are open at once, please wait until one of them has ended."


class LimitBurst(Refusal):
    status, code, type = 429, "limit_burst_rate", "limit_burst_rate"
    text = (
        "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale "
        "requests more smoothly over time."
    )


class BudgetExceeded(Refusal):
    """The reference's text is not known; ours says what to do."""

    status, code, type = 429, "BudgetLimitExceeded", "BudgetLimitExceeded"
    text = "The spending limit is reached, please raise it or wait for the next period."


class InternalError(Refusal):
    status, code, type = 500, "internal_error", "server_error"
    text = "An internal error has occurred, please try again later."


class RequestTimeOut(Refusal):
    status, code, type = 500, "RequestTimeOut", "server_error"
    text = "Request timed out, please try again later."


class UpstreamError(Refusal):
    """A refused connection, a malformed reply, or an upstream that rejects our own credential."""

    status, code, type = 502, "upstream_error", "server_error"
    text = "The model server could not be reached or gave no valid reply, please try again later."


class ServiceUnavailable(Refusal):
    status, code, type = 503, "ServiceUnavailable", "server_error"
    text = "Too many requests. Your requests are being throttled due to system capacity limits. Please try again later."


class ModelUnavailable(Refusal):
    status, code, type = 503, "ModelUnavailable", "server_error"
    text = "Model is unavailable, please try again later."


def all_refusals() -> list[type[Refusal]]:
    """Every class of the tree, in the order of their statuses: for the documentation's test."""
    return sorted(Refusal.__subclasses__(), key=lambda refusal: (refusal.status, refusal.__name__))
