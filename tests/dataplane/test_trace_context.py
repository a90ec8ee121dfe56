"""W3C Trace Context: what a client's header fields say, what goes upstream, and which spans a call leaves behind."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.ended import Observers
from gateway.dataplane.forward import Forwarder
from gateway.dataplane.trace_context import Remote, begin, remote
from gateway.dataplane.tracing import Tracer
from gateway.domain.faults import UpstreamFault
from gateway.domain.upstreams import Headers
from gateway.ops.spans import Span
from tests.dataplane.world import MODEL, World, completion, events, reply, world

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID, SPAN_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


@pytest.mark.parametrize(
    ("parent", "sampled"),
    [
        (PARENT, True),
        (PARENT[:-1] + b"0", False),
        (PARENT[:-2] + b"03", True),
        (PARENT[:-2] + b"fe", False),
        (b" " + PARENT + b"\t", True),
        (b"cc" + PARENT[2:], True),
        (b"cc" + PARENT[2:] + b"-what-comes-then", True),
    ],
)
def test_what_the_specification_allows_is_taken(parent: bytes, sampled: bool) -> None:
    """A valid parent is taken with its trace, span and flag; of a version to come, what this one knows."""
    assert remote([(b"traceparent", parent)]) == Remote(TRACE_ID, SPAN_ID, sampled)


@pytest.mark.parametrize(
    "parent",
    [
        b"",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + b"1",
        PARENT + b"-more",
        b"ff" + PARENT[2:],
        b"cc" + PARENT[2:] + b"more",
        b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        PARENT.replace(b"a", b"g"),
        PARENT.replace(b"-", b"_"),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\u0661".encode(),
    ],
)
def test_what_the_specification_forbids_is_ignored(parent: bytes) -> None:
    """A parent that is none begins a new trace, and its state is not passed on."""
    headers: Headers = [(b"traceparent", parent), (b"tracestate", b"a=1")]
    assert remote(headers) is None
    trace = begin(headers, sampled=True)
    assert trace.parent is None
    assert [name for name, _ in trace.upward()] == [b"traceparent"]


def test_two_parents_are_none() -> None:
    """A request that names two parents names none."""
    assert remote([(b"traceparent", PARENT), (b"traceparent", PARENT)]) is None


@pytest.mark.parametrize(
    ("states", "taken"),
    [
        ([b"a=1"], "a=1"),
        ([b"a=1,b@c=x y", b"d-/*_=2"], "a=1,b@c=x y,d-/*_=2"),
        ([b" a=1 ,, b=2\t"], "a=1,b=2"),
        ([b"1a=1"], "1a=1"),
        ([b"a=1,a=2"], ""),
        ([b"A=1"], ""),
        ([b"a"], ""),
        ([b"a=1=2"], ""),
        ([b"a=\xff"], ""),
        ([b"a=" + b"x" * 257], ""),
        ([b",".join(b"k%d=v" % number for number in range(32))], ",".join(f"k{number}=v" for number in range(32))),
        ([b",".join(b"k%d=v" % number for number in range(33))], ""),
    ],
)
def test_a_state_is_a_list_of_members_or_nothing(states: list[bytes], taken: str) -> None:
    """A valid state passes whole, of several fields in their order; one that is not is dropped, and the parent stays."""
    found = remote([(b"traceparent", PARENT), *[(b"tracestate", state) for state in states]])
    assert found == Remote(TRACE_ID, SPAN_ID, sampled=True, state=taken)


@given(
    st.lists(st.tuples(st.sampled_from([b"traceparent", b"tracestate", b"x"]), st.binary(max_size=80)), max_size=4), st.booleans()
)
def test_what_goes_up_is_valid_whatever_came(headers: Headers, sampled: bool) -> None:
    """From any header fields at all comes a context that the specification allows."""
    up = begin(headers, sampled=sampled).upward()
    found = remote(up)
    assert found is not None
    assert len(up[0][1]) == len(PARENT)


def traced(w: World, sample: float = 1.0) -> list[list[Span]]:
    """Switch tracing on; the spans of each call, as they come."""
    calls: list[list[Span]] = []
    tracer = Tracer(sample, calls.append)
    w.plane = replace(w.plane, ended=Observers(tracer=tracer), forwarder=Forwarder(w.upstreams, tracer))
    return calls


def names(spans: list[Span]) -> list[str]:
    return [span.name for span in spans]


async def test_the_spans_of_a_call_are_its_steps() -> None:
    """A streamed call leaves a root span with what is known of it, and a span for each step, one behind the other within it."""
    async with world() as w:
        calls = traced(w)
        w.upstreams.serve(MODEL, events())
        await w.call({"model": MODEL, "stream": True, "messages": []}, (b"traceparent", PARENT), (b"tracestate", b"v=1"))
        (spans,) = calls
        root, *steps = spans
        assert names(spans) == [f"chat {MODEL}", "authenticate", "read", "admit", "forward", "relay"]
        assert [span.kind for span in spans] == ["server", "internal", "internal", "internal", "client", "internal"]
        assert {span.trace_id for span in spans} == {TRACE_ID}
        assert (root.parent_id, root.is_remote, root.state) == (SPAN_ID, True, "v=1")
        assert {span.parent_id for span in steps} == {root.span_id}
        assert len({span.span_id for span in spans}) == len(spans)
        for before, after in pairwise(steps):
            assert root.start_ns <= before.start_ns <= before.end_ns <= after.start_ns <= after.end_ns <= root.end_ns
        assert not any(span.error for span in spans)
        entry = w.ledger.only
        assert (
            root.attributes.items()
            >= {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": MODEL,
                "gen_ai.usage.input_tokens": 7,
                "gen_ai.usage.output_tokens": 5,
                "http.response.status_code": 200,
                "gateway.request.id": entry.call_id,
                "gateway.workspace.id": entry.workspace_id,
                "gateway.key.id": entry.key_id,
            }.items()
        )
        forward = spans[4]
        (sent,) = w.upstreams.sent
        up = dict(sent.headers)
        assert up[b"traceparent"] == b"00-%032x-%016x-01" % (TRACE_ID, forward.span_id)
        assert up[b"tracestate"] == b"v=1"


async def test_switched_off_the_fields_pass_as_they_are() -> None:
    """Rule 20: without tracing, what a client sends of a trace reaches the upstream as it is, valid or not."""
    async with world() as w:
        w.upstreams.serve(MODEL, completion(), completion())
        for parent in (PARENT, b"nonsense"):
            await w.call(None, (b"traceparent", parent), (b"tracestate", b"A=?"))
        assert [dict(sent.headers)[b"traceparent"] for sent in w.upstreams.sent] == [PARENT, b"nonsense"]
        assert [dict(sent.headers)[b"tracestate"] for sent in w.upstreams.sent] == [b"A=?", b"A=?"]


@pytest.mark.parametrize("sample", [0.0, 1.0])
async def test_a_client_s_word_on_recording_counts(sample: float) -> None:
    """A trace that its client does not record leaves no spans, whatever the share; one that it records leaves some."""
    async with world() as w:
        calls = traced(w, sample)
        w.upstreams.serve(MODEL, completion(), completion())
        await w.call(None, (b"traceparent", PARENT[:-2] + b"00"))
        assert calls == []
        assert dict(w.upstreams.sent[0].headers)[b"traceparent"].endswith(b"-00")
        await w.call(None, (b"traceparent", PARENT))
        assert len(calls) == 1


async def test_what_is_not_in_the_share_leaves_no_spans() -> None:
    """A call without a trace that the share leaves out goes up with a context of its own, whose flag says unrecorded."""
    async with world() as w:
        calls = traced(w, 0.0)
        w.upstreams.serve(MODEL, completion())
        await w.call()
        found = remote(w.upstreams.sent[0].headers)
        assert found is not None
        assert not found.sampled
        assert calls == []


async def test_a_refused_call_ends_with_the_step_that_refused_it() -> None:
    """Of a refused call, the last span is the step that refused it, with the error's code; no name that was made up shows."""
    async with world() as w:
        calls = traced(w)
        await w.call({"model": "made-up", "messages": []}, (b"traceparent", PARENT))
        await w.call(key="sk-" + "0" * 38)
        (unknown, stranger) = calls
        assert names(unknown) == ["chat", "authenticate", "read", "admit"]
        assert unknown[0].attributes["error.type"] == unknown[-1].attributes["error.type"] == "model_not_found"
        assert [span.error for span in unknown] == [False, False, False, True]
        assert "made-up" not in repr(unknown)
        assert names(stranger) == ["unknown", "authenticate"]
        assert stranger[0].parent_id == 0


