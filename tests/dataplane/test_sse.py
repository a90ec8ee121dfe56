"""Event streams on their way past: the same bytes and the same usage, in whatever pieces they come."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.sse import EventStream, error_event, usage_in_part, usage_of
from gateway.domain.errors import RequestTimeOut
from gateway.domain.usage import Usage
from tests.dataplane.world import DONE, STREAM, USAGE, USAGE_EVENT, chunk

_TOLD = Usage(input=7, output=5, cached=3)
_TRICKY = chunk('he said "usage": {"prompt_tokens": 99} and data: [DONE] and "finish_reason":"stop"')
_NAMED = chunk("x", usage=USAGE)
_COMMENT = b": keep-alive\n\n"
_LONG = chunk("y" * 20_000)
_EVENTS = [
    *STREAM,
    _TRICKY,
    _COMMENT,
    chunk("z", usage=None),
    b'event: message\nid: 4\ndata: {"id":"x",\ndata: "choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    b"\n",
    b"data:\n\n",
]


def _run(pieces: list[bytes], *, hide: bool) -> tuple[bytes, EventStream]:
    stream = EventStream(hide_usage=hide)
    passed = b"".join([stream.feed(piece) for piece in pieces]) + stream.rest()
    return passed, stream


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


@given(
    st.lists(st.sampled_from(_EVENTS), max_size=8),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_pieces_make_no_difference(stream: list[bytes], places: list[int], line_end: bytes, hide: bool, whole: bool) -> None:
    """However the network cuts a stream, the client gets the same bytes and the ledger the same usage, events and end."""
    data = b"".join(stream).replace(b"\n", line_end)
    data = data if whole else data[: -len(line_end)]
    at_once, one = _run([data], hide=hide)
    in_pieces, many = _run(_cut(data, places), hide=hide)
    byte_by_byte, single = _run([data[at : at + 1] for at in range(len(data))], hide=hide)
    assert at_once == in_pieces == byte_by_byte
    for other in (many, single):
        assert (other.usage, other.events, other.bytes) == (one.usage, one.events, one.bytes)
        assert (other.complete, other.done) == (one.complete, one.done)
    if not hide:
        assert at_once == data


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_the_hidden_usage_is_cut_out_exactly(line_end: bytes) -> None:
    """The one event that the client did not ask for is kept back whole, and every other byte passes."""
    before, after = [_COMMENT, chunk("a"), chunk(finish="stop")], [DONE]
    stream = [event.replace(b"\n", line_end) for event in (*before, USAGE_EVENT, *after)]
    passed, read = _run(stream, hide=True)
    assert passed == b"".join(event.replace(b"\n", line_end) for event in (*before, *after))
    assert read.usage == _TOLD
    shown, read = _run(stream, hide=False)
    assert shown == b"".join(stream)
    assert read.usage == _TOLD


def test_usage_beside_content_is_never_hidden() -> None:
    """An event that carries content passes even if it names usage too, and the last usage named counts."""
    passed, stream = _run([_NAMED, chunk("b", usage={**USAGE, "completion_tokens": 6})], hide=True)
    assert passed == _NAMED + chunk("b", usage={**USAGE, "completion_tokens": 6})
    assert stream.usage == Usage(input=7, output=6, cached=3)


def test_an_error_that_names_usage_is_never_hidden() -> None:
    """Were it kept back, a stream that failed would look as if it had just ended."""
    stream = EventStream(hide_usage=True)
    event = b'data: {"error":{"message":"no"},"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
    assert stream.feed(event) == event
    assert stream.usage is not None


def test_an_event_ends_at_a_blank_line_whatever_its_line_ends() -> None:
    """Line ends may be mixed; an event is not held back until a better one comes."""
    stream = EventStream(hide_usage=False)
    assert stream.feed(b"data: a\n\r") == b""
    assert stream.feed(b"\ndata: b") == b"data: a\n\r\n"


def test_content_that_speaks_of_usage_is_no_usage() -> None:
    """Text that quotes the names the gateway looks for is neither read as usage nor as an end."""
    passed, stream = _run([_TRICKY], hide=True)
    assert passed == _TRICKY
    assert stream.usage is None
    assert not stream.complete


@pytest.mark.parametrize(
    ("stream", "complete", "done"),
    [
        (STREAM, True, True),
        (STREAM[:-1], True, False),
        (STREAM[:3], True, False),
        (STREAM[:2], False, False),
        ([*STREAM[:2], USAGE_EVENT], False, False),
        ([], False, False),
        ([_COMMENT], False, False),
        ([*STREAM[:3], _COMMENT, _COMMENT, _COMMENT, _COMMENT], True, False),
        ([chunk("a"), b'data: {"error":{"message":"x"}}\n\n'], True, False),
        ([chunk("a"), b"data:[DONE]"], True, True),
        ([chunk("[DONE]")], False, False),
        ([chunk(finish="stop"), chunk("a"), chunk("b"), chunk("c")], False, False),
    ],
)
def test_whether_a_stream_says_that_it_is_over(stream: list[bytes], complete: bool, done: bool) -> None:
    """A stream is complete by `[DONE]`, a finish reason or an error at its end, and by nothing else."""
    _, read = _run(stream, hide=True)
    assert (read.complete, read.done) == (complete, done)


def test_only_whole_events_pass() -> None:
    """What waits for its end is kept, so that an error event can always follow as an event of its own."""
    stream = EventStream(hide_usage=False)
    event = chunk("a")
    assert stream.feed(event[:-1]) == b""
    assert stream.feed(event[-1:] + event[:5]) == event
    assert stream.rest() == event[:5]
    assert stream.rest() == b""


def test_a_huge_event_passes_and_is_searched_once() -> None:
    """An event of megabytes in small pieces passes unchanged; beyond a bound it is let through before its end."""
    event = chunk("y" * (4 << 20))
    passed, _ = _run([event[at : at + 1024] for at in range(0, len(event), 1024)], hide=True)
    assert passed == event
    endless = EventStream(hide_usage=True)
    passed = b"".join(endless.feed(b"x" * 65536) for _ in range(200))
    assert len(passed) >= 8 << 20
    assert len(passed) + len(endless.rest()) == 200 * 65536


_NOT_BELIEVED = 10**30


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (USAGE, _TOLD),
        ({"prompt_tokens": 7, "total_tokens": 12}, Usage(input=7, output=5)),
        ({"prompt_tokens": 7, "total_tokens": 7}, Usage(input=7)),
        ({"total_tokens": 9}, Usage(output=9)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": None}, Usage(input=7, output=5)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": None}}, Usage(7, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}}, Usage(7, 5, 7)),
        ({"prompt_tokens": -7, "completion_tokens": -5}, Usage()),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
        ({"prompt_tokens": _NOT_BELIEVED, "completion_tokens": 1}, None),
        ({"prompt_tokens": "7"}, None),
        ({"input_tokens": 7}, None),
        ({}, None),
        (None, None),
    ],
)
def test_what_a_reply_names_as_usage(usage: object, told: Usage | None) -> None:
    """Usage is read alike from a body, from the part of a long one, and from a stream; nonsense counts as none."""
    body = json.dumps({"id": "x", "choices": [], "usage": usage}).encode()
    assert usage_of(body) == told
    assert usage_in_part(b'n":"tail of something"},' + body[1:]) == told
    _, stream = _run([b"data: " + body + b"\n\n"], hide=False)
    assert stream.usage == told


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"usage":', b'{"usage":{"prompt_tokens":1'])
def test_a_body_that_cannot_be_read_names_no_usage(body: bytes) -> None:
    """A reply that is no JSON passes; its usage is unknown, which is not zero."""
    assert usage_of(body) is None
    assert usage_in_part(body) is None


def test_an_error_event_is_one_event_with_the_request_id() -> None:
    """A stream that fails says so in an event that OpenAI's SDKs raise as an error."""
    event = error_event(RequestTimeOut("internal detail"), "id-1")
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    told = json.loads(event[6:])
    assert told["error"]["code"] == "RequestTimeOut"
    assert told["request_id"] == "id-1"
    assert b"internal detail" not in event
