"""One body, one reading: what is read agrees with any JSON parser, and edits change nothing else."""

import itertools
import json
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane import wire
from gateway.domain.errors import InvalidBody, InvalidParameter, NoModel, Refusal

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT | st.sampled_from(wire.GUARDED), inner, max_size=4),
    max_leaves=12,
)
_SPACE = st.text(" \t\r\n", max_size=3)
_OPTIONS = st.none() | st.dictionaries(_TEXT, _VALUES, max_size=3).filter(
    lambda options: not any(name.casefold() == "include_usage" for name in options)
)


@st.composite
def _spelt(draw: st.DrawFn, text: str) -> str:
    """A JSON string for `text`, with some characters as escapes."""
    parts = []
    for character in text:
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        escaped = "".join(f"\\u{unit:04x}" for unit in _units(character))
        parts.append(draw(st.sampled_from([plain, plain, plain, escaped, escaped.upper().replace("\\U", "\\u")])))
    return '"' + "".join(parts) + '"'


def _units(character: str) -> list[int]:
    raw = character.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


@st.composite
def _written(draw: st.DrawFn, value: Any) -> str:
    """JSON text for `value` with white space and escapes as a client might write them."""
    if isinstance(value, dict):
        members = [
            draw(_SPACE) + draw(_spelt(name)) + draw(_SPACE) + ":" + draw(_SPACE) + draw(_written(inner)) + draw(_SPACE)
            for name, inner in value.items()
        ]
        return "{" + (",".join(members) or draw(_SPACE)) + "}"
    if isinstance(value, list):
        return "[" + (",".join(draw(_SPACE) + draw(_written(inner)) + draw(_SPACE) for inner in value) or draw(_SPACE)) + "]"
    if isinstance(value, str):
        return draw(_spelt(value))
    return json.dumps(value)


@dataclass(frozen=True)
class _Case:
    """A body as a value, and as text with the model's value cut out."""

    fields: dict[str, Any]
    before: str
    model: str
    after: str

    @property
    def raw(self) -> bytes:
        return (self.before + self.model + self.after).encode()


@st.composite
def _bodies(draw: st.DrawFn) -> _Case:
    """A body that can be read; its members stand in any order."""
    fields: dict[str, Any] = draw(
        st.dictionaries(_TEXT.filter(lambda name: name.casefold() not in wire.GUARDED), _VALUES, max_size=4)
    )
    fields["model"] = draw(_TEXT.filter(bool))
    for name, values in (
        ("stream", st.none() | st.booleans()),
        ("max_tokens", st.none() | st.integers(-5, 5000)),
        ("max_completion_tokens", st.none() | st.integers(0, 5000)),
        ("n", st.none() | st.integers(1, 8)),
    ):
        if draw(st.booleans()):
            fields[name] = draw(values)
    if draw(st.booleans()):
        options: dict[str, Any] | None = draw(_OPTIONS)
        if options is not None and draw(st.booleans()):
            options["include_usage"] = draw(st.none() | st.booleans())
        fields["stream_options"] = options
    names = draw(st.permutations(list(fields)))
    parts = dict.fromkeys(("before", "model", "after"), "")
    part = "before"
    for number, name in enumerate(names):
        parts[part] += (
            ("," if number else draw(_SPACE) + "{") + draw(_SPACE) + draw(_spelt(name)) + draw(_SPACE) + ":" + draw(_SPACE)
        )
        value = draw(_written(fields[name]))
        if name == "model":
            part, parts["model"], value = "after", value, ""
        parts[part] += value + draw(_SPACE)
    parts["after"] += "}" + draw(_SPACE)
    return _Case({name: fields[name] for name in names}, **parts)


@given(_bodies())
def test_read_agrees_with_another_parser(case: _Case) -> None:
    """What the gateway reads of a body is what any other JSON parser reads of it."""
    fields = case.fields
    body = wire.read(case.raw)
    limits = [fields[name] for name in ("max_tokens", "max_completion_tokens") if fields.get(name) is not None]
    assert json.loads(case.raw) == fields
    assert body.model == fields["model"]
    assert body.stream is bool(fields.get("stream"))
    assert body.include_usage is bool((fields.get("stream_options") or {}).get("include_usage"))
    assert body.max_output == min(limits, default=None)
    assert body.choices == (fields.get("n") or 1)
    assert body.raw == case.raw


@given(_bodies(), _TEXT)
def test_another_model_name_changes_its_value_and_no_other_byte(case: _Case, model: str) -> None:
    """A body edited for a deployment is the client's, byte for byte, around the model's new name."""
    edited = wire.edited(wire.read(case.raw), model=model)
    assert edited == case.before.encode() + json.dumps(model, ensure_ascii=False).encode() + case.after.encode()


@given(_bodies(), _TEXT)
def test_asking_for_usage_is_one_splice(case: _Case, model: str) -> None:
    """Asking for usage puts one text at one place, where at most `null` or `false` stood, and means just that."""
    raw, body = case.raw, wire.read(case.raw)
    edited = wire.edited(body, include_usage=True)
    assert json.loads(edited) == {
        **case.fields,
        "stream_options": {**(case.fields.get("stream_options") or {}), "include_usage": True},
    }
    prefix = _common(raw, edited)
    suffix = _common(raw[prefix:][::-1], edited[prefix:][::-1])
    removed = raw[prefix : len(raw) - suffix]
    assert removed in b"null" or removed in b"false"
    assert wire.edited(body, model=model, include_usage=True) == wire.edited(wire.read(edited), model=model)


