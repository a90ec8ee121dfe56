"""What the operators' load is made of."""

import json
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loadtests.mix import LONGEST_WAIT, Mix, StreamClock, Unusable, keys_of, nobodys_key, range_of, refusal, wait_of, weights_of

KEY = "sk-" + "a" * 38


def options(**changed: Any) -> Namespace:
    given = {
        "keys": KEY,
        "keys_file": "",
        "models": "a=3,b=1",
        "stream_share": 0.5,
        "list_share": 0.1,
        "bad_key_share": 0.1,
        "prompt_bytes": "10-2000",
        "max_tokens": 7,
        "pause": "0",
        "prefix": "/v1/",
        "when_limited": "wait",
    }
    return Namespace(**(given | changed))


def test_calls_are_mixed_as_the_options_say() -> None:
    """Kinds, models and sizes come in the shares and bounds that were asked for, and no two prompts begin alike."""
    mix = Mix.of(options())
    kinds = Counter(mix.kind() for _ in range(10_000))
    assert kinds.keys() == {"list", "bad key", "stream", "chat"}
    assert 800 < kinds["list"] < 1200
    assert 800 < kinds["bad key"] < 1200
    assert 3600 < kinds["stream"] < 4400
    bodies = [mix.body(stream=bool(number % 2)) for number in range(1000)]
    models = Counter(model for model, _ in bodies)
    assert 650 < models["a"] < 850
    read = [json.loads(body) for _, body in bodies]
    assert [fields["model"] for fields in read] == [model for model, _ in bodies]
    assert [fields.get("stream", False) for fields in read] == [bool(number % 2) for number in range(1000)]
    assert {fields["max_tokens"] for fields in read} == {7}
    prompts = [fields["messages"][0]["content"] for fields in read]
    sizes = sorted(len(text) for text in prompts)
    assert 10 <= sizes[0] < 100
    assert 1900 < sizes[-1] <= 2000
    assert len({text[:10] for text in prompts}) == 1000
    assert (mix.prefix, mix.waits, mix.pause()) == ("/v1", True, 0.0)


def test_large_prompts_have_their_size() -> None:
    """A prompt is as long as asked for, however long that is."""
    _, body = Mix.of(options(prompt_bytes="100000", max_tokens=0)).body(stream=False)
    fields = json.loads(body)
    assert len(fields["messages"][0]["content"].encode()) == 100_000
    assert "max_tokens" not in fields


def test_keys_come_from_text_and_file(tmp_path: Path) -> None:
    """Keys are taken from both places, without blanks, empty lines and comments."""
    file = tmp_path / "keys"
    file.write_text("# ours\nsk-3\n\n  sk-4  \n")
    assert keys_of(" sk-1, sk-2,", str(file)) == ["sk-1", "sk-2", "sk-3", "sk-4"]
    assert len({nobodys_key() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"keys": ""}, "no API key is given"),
        ({"keys": ",", "keys_file": ""}, "no API key is given"),
        ({"keys_file": "nowhere/keys"}, "--keys-file cannot be read"),
        ({"keys": f"{KEY}\nx"}, "characters that no key has"),
        ({"models": ""}, "--models names no model"),
        ({"models": "a=0"}, "--models names no model"),
        ({"models": "a,a=2"}, "stands there twice"),
        ({"models": "a=many"}, "the weight of 'a' is no number"),
        ({"models": "a=nan"}, "is no model with a weight"),
        ({"stream_share": 1.5}, "--stream-share is not between 0 and 1"),
        ({"list_share": 0.6, "bad_key_share": 0.6}, "more than 1 together"),
        ({"prompt_bytes": "2000-100"}, "--prompt-bytes goes from 2000 to 100"),
        ({"pause": "soon"}, "--pause is neither a number nor two"),
        ({"max_tokens": -1}, "--max-tokens is below 0"),
        ({"when_limited": "retry"}, "--when-limited is neither wait nor fail"),
    ],
)
def test_options_that_make_no_load_are_named(changed: dict[str, Any], says: str) -> None:
    """What cannot be used is refused with the option's name, and no message holds a key."""
    with pytest.raises(Unusable, match=says) as caught:
        Mix.of(options(**changed))
    assert KEY not in str(caught.value)


