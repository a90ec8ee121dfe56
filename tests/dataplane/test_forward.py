"""Which deployment answers, and what of its answer goes on."""

import json

import pytest

from gateway.domain.faults import UnsendableRequest, UpstreamFault, UpstreamTimedOut
from tests.dataplane.fakes import ScriptedReply
from tests.dataplane.world import COMPLETION, MODEL, completion, reply, world

_GONE = UpstreamFault("refused", reached=False)
_LOST = UpstreamFault("closed without a reply", reached=True)
_LATE = UpstreamTimedOut("no reply", reached=True)
_NO_ROAD = UpstreamTimedOut("no connection", reached=False)


@pytest.mark.parametrize("first", [_GONE, _LOST, _NO_ROAD, *(reply(status, b"busy") for status in (429, 502, 503, 504))])
async def test_another_deployment_is_tried_while_no_byte_has_reached_the_client(first: ScriptedReply | Exception) -> None:
    """A deployment that cannot be reached, gave no reply or sheds load is followed by the next, and the client sees the last."""
    async with world() as w:
        w.upstreams.serve(MODEL, first)
        w.upstreams.serve(MODEL, completion(), upstream="up-2", named="theirs")
        exchange = await w.call()
        assert (exchange.status, exchange.text) == (200, COMPLETION)
        assert [json.loads(sent.body)["model"] for sent in w.upstreams.sent] == [MODEL, "theirs"]
        assert w.ledger.only.deployment == "up-2/theirs"
        assert w.upstreams.reports[-1] == ("up-2", True)
        if isinstance(first, ScriptedReply):
            assert first.closed
        else:
            assert w.upstreams.reports[0] == ("up-1", False)
        w.at_rest()


@pytest.mark.parametrize("first", [_LATE, *(reply(status, b"no") for status in (400, 401, 403, 404, 422, 500, 501))])
async def test_these_are_not_tried_again(first: ScriptedReply | Exception) -> None:
    """A time-out, for which the client has waited, and an answer to the request itself end the search."""
    async with world() as w:
        w.upstreams.serve(MODEL, first)
        w.upstreams.serve(MODEL, completion(), upstream="up-2")
        exchange = await w.call()
        assert exchange.status != 200
        assert len(w.upstreams.sent) == 1


async def test_the_last_answer_counts() -> None:
    """When every deployment sheds load the client gets the last one's answer as it is, and each is closed."""
    async with world() as w:
        first, last = reply(503, b"first"), reply(429, b"last", (b"retry-after", b"9"))
        w.upstreams.serve(MODEL, first)
        w.upstreams.serve(MODEL, last, upstream="up-2")
        exchange = await w.call()
        assert (exchange.status, exchange.text, exchange.header("retry-after")) == (429, b"last", "9")
        assert first.closed
        assert last.closed
        assert w.upstreams.reports == [("up-1", False), ("up-2", True)]


@pytest.mark.parametrize(("fault", "status"), [(_GONE, 502), (_LOST, 502), (_NO_ROAD, 500)])
async def test_when_no_deployment_answers(fault: Exception, status: int) -> None:
    """Each deployment is tried once, and the client is told what met the last."""
    async with world() as w:
        for upstream in ("up-1", "up-2", "up-3"):
            w.upstreams.serve(MODEL, fault, upstream=upstream)
        assert (await w.call()).status == status
        assert [sent.deployment.upstream_id for sent in w.upstreams.sent] == ["up-1", "up-2", "up-3"]


@pytest.mark.parametrize("status", [101, 300, 301, 302, 304, 307, 401, 403, 407])
async def test_answers_that_are_none_of_the_client_s_business(status: int) -> None:
    """An upstream that rejects the gateway's credential or redirects it is a 502, with nothing of what it said."""
    async with world() as w:
        theirs = reply(status, b"your key sk-operator", (b"location", b"http://inside"), (b"www-authenticate", b"Bearer"))
        w.upstreams.serve(MODEL, theirs)
        exchange = await w.call()
        assert exchange.status == 502
        assert b"operator" not in exchange.text
        assert exchange.header("location") is None
        assert exchange.header("www-authenticate") is None
        assert theirs.closed
        assert (w.ledger.only.input_tokens, w.ledger.only.estimated) == (0, False)
        w.at_rest()


@pytest.mark.parametrize(
    "answer", [UnsendableRequest("a header"), *(reply(status, b"no") for status in (400, 422, 429, 500, 501))]
)
async def test_what_a_caller_can_cause_does_not_speak_against_a_deployment(answer: ScriptedReply | Exception) -> None:
    """One caller's requests, however bad, must not have an upstream ejected for all others."""
    async with world() as w:
        w.upstreams.serve(MODEL, answer)
        await w.call()
        assert ("up-1", False) not in w.upstreams.reports


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_what_a_server_says_of_itself_speaks_against_it(status: int) -> None:
    """Bad gateway, unavailable and time-out tell of the server."""
    async with world() as w:
        w.upstreams.serve(MODEL, reply(status, b"no"))
        await w.call()
        assert w.upstreams.reports == [("up-1", False)]


@pytest.mark.parametrize("status", [600, 999])
async def test_a_status_that_http_does_not_have_is_a_malformed_reply(status: int) -> None:
    """The edge could not send it."""
    async with world() as w:
        w.upstreams.serve(MODEL, reply(status, COMPLETION))
        exchange = await w.call()
        assert exchange.status == 502
        w.at_rest()