def _common(one: bytes, other: bytes) -> int:
    """The length of what both begin with."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _escaped(name: str, at: int) -> str:
    return name[:at] + f"\\u{ord(name[at]):04x}" + name[at + 1 :]


_VALUE = {"model": '"m"', "stream": "true", "stream_options": "{}", "max_tokens": "1", "max_completion_tokens": "1", "n": "1"}


@pytest.mark.parametrize("name", wire.GUARDED)
def test_a_repeated_guarded_field_is_refused_in_every_spelling(name: str) -> None:
    """A body that names a guarded field twice, with escapes at any place or none, is a 400 that names the field."""
    for spelling in [name, *(_escaped(name, at) for at in range(len(name))), "".join(_escaped(letter, 0) for letter in name)]:
        for first, second in ((name, spelling), (spelling, name), (spelling, spelling)):
            raw = f'{{"model":"m","{first}":{_VALUE[name]},"x":[1],"{second}":{_VALUE[name]}}}'.encode()
            with pytest.raises(InvalidParameter) as refused:
                wire.read(raw.replace(b'"model":"m",', b"", 1) if name == "model" else raw)
            assert refused.value.param == name


@pytest.mark.parametrize("name", ["Model", "MODEL", "\u017ftream", "Stream", "max_to\u212aens", "\u017ftream_option\u017f", "N"])
def test_a_guarded_field_in_another_case_is_refused(name: str) -> None:
    """A field that a server which ignores case would read as a guarded one is a 400, however its letters are spelt."""
    for spelling in (name, _escaped(name, 0)):
        with pytest.raises(InvalidParameter) as refused:
            wire.read(f'{{"model":"m","{spelling}":1}}'.encode())
        assert refused.value.param == name


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","messages":[{"model":"a","stream":1,"n":"x"},{"model":"b"}]}',
        b'{"model":"m","x":{"model":"a","\\u006dodel":"b"}}',
        b'{"x":"\\"model\\":\\"a\\"","model":"m","y":"\\"model\\""}',
        b'{"x":"model","model":"m","y":["model","model"],"z":"\\u006dodel"}',
        b'{"a":1,"a":2,"model":"m","":{},"":[]}',
        b'{"x":"}],{\\\\","model":"m","y":"\\\\\\"{"}',
    ],
)
def test_names_elsewhere_than_at_the_top_do_not_count(raw: bytes) -> None:
    """Guarded names within nested objects, strings or values are the upstream's business; so are other repeated names."""
    body = wire.read(raw)
    assert body.model == "m"
    assert json.loads(wire.edited(body, model="other")) == {**json.loads(raw), "model": "other"}
    assert wire.edited(body, model="other") == raw.replace(b'"model":"m"', b'"model":"other"')


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"[]",
        b'"model"',
        b"null",
        b"nonsense",
        b'\xef\xbb\xbf{"model":"m"}',
        b'{"model":"m","x":"\xff"}',
        b'{"model":"m","x":"\xed\xa0\x80"}',
        b'{"model":"m","x":NaN}',
        b'{"model":"m","x":-Infinity}',
        b'{"model":"m","x":01}',
        b'{"model":"m",}',
        b'{"model":"m","x":[1,]}',
        b'{"model":"m"}{}',
        b'{"model":"m"',
        b"{'model':'m'}",
        b'{"model":"m" /* */}',
        b'{"model":"m","x":"\x00"}',
        b'{"model":"m","x":"a\nb"}',
        b'{"model":"m\x1f"}',
        b'{"model":"m","x":"\\ud800"}',
        b'{"model":"\\udc00\\ud800"}',
        b'{"model":"m","x":"\\x41"}',
        b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"model":"m","x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_clean_json_object_is_refused(raw: bytes) -> None:
    """A body that two parsers could take differently, or that none should take, is a 400 in the reference's words."""
    with pytest.raises(InvalidBody) as refused:
        wire.read(raw)
    assert refused.value.status == 400
    assert refused.value.message == "Required body invalid, please check the request body format."


@pytest.mark.parametrize(
    ("field", "refusal"),
    [
        ('"model":null', NoModel),
        ('"model":""', NoModel),
        ('"x":1', NoModel),
        ('"model":3', InvalidParameter),
        ('"model":["m"]', InvalidParameter),
        ('"model":"' + "m" * 256 + '"', InvalidParameter),
        *(
            (f'"model":"m",{field}', InvalidParameter)
            for field in (
                '"stream":1',
                '"stream":"true"',
                '"stream_options":[]',
                '"stream_options":"x"',
                '"stream_options":{"include_usage":1}',
                '"stream_options":{"include_usage":true,"include_usage":false}',
                '"stream_options":{"include_usage":true,"include_usag\\u0065":true}',
                '"stream_options":{"Include_Usage":true}',
                '"max_tokens":"5"',
                '"max_tokens":1.5',
                '"max_tokens":true',
                '"max_completion_tokens":[1]',
                '"n":false',
                '"n":1e400',
                '"max_tokens":' + "9" * 5000,
            )
        ),
    ],
)
def test_a_guarded_field_of_the_wrong_kind_is_refused(field: str, refusal: type[Refusal]) -> None:
    """A guarded field whose value the gateway cannot act on is a 400, never a fault of the gateway's own."""
    with pytest.raises(refusal):
        wire.read(b"{" + field.encode() + b"}")


