"""One body, one reading: what the gateway reads of a request's JSON, and how it edits it.

Client and upstream must not be able to read one body in two ways, so a guarded field may stand only once at the top level,
spelt exactly (JSON leaves repeated names open, RFC 8259, section 4; some servers match names without regard to case). An edit
replaces exactly one value's bytes; `docs/rules.md` lists the edits.
"""

import re
from collections.abc import Iterator

import msgspec

from gateway.domain.errors import InvalidBody, InvalidParameter, NoModel

GUARDED = ("model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n")

_GUARDED = frozenset(GUARDED)
_NEEDLES = {name: b'"%s"' % name.encode() for name in GUARDED}
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
# A string, or one character of structure; numbers and literals need no token of their own. Possessive, since what could be gone
# back to is kept: eighty bytes for each escape.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]', re.DOTALL)
_NAME = re.compile(rb'\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*:\s*', re.DOTALL)
_AFTER_NAME = re.compile(rb"\s*:\s*")
_AFTER_VALUE = re.compile(rb"\s*[,}]")
_QUOTE = ord('"')
_MOST_MEMBERS = 10_000  # of one object
_MOST_SEARCHED = 1 << 20  # bytes of values that a repeated name hides
_MAX_MODEL_NAME = 255


class Body(msgspec.Struct, frozen=True, gc=False):
    """A request body and the fields that the gateway acts on.

    `max_output` is the client's bound on output tokens for one choice, `choices` its `n`; `include_usage` says that the client
    itself asked for usage in the stream.
    """

    raw: bytes
    fields: dict[str, msgspec.Raw]
    model: str
    stream: bool
    include_usage: bool
    max_output: int | None
    choices: int


def read(raw: bytes) -> Body:
    """Read a request body. Raises InvalidBody, InvalidParameter, NoModel."""
    try:
        raw.decode("utf-8")
        fields = _object.decode(raw)
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError) as error:
        raise InvalidBody(str(error)) from None
    if len(fields) > _MOST_MEMBERS:
        raise InvalidBody(f"more than {_MOST_MEMBERS} members")
    _refuse_two_readings(raw, fields)
    # Most bodies have but the first two of these.
    return Body(
        raw,
        fields,
        _model(fields),
        _flag(fields, "stream") if "stream" in fields else False,
        _include_usage(fields) if "stream_options" in fields else False,
        _max_output(fields) if "max_tokens" in fields or "max_completion_tokens" in fields else None,
        max(1, _whole(fields, "n") or 1) if "n" in fields else 1,
    )


def edited(body: Body, *, model: str | None = None, include_usage: bool = False) -> bytes:
    """The body with the model's name replaced, if one is given, and with usage asked for in the stream, if wanted."""
    edits: list[tuple[int, int, bytes]] = []
    if model is not None:
        start, end = _span(body.raw, body.fields, "model")
        edits.append((start, end, msgspec.json.encode(model)))
    if include_usage and not body.include_usage:
        edits.append(_usage_edit(body))
    raw = body.raw
    for start, end, value in sorted(edits, reverse=True):
        raw = raw[:start] + value + raw[end:]
    return raw


def _refuse_two_readings(raw: bytes, fields: dict[str, msgspec.Raw]) -> None:
    # Without white space between its members, and with each once and spelt without escapes, an object has no byte more than this.
    plain = len(raw) == 1 + sum([len(name) + len(value) + 4 for name, value in fields.items()])
    # A name may be spelt with escapes: only the whole reading tells. The first question takes a hundredth of the second's time.
    exact = not plain and b"\\" in raw and b"\\u" in raw
    for name in fields:
        if name in _GUARDED:
            exact = exact or (not plain and raw.count(_NEEDLES[name]) > 1)
        elif name.casefold() in _GUARDED:
            raise InvalidParameter(f"field {name!r}", message=f"`{name}` must be spelt `{name.casefold()}`.", param=name)
    if not exact:
        return
    seen = set()
    for name, _, _ in _members(raw, fields):
        if name in seen and name in _GUARDED:
            raise InvalidParameter(f"repeated field {name}", message=f"`{name}` must not be repeated.", param=name)
        seen.add(name)


