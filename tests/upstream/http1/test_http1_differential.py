"""The same bytes from awkward servers, the same outcome: our client against httpx2's, which is the reference."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.upstream.http1.awkward import FAILED, Outcome, awkward, oracle, ours

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"

# Replies that both read in one way.
AGREED = {
    "sized": OK + b"content-length: 4\r\n\r\nfine",
    "empty": OK + b"content-length: 0\r\n\r\n",
    "chunked": CHUNKED + b"4\r\nfine\r\n0\r\n\r\n",
    "chunks with extensions and trailers": CHUNKED + b"2;a=b\r\nfi\r\n2\r\nne\r\n0\r\nx-t: 1\r\n\r\n",
    "many small chunks": CHUNKED + b"".join(b"1\r\n%c\r\n" % (97 + i % 26) for i in range(300)) + b"0\r\n\r\n",
    "until close": OK + b"\r\nall of it",
    "nothing until close": OK + b"\r\n",
    "cut in the body": OK + b"content-length: 10\r\n\r\nfine",
    "cut in a chunk": CHUNKED + b"a\r\nfine",
    "cut before the last chunk": CHUNKED + b"4\r\nfine\r\n",
    "cut in the head": OK + b"content-le",
    "nothing": b"",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    + OK
    + b"content-length: 4\r\n\r\nfine",
    "interim alone": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
    "error": b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 4\r\n\r\nbusy",
    "odd status": b"HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n\r\n",
    "no reason": b"HTTP/1.1 200 \r\ncontent-length: 4\r\n\r\nfine",
    "old": b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nfine",
    "old until close": b"HTTP/1.0 200 OK\r\n\r\nfine",
    "asks to close": OK + b"connection: close\r\ncontent-length: 4\r\n\r\nfine",
    "blanks around a value": OK + b"x-a: \t b \t\r\ncontent-length:  4 \r\n\r\nfine",
    "beyond ASCII": OK + b"x-a: \xe4\xff\r\ncontent-length: 4\r\n\r\nfine",
    "empty value": OK + b"x-a:\r\ncontent-length: 4\r\n\r\nfine",
    "repeated fields": OK + b"set-cookie: a\r\nset-cookie: b\r\ncontent-length: 4\r\n\r\nfine",
    "no version": b"nonsense\r\n\r\n",
    "blank in a name": OK + b"x a: b\r\ncontent-length: 4\r\n\r\nfine",
    "blank before the colon": OK + b"x-a : b\r\ncontent-length: 4\r\n\r\nfine",
    "no name": OK + b": b\r\ncontent-length: 4\r\n\r\nfine",
    "no colon": OK + b"x-a\r\ncontent-length: 4\r\n\r\nfine",
    "NUL in a value": OK + b"x-a: a\0b\r\ncontent-length: 4\r\n\r\nfine",
    "length that is none": OK + b"content-length: four\r\n\r\nfine",
    "length below zero": OK + b"content-length: -4\r\n\r\nfine",
    "length with a sign": OK + b"content-length: +4\r\n\r\nfine",
    "lengths that differ": OK + b"content-length: 4\r\ncontent-length: 5\r\n\r\nfine",
    "size of a chunk that is none": CHUNKED + b"zz\r\nfine\r\n0\r\n\r\n",
    "chunk longer than it says": CHUNKED + b"3\r\nfine\r\n0\r\n\r\n",
    "status that is none": b"HTTP/1.1 abc OK\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "huge head": OK + b"a: " + b"x" * 200_000,
}
# Replies that the reference takes and we do not: two parties could read them in two ways, or nobody should send them.
STRICTER = {
    "both lengths": OK + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    "the same length twice": OK + b"content-length: 4\r\ncontent-length: 4\r\n\r\nfine",
    "a list of lengths": OK + b"content-length: 4, 4\r\n\r\nfine",
    "a folded line": OK + b"x-a: b\r\n c\r\ncontent-length: 4\r\n\r\nfine",
    "line feeds alone": b"HTTP/1.1 200 OK\ncontent-length: 4\n\nfine",
    "chunks from HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\ncontent-length: 4\r\n\r\nfine",
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "another coding": OK + b"transfer-encoding: gzip, chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    "identity": OK + b"transfer-encoding: identity\r\n\r\nfine",
    "chunked twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
}


def _in_pieces(raw: bytes, size: int) -> list[bytes]:
    return [raw[start : start + size] for start in range(0, len(raw), size)] or [b""]


async def _both(pieces: Sequence[bytes]) -> tuple[Outcome, Outcome]:
    async with awkward(pieces) as port:
        return await ours(port), await oracle(port)


@pytest.mark.parametrize("size", [1_000_000, 7], ids=["whole", "in pieces"])
@pytest.mark.parametrize("name", AGREED)
async def test_the_same_outcome(name: str, size: int) -> None:
    """Of every reply that can be read in one way only, our client makes what the reference makes, in whatever pieces it comes."""
    raw = AGREED[name]
    pieces = _in_pieces(raw, size if len(raw) < 10_000 else 4096)
    mine, reference = await _both(pieces)
    assert mine == reference


@pytest.mark.parametrize("size", [1_000_000, 7], ids=["whole", "in pieces"])
@pytest.mark.parametrize("name", STRICTER)
async def test_what_could_be_read_in_two_ways_is_refused(name: str, size: int) -> None:
    """A reply whose framing is ambiguous, or that nobody may send, is no reply, whatever others make of it."""
    async with awkward(_in_pieces(STRICTER[name], size)) as port:
        assert await ours(port) == FAILED


@given(data=st.data())
@settings(max_examples=60)
def test_random_bodies_pass_whole(data: st.DataObject) -> None:
    """Any body, in any chunks and any pieces on the wire, comes out as it went in."""
    parts = data.draw(st.lists(st.binary(min_size=1, max_size=200), max_size=8))
    if data.draw(st.booleans()):
        raw = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        raw = OK + b"content-length: %d\r\n\r\n" % len(b"".join(parts)) + b"".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=6)))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    async def run() -> Outcome:
        async with awkward(pieces) as port:
            return await ours(port)

    outcome = asyncio.run(run())
    assert (outcome.status, outcome.body, outcome.whole) == (200, b"".join(parts), True)