def test_weights_and_ranges_are_read_as_written() -> None:
    """A model's name may hold an equals sign, if its weight is written; one number is a range of itself."""
    assert weights_of("qwen-plus=3, qwen-turbo") == {"qwen-plus": 3.0, "qwen-turbo": 1.0}
    assert weights_of("a=b=2") == {"a=b": 2.0}
    assert range_of("--pause", "0.5-1.5") == (0.5, 1.5)
    assert range_of("--pause", "2") == (2.0, 2.0)


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (404, b'{"error":{"code":"model_not_found","message":"..."},"request_id":"1"}', "404 model_not_found"),
        (400, b'{"error":{"code":null,"type":"invalid_request_error"}}', "400 invalid_request_error"),
        (502, b"<html>", "502"),
        (500, b'{"error":"odd"}', "500"),
        (500, b'{"error":{"code":"a\\nb"}}', "500 a?b"),
        (500, b"[]", "500"),
    ],
)
def test_refusals_count_by_status_and_code(status: int, body: bytes, named: str) -> None:
    """Equal refusals have equal names, without request IDs and whatever else differs from call to call."""
    assert refusal(status, body) == named


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1.0),
        ({"retry-after": "-1"}, 1.0),
        ({"retry-after": "nan"}, 1.0),
        ({"retry-after": "86400"}, LONGEST_WAIT),
        ({}, 1.0),
    ],
)
def test_a_refused_user_waits_as_it_is_told(headers: dict[str, str], seconds: float) -> None:
    """The finer field counts before the coarser one, nonsense counts as a second, and nobody waits for ever."""
    assert wait_of(headers) == seconds


def clock_of(*lines: tuple[float, bytes]) -> StreamClock:
    clock = StreamClock(100.0)
    for now, line in lines:
        clock.line(line, now)
    return clock


def test_a_stream_is_timed_event_by_event() -> None:
    """The first event counts from the request, each other from the one before it; comments, blank lines and `[DONE]` are none."""
    clock = clock_of(
        (100.1, b": ping\n"),
        (100.5, b'data: {"choices":[]}\n'),
        (100.6, b"\n"),
        (100.75, b"event: message\n"),
        (101.0, b'data: {"choices":[{"delta":{"content":"an \\"error\\""}}]}\n'),
        (101.1, b'data:{"choices":[]}\r\n'),
        (109.0, b"data: [DONE]\n"),
    )
    assert clock.problem == ""
    samples = dict(clock.samples())
    assert samples == pytest.approx({"first event": 0.5, "between events, mean": 0.3, "between events, longest": 0.5})
    assert clock.bytes == sum(
        map(
            len,
            [
                b": ping\n",
                b'data: {"choices":[]}\n',
                b"\n",
                b"event: message\n",
                b'data: {"choices":[{"delta":{"content":"an \\"error\\""}}]}\n',
                b'data:{"choices":[]}\r\n',
                b"data: [DONE]\n",
            ],
        )
    )


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([b'data: {"choices":[]}\n'], "the stream ended without [DONE]"),
        ([b": ping\n", b"data: [DONE]\n"], "the stream brought no event"),
        ([b'data: {"error":{"code":"upstream_error"}}\n'], "the stream brought an error: upstream_error"),
        ([b'data: {"error":"odd"}\n', b"data: [DONE]\n"], "the stream brought an error: error"),
        ([b'data: {"error":null,"choices":[]}\n', b"data: [DONE]\n"], ""),
    ],
)
def test_a_stream_that_failed_says_how(lines: list[bytes], problem: str) -> None:
    """A stream counts as good only if it brought events, no error, and its end."""
    assert clock_of(*((100.0, line) for line in lines)).problem == problem
