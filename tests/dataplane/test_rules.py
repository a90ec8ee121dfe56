"""`docs/rules.md`: what the gateway changes, rule by rule, and that it changes nothing else."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from gateway.dataplane.headers import _NOT_DOWN, _NOT_UP
from gateway.domain.faults import UpstreamFault
from gateway.domain.grants import Limits
from gateway.domain.upstreams import Headers
from tests.dataplane.world import COMPLETION, DONE, MODEL, USAGE_EVENT, chunk, completion, events, reply, world

_RULES = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
_ODD_BODY = (
    b' {"temperature" : 1.10e0,\t"x":{"y":[1,2 ,{}],"model":"inner"}, "model":"m"\r\n,"enable_thinking":true,'
    b'"big":123456789012345678901234567890, "x":"again\\u00e9\\/" } '
)
_ODD_FIELDS: Headers = [
    (b"user-agent", b"OpenAI/Python 3"),
    (b"x-stainless-retry-count", b"0"),
    (b"accept", b"text/event-stream"),
    (b"x-twice", b"1"),
    (b"x-twice", b"\xff 2"),
    (b"x-dashscope-datainspection", b"enable"),
]
_WRITTEN_UP: Headers = [(b"content-type", b"application/json"), (b"accept-encoding", b"identity")]


def _fields(rules: tuple[int, ...]) -> set[str]:
    """The header fields that these rules name."""
    found: set[str] = set()
    for number in rules:
        match = re.search(rf"^ *{number}\. (.*?)(?=^ *\d+\. |^##|^A body|^The server|\Z)", _RULES, re.MULTILINE | re.DOTALL)
        assert match is not None, f"there is no rule {number}"
        for name in re.findall(r"`([a-z][a-z{},-]+)(?:: [^`]*)?`", match.group(1)):
            found.add(name)
    return found


def test_the_rules_name_every_field_that_is_dropped_or_written() -> None:
    """A header field that is dropped and not documented, or the other way round, is a broken promise."""
    assert _fields((1, 2, 3, 4, 5)) == {name.decode() for name in _NOT_UP}
    shared = _fields((9, 10, 11, 12)) | _fields((1,))
    assert shared == {name.decode() for name in _NOT_DOWN}


def test_the_rules_are_numbered_through() -> None:
    """Rules are referred to by number."""
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", _RULES, re.MULTILINE)]
    assert numbers == list(range(1, 21))


async def test_what_no_rule_names_passes_up() -> None:
    """A request's body and unknown fields reach the upstream byte for byte, in order (rules 1 to 6)."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        dropped: Headers = [(name, b"x") for name in sorted(_NOT_UP) if name != b"authorization"]
        await w.call(_ODD_BODY, *dropped, *_ODD_FIELDS)
        (sent,) = w.upstreams.sent
        assert sent.body == _ODD_BODY
        assert sent.headers == [*_ODD_FIELDS, *_WRITTEN_UP, (b"x-request-id", w.ledger.only.call_id.encode())]
        assert sent.path == "/chat/completions"


async def test_the_model_s_name_is_replaced_and_nothing_else() -> None:
    """Rule 7: one value's bytes change."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion(), named="org/theirs-v1")
        await w.call(_ODD_BODY)
        assert w.upstreams.sent[0].body == _ODD_BODY.replace(b'"model":"m"', b'"model":"org/theirs-v1"')


async def test_usage_is_asked_for_and_nothing_else() -> None:
    """Rule 8: one member is added to a stream's body, none to a plain one's."""
    async with world() as w:
        w.upstreams.serve(MODEL, events())
        streamed = _ODD_BODY.replace(b'"x":{', b'"stream" :true,"x":{', 1)
        await w.call(streamed)
        assert w.upstreams.sent[0].body == streamed.replace(b" {", b' {"stream_options":{"include_usage":true},', 1)


async def test_what_no_rule_names_comes_down() -> None:
    """A reply's body, status and unknown fields reach the client byte for byte, in order (rules 9 to 14)."""
    async with world(limits=Limits(rpm=9)) as w:
        dropped: Headers = [(name, b"x") for name in sorted(_NOT_DOWN) if name != b"transfer-encoding"]
        body = COMPLETION + b"\r\n \x00\xff"
        w.upstreams.serve(MODEL, reply(201, body, *dropped, *_ODD_FIELDS, kind=b"application/json; charset=x"))
        exchange = await w.call()
        assert (exchange.status, exchange.text) == (201, body)
        assert exchange.reply_headers == [
            (b"content-type", b"application/json; charset=x"),
            *_ODD_FIELDS,
            (b"x-request-id", w.ledger.only.call_id.encode()),
            (b"x-ratelimit-limit-requests", b"9"),
            (b"x-ratelimit-remaining-requests", b"8"),
            (b"x-ratelimit-reset-requests", b"6.667s"),
            (b"content-length", str(len(body)).encode()),
        ]


async def test_events_come_down_as_they_are() -> None:
    """Comments, event names, odd framing and unknown fields pass; the usage that we asked for does not (rules 14, 15)."""
    async with world() as w:
        odd = [
            b": comment\n\n",
            b"event: x\r\nid: 1\r\ndata: {\r\ndata: }\r\n\r\n",
            chunk("a", x_new={"usage": {"y": 1}}),
            b"retry: 5\n\n",
        ]
        w.upstreams.serve(
            MODEL, reply(200, [*odd, USAGE_EVENT, DONE], *_ODD_FIELDS, (b"content-length", b"5"), kind=b"text/event-stream")
        )
        exchange = await w.call({"model": MODEL, "stream": True})
        assert exchange.text == b"".join([*odd, DONE])
        assert exchange.reply_headers == [
            (b"content-type", b"text/event-stream"),
            *_ODD_FIELDS,
            (b"x-request-id", w.ledger.only.call_id.encode()),
        ]


async def test_a_broken_stream_loses_its_torn_event_alone() -> None:
    """Rule 16: whole events pass as they are, then the error."""
    async with world() as w:
        w.upstreams.serve(MODEL, events(chunk("a") + chunk("b")[:7], UpstreamFault("reset", reached=True)))
        exchange = await w.call({"model": MODEL, "stream": True})
        assert exchange.text.startswith(chunk("a") + b'data: {"error":')
        assert set(json.loads(exchange.text[len(chunk("a")) + 6 :])) == {"error", "request_id"}


@pytest.mark.parametrize("path", ["completions", "embeddings"])
async def test_the_other_endpoints_keep_the_rules(path: str) -> None:
    """The rules are the same on every endpoint that goes upstream."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion())
        exchange = await w.call(_ODD_BODY, *_ODD_FIELDS, path=f"/compatible-mode/v1/{path}")
        assert (exchange.text, w.upstreams.sent[0].body) == (COMPLETION, _ODD_BODY)
        assert w.upstreams.sent[0].path == f"/{path}"


async def test_concurrent_calls_keep_their_bytes_apart() -> None:
    """No call's bytes end up in another's reply."""
    async with world() as w:
        for number in range(20):
            w.catalogue.known[f"m{number}"] = w.catalogue.known[MODEL]
            w.upstreams.serve(f"m{number}", reply(200, [b"%d" % number, b"!"] * 3), upstream=f"up-{number}")
        done = await asyncio.gather(*(w.call({"model": f"m{number}"}) for number in range(20)))
        assert [exchange.text for exchange in done] == [b"%d!" % number * 3 for number in range(20)]
