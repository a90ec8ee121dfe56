"""Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13): so that of two people who change the same thing, the
second learns of the first.

A tag is strong, and made from all that is stored of what it stands for. Services compare it within the transaction of the change
itself, so that of changes which arrive together and name the same tag exactly one is made.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Header
from starlette.requests import Request
from starlette.responses import Response

from gateway.control.paging import Page
from gateway.control.problems import BadRequest, PreconditionFailed

Row = TypeVar("Row")

# An entity tag, and what may stand before it in a list: empty elements count for nothing (section 5.6.1.2).
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|\Z)')
_NOTHING = re.compile(r"[ \t,]*")
_FORM = 'Send * or a list of entity tags, each in double quotes, such as "5f3a".'

GONE = "There is nothing here any more; somebody removed it meanwhile."
THERE = "There is something here already; leave If-None-Match out to change it."


def tag(*values: Any) -> str:
    """The strong entity tag of what these values say. They must be what JSON can hold."""
    text = json.dumps(values, separators=(",", ":"), sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


@dataclass(frozen=True, slots=True)
class TaggedPage(Page[Row], Generic[Row]):
    """A page of a list; `etag` is the tag of the whole list, and so changes with each of its pages."""

    etag: str = ""


@dataclass(frozen=True, slots=True)
class Tags:
    """What a header names: `every` thing there may be (`*`), or the tags of a list; `weak` ones are kept apart."""

    every: bool = False
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Conditions:
    """What has to hold for a request to be done; nothing, where it has neither header."""

    match: Tags | None = None
    none_match: Tags | None = None

    def check(self, current: str | None, *, exists: bool | None = None) -> None:
        """Raises PreconditionFailed. `current` is the tag of what is there, None where nothing is; `exists`, where it is given,
        is what `*` asks about instead.
        """
        there = current is not None if exists is None else exists
        if self.match is not None and not (there if self.match.every else current in self.match.strong):
            raise PreconditionFailed("" if there else GONE)
        if self.none_match is not None and self._is_among(current, there=there):
            raise PreconditionFailed(THERE if self.none_match.every else "")

    def is_unchanged(self, current: str) -> bool:
        """Whether a reader has what is there already. Raises PreconditionFailed where `If-Match` does not hold."""
        Conditions(self.match).check(current)
        return self._is_among(current, there=True)

    def _is_among(self, current: str | None, *, there: bool) -> bool:
        wanted = self.none_match
        if wanted is None:
            return False
        return there if wanted.every else current in wanted.strong | wanted.weak


UNCONDITIONAL = Conditions()


def _tags(name: str, text: str) -> Tags:
    if text.strip(" \t") == "*":
        return Tags(every=True)
    found = list(_listed(name, text))
    if not found:
        raise BadRequest.field(name, _FORM)
    return Tags(
        strong=frozenset(value for is_weak, value in found if not is_weak),
        weak=frozenset(value for is_weak, value in found if is_weak),
    )


def _listed(name: str, text: str) -> Iterator[tuple[bool, str]]:
    at = 0
    while True:
        blank = _NOTHING.match(text, at)
        at = at if blank is None else blank.end()
        if at == len(text):
            return
        one = _TAG.match(text, at)
        if one is None:
            raise BadRequest.field(name, _FORM)
        yield one[1] is not None, one[2]
        at = one.end()


def _read(request: Request, name: str) -> Tags | None:
    lines = request.headers.getlist(name)
    return _tags(name, ", ".join(lines)) if lines else None


_MATCH = "Do it only if what is there now has one of these ETags, or, with `*`, only if anything is there; else 412."
_NONE = "With `*`: do it only if nothing is there yet; else 412. With ETags: only if what is there has none of them."
_GET_NONE = "Answer 304 without a body if what is there now has one of these ETags."


async def _conditions(
    request: Request,
    _if_match: Annotated[str | None, Header(alias="If-Match", description=_MATCH)] = None,
    _if_none_match: Annotated[str | None, Header(alias="If-None-Match", description=_NONE)] = None,
) -> Conditions:
    return Conditions(_read(request, "if-match"), _read(request, "if-none-match"))


async def _reading(
    request: Request,
    _if_none_match: Annotated[str | None, Header(alias="If-None-Match", description=_GET_NONE)] = None,
) -> Conditions:
    return Conditions(_read(request, "if-match"), _read(request, "if-none-match"))


Changing = Annotated[Conditions, Depends(_conditions)]
"""Raises BadRequest for a header that is none of the two forms."""
Reading = Annotated[Conditions, Depends(_reading)]
"""The same for GET, where a tag that matches answers 304."""

_HEADER = {"ETag": {"description": "The entity tag of what is there now, for If-Match.", "schema": {"type": "string"}}}
TAGGED: dict[int | str, dict[str, Any]] = {200: {"headers": _HEADER}}
"""What a route's description says of its answers, besides their bodies."""
READ: dict[int | str, dict[str, Any]] = {
    200: {"headers": _HEADER},
    304: {"description": "It has one of the ETags in If-None-Match.", "headers": _HEADER},
}


def unchanged(current: str) -> Response:
    """What a reader is told who has it already."""
    return Response(status_code=304, headers={"etag": current})