def _members(raw: bytes, fields: dict[str, msgspec.Raw]) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of the value, of each member of the object that `raw` is; `fields` is its reading.

    The values are known from there, so that they are stepped over, not searched; only where a repeated name has another value,
    its end is looked for. Raises InvalidBody when that is too much to do while all other callers wait.
    """
    position = raw.index(b"{") + 1
    searched = 0
    for _ in range(_MOST_MEMBERS):
        name = _NAME.match(raw, position)
        if name is None:
            return
        text, start = _text.decode(name.group(1)), name.end()
        value = bytes(fields[text])
        end = start + len(value)
        after = _AFTER_VALUE.match(raw, end) if raw.startswith(value, start) else None
        if after is None:
            end = _end_of_value(raw, start, _MOST_SEARCHED - searched)
            searched += end - start
            after = _AFTER_VALUE.match(raw, end)
        yield text, start, end
        if after is None:
            return
        position = after.end()
    raise InvalidBody(f"more than {_MOST_MEMBERS} members")


def _end_of_value(raw: bytes, start: int, most: int) -> int:
    """Where the value that stands at `start` of valid JSON ends, if that is within `most` bytes. Raises InvalidBody."""
    depth = 0
    for token in _TOKEN.finditer(raw, start, start + most):
        kind = raw[token.start()]
        if kind in b"{[":
            depth += 1
        elif kind in b"}]":
            if depth == 0:
                return start + len(raw[start : token.start()].rstrip())
            depth -= 1
            if depth == 0:
                return token.end()
        elif depth == 0:
            return token.end() if kind == _QUOTE else start + len(raw[start : token.start()].rstrip())
    raise InvalidBody("a repeated field is too long to be compared")


def _span(raw: bytes, fields: dict[str, msgspec.Raw], name: str) -> tuple[int, int]:
    """Where the value of a guarded field stands."""
    needle = _NEEDLES[name]
    if raw.count(needle) == 1 and b"\\u" not in raw:
        match = _AFTER_NAME.match(raw, raw.index(needle) + len(needle))
        if match is not None:
            return match.end(), match.end() + len(bytes(fields[name]))
    for member, start, end in _members(raw, fields):
        if member == name:
            return start, end
    raise InvalidBody(f"{name} vanished")


def _usage_edit(body: Body) -> tuple[int, int, bytes]:
    ask = b'{"include_usage":true}'
    if "stream_options" not in body.fields:
        start = body.raw.index(b"{") + 1
        return start, start, b'"stream_options":' + ask + b","
    start, end = _span(body.raw, body.fields, "stream_options")
    value = body.raw[start:end]
    if value == b"null":
        return start, end, ask
    options = _object.decode(value)
    for name, first, last in _members(value, options):
        if name == "include_usage":
            return start + first, start + last, b"true"
    comma = b"," if options else b""
    return start + 1, start + 1, b'"include_usage":true' + comma


def _model(fields: dict[str, msgspec.Raw]) -> str:
    value = _value(fields, "model")
    if value is None or value == "":
        raise NoModel
    if not isinstance(value, str) or len(value) > _MAX_MODEL_NAME:
        raise InvalidParameter(message="`model` must be a string of at most 255 characters.", param="model")
    return value


def _flag(fields: dict[str, msgspec.Raw], name: str, shown: str | None = None) -> bool:
    value = _value(fields, name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidParameter(message=f"`{shown or name}` must be true or false.", param=shown or name)


def _whole(fields: dict[str, msgspec.Raw], name: str) -> int | None:
    value = _value(fields, name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise InvalidParameter(message=f"`{name}` must be a whole number.", param=name)


def _include_usage(fields: dict[str, msgspec.Raw]) -> bool:
    return _flag(_stream_options(fields), "include_usage", "stream_options.include_usage")


def _max_output(fields: dict[str, msgspec.Raw]) -> int | None:
    limits = [_whole(fields, name) for name in ("max_tokens", "max_completion_tokens")]
    return min((limit for limit in limits if limit is not None), default=None)


def _stream_options(fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    raw = bytes(fields.get("stream_options", b"null"))
    if raw == b"null":
        return {}
    try:
        options = _object.decode(raw)
    except msgspec.MsgspecError as error:
        raise InvalidParameter(str(error), message="`stream_options` must be an object.", param="stream_options") from None
    names = [name for name, _, _ in _members(raw, options) if name.casefold() == "include_usage"]
    if names not in ([], ["include_usage"]):
        raise InvalidParameter(message="`include_usage` must not be repeated.", param="stream_options.include_usage")
    return options


def _value(fields: dict[str, msgspec.Raw], name: str) -> object:
    raw = fields.get(name)
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except msgspec.MsgspecError as error:  # a number that no machine number holds
        raise InvalidParameter(str(error), message=f"`{name}` is out of range.", param=name) from None
