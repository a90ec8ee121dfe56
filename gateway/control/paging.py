"""Pages of a list: an opaque cursor says behind which row the next page begins, so that rows added or removed meanwhile neither
repeat nor hide others.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.control.problems import BadRequest

Row = TypeVar("Row")

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
_HIGHEST = 2**63


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """`next_cursor` is None on the last page."""

    rows: Sequence[Row]
    next_cursor: str | None = None


def cut(rows: Sequence[Row], limit: int, key: Callable[[Row], tuple[int, str] | str]) -> Page[Row]:
    """A page of `limit` rows out of rows that were asked for with `limit + 1`."""
    if len(rows) <= limit:
        return Page(rows)
    return Page(rows[:limit], _encode(key(rows[limit - 1])))


def _encode(place: tuple[int, str] | str) -> str:
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(cursor: str) -> object:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _bad_cursor() from error


def _storable(text: str) -> bool:
    """Whether a database takes the text: PostgreSQL knows no NUL, and UTF-8 no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _bad_cursor() -> BadRequest:
    return BadRequest.field("cursor", "The cursor is not one of this list; take next_cursor as it was answered.")


def after_time(cursor: str | None) -> tuple[int, str] | None:
    """The time and ID in a cursor of a list that is ordered by both. Raises BadRequest."""
    if cursor is None:
        return None
    match _decode(cursor):
        case [int(at), str(row_id)] if not isinstance(at, bool) and 0 <= at < _HIGHEST and _storable(row_id):
            return at, row_id
        case _:
            raise _bad_cursor()


def after_name(cursor: str | None) -> str | None:
    """The name in a cursor of a list that is ordered by it. Raises BadRequest."""
    if cursor is None:
        return None
    match _decode(cursor):
        case str(name) if _storable(name):
            return name
        case _:
            raise _bad_cursor()