async def test_a_call_that_fails_upstream_says_so() -> None:
    """An upstream that refuses our credential, or is not there, is an error of the forward span and of the call."""
    async with world() as w:
        calls = traced(w)
        w.upstreams.serve(MODEL, reply(401, b"{}"), UpstreamFault("gone", reached=False))
        await w.call()
        await w.call()
        for spans in calls:
            assert names(spans) == [f"chat {MODEL}", "authenticate", "read", "admit", "forward"]
            assert [span.error for span in spans] == [True, False, False, False, True]
            assert spans[0].attributes["http.response.status_code"] == 502
        refused, gone = calls
        assert refused[-1].attributes["error.type"] == "401"
        assert gone[-1].attributes["error.type"] == gone[0].attributes["error.type"]


async def test_a_list_of_models_is_a_call_without_steps_behind_its_key() -> None:
    """A request that needs no model has a root span of its own name, and the step that it took."""
    async with world() as w:
        calls = traced(w)
        await w.call(b"", method="GET", path="/compatible-mode/v1/models")
        assert names(calls[0]) == ["models.list", "authenticate"]
        assert calls[0][0].attributes["http.route"] == "/compatible-mode/v1/models"


async def test_a_key_in_a_trace_s_state_goes_nowhere() -> None:
    """A state that repeats the caller's key is dropped like any other field that does."""
    async with world() as w:
        calls = traced(w)
        w.upstreams.serve(MODEL, completion())
        await w.call(None, (b"traceparent", PARENT), (b"tracestate", b"v=" + w.key.text.encode()))
        assert w.key.text.encode() not in b"".join(value for _, value in w.upstreams.sent[0].headers)
        assert w.key.text not in repr(calls)
