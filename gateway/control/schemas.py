"""The bodies of the admin API, as OpenAPI shows them. A field that is not here is refused, never ignored."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

from gateway.control.paging import DEFAULT_LIMIT, MAX_LIMIT
from gateway.domain.upstreams import is_model_name

Item = TypeVar("Item")

CONTROL = r"^[^\p{Cc}]*$"


def when(unix_ms: int) -> str:
    """A time as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def trimmed(text: str) -> str:
    trimmed = text.strip()
    if not trimmed:
        raise PydanticCustomError("blank", "must not be blank")
    return trimmed


def _model_name(name: str) -> str:
    if not is_model_name(name):
        raise PydanticCustomError("model_name", "must be a model's name of 1 to 255 printable characters")
    return name


Id = Annotated[str, Path(max_length=64, pattern=r"^[!-~]+$")]
ModelPath = Annotated[str, Path(description="The model's public name; may contain `/`."), AfterValidator(_model_name)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="At most this many rows.")]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")]
Filter = Annotated[str | None, Query(max_length=300, pattern=CONTROL)]
Moment = Annotated[str | None, Query(max_length=40, description="RFC 3339 with its zone, or Unix seconds.")]
PAGE = DEFAULT_LIMIT

AccountName = Annotated[StrictStr, Field(min_length=1, max_length=120, pattern=CONTROL), AfterValidator(trimmed)]
WorkspaceName = Annotated[StrictStr, Field(min_length=1, max_length=30, pattern=CONTROL), AfterValidator(trimmed)]
Description = Annotated[StrictStr, Field(max_length=200, pattern=CONTROL)]
ModelName = Annotated[StrictStr, AfterValidator(_model_name)]
PerMinute = Annotated[StrictInt | None, Field(description="Units a minute; null sets no limit at this level.")]


def example(*examples: dict[str, Any]) -> ConfigDict:
    """The configuration of a schema that shows what it looks like; a test holds each example to its schema."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _show_listing(schema: dict[str, Any], listing: type[BaseModel]) -> None:
    """Give a listing its example: a page with the example of what it lists."""
    item = next(iter(listing.__pydantic_generic_metadata__["args"]), None)
    extra = getattr(item, "model_config", {}).get("json_schema_extra")
    if isinstance(extra, dict) and "examples" in extra:
        schema["examples"] = [{"data": extra["examples"][:1], "next_cursor": None}]


class Listing(BaseModel, Generic[Item]):
    model_config = ConfigDict(json_schema_extra=_show_listing)

    data: list[Item]
    next_cursor: str | None = None


_DETAIL = "rpm must be a whole number from 1 to 100,000,000, or null for no limit."
_FIELD: dict[str, Any] = {"param": "rpm", "message": _DETAIL}
_ERROR: dict[str, Any] = {"message": _DETAIL, "type": "invalid_request_error", "param": "rpm", "code": "invalid_parameter_error"}


class FieldProblem(BaseModel):
    model_config = example(_FIELD)
    param: str
    message: str


class ErrorObject(BaseModel):
    model_config = example(_ERROR)
    message: str
    type: str
    param: str | None
    code: str | None


class ProblemDocument(BaseModel):
    """A refusal (RFC 9457), with the `error` object that OpenAI's SDKs read."""

    model_config = example(
        {
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": _DETAIL,
            "errors": [_FIELD],
            "request_id": "0198c1de-7a00-7c4e-9d14-3a5b6c7d8e9f",
            "error": _ERROR,
        }
    )
    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem]
    request_id: str
    error: ErrorObject