@pytest.mark.parametrize(
    ("fields", "most", "choices"),
    [
        ("", None, 1),
        (',"max_tokens":5', 5, 1),
        (',"max_tokens":5.0,"n":2.0', 5, 2),
        (',"max_tokens":null,"max_completion_tokens":7', 7, 1),
        (',"max_tokens":9,"max_completion_tokens":7', 7, 1),
        (',"max_tokens":-3,"n":-3', -3, 1),
        (',"n":0', None, 1),
        (',"max_tokens":' + "9" * 400, int("9" * 400), 1),
    ],
)
def test_bounds_on_output(fields: str, most: int | None, choices: int) -> None:
    """The smaller of the two bounds counts, whole numbers count in any notation, and `n` counts as 1 at the least."""
    body = wire.read(b'{"model":"m"' + fields.encode() + b"}")
    assert (body.max_output, body.choices) == (most, choices)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"model":"m"}', b'{"stream_options":{"include_usage":true},"model":"m"}'),
        (b' { "model":"m"}', b' {"stream_options":{"include_usage":true}, "model":"m"}'),
        (b'{"model":"m","stream_options":null}', b'{"model":"m","stream_options":{"include_usage":true}}'),
        (b'{"model":"m","stream_options": { } }', b'{"model":"m","stream_options": {"include_usage":true } }'),
        (b'{"model":"m","stream_options":{"include_usage":false}}', b'{"model":"m","stream_options":{"include_usage":true}}'),
        (b'{"model":"m","stream_options":{"include_usage":null}}', b'{"model":"m","stream_options":{"include_usage":true}}'),
        (
            b'{"model":"m","stream_options":{"a":[{"include_usage":1}], "include_\\u0075sage" : false ,"b":2}}',
            b'{"model":"m","stream_options":{"a":[{"include_usage":1}], "include_\\u0075sage" : true ,"b":2}}',
        ),
        (
            b'{"model":"m","stream_options":{ "a":"include_usage"}}',
            b'{"model":"m","stream_options":{"include_usage":true, "a":"include_usage"}}',
        ),
        (b'{"model":"m","stream_options":{"include_usage":true}}', b'{"model":"m","stream_options":{"include_usage":true}}'),
    ],
)
def test_usage_is_asked_for_with_the_least_change(before: bytes, after: bytes) -> None:
    """Usage is asked for by changing one value, or by adding one member where there is none."""
    assert wire.edited(wire.read(before), include_usage=True) == after


@pytest.mark.parametrize("filler", [b'"' + b"a" * 5_000_000 + b'"', b"[" + b'"\\u00e9\\"{",' * 400_000 + b"1]"])
def test_a_large_body_is_read_in_one_sweep(filler: bytes) -> None:
    """Five megabytes, plain or full of escapes, are read and edited without work that grows by the square."""
    raw = b'{"messages":' + filler + b',"model":"m","stream":true}'
    edited = wire.edited(wire.read(raw), model="other", include_usage=True)
    assert len(edited) == len(raw) + len('"stream_options":{"include_usage":true},') + len("other") - len("m")


def test_escapes_take_no_memory_to_read() -> None:
    """A text full of quotation marks, such as source code, costs no more memory than its own size."""
    raw = b'{"model":"m","x":"\\u0041' + b'\\"' * 500_000 + b'","x":1}'
    tracemalloc.start()
    wire.read(raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(raw)


@pytest.mark.parametrize(
    "members",
    [
        b",".join(b'"%d":0' % number for number in range(10_001)),
        b",".join([b'"x":0'] * 10_001) + b',"\\u0061":1',
        b'"stream_options":{' + b",".join(b'"%d":0' % number for number in range(10_001)) + b"}",
        b'"x":[' + b"[]," * 400_000 + b'"\\u0061"],"x":1',
    ],
)
def test_what_would_take_long_to_compare_is_refused(members: bytes) -> None:
    """Everybody waits while a body is read: thousands of fields, or a huge one behind a repeated name, are a 400."""
    with pytest.raises(InvalidBody):
        wire.read(b'{"model":"m",' + members + b"}")


def test_long_values_are_stepped_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands within the values is not searched, however much there is, where no name is repeated with another value."""
    monkeypatch.setattr(wire, "_MOST_SEARCHED", 0)
    raw = b'{"x":[' + b"[]," * 400_000 + b'"\\u0061", "model"], "y" : 12 ,"z":"\\"}","model" : "m" }'
    body = wire.read(raw)
    assert wire.edited(body, model="other") == raw.replace(b'"m" }', b'"other" }')
