"""Bytes that no server should send: nothing but a fault comes of them, and no connection that saw them is used again."""

import asyncio
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.faults import UpstreamFault
from gateway.upstream.http1.connection import Connection

HEADS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"content-length: 4\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"x: y\r\n",
    b" folded\r\n",
    b"\r\n",
    b"4\r\nfine\r\n",
    b"0\r\n\r\n",
    b"fine",
    b"\x00\xff",
    b"\n",
]


class Wire:
    """A transport that only says whether it is open."""

    def __init__(self) -> None:
        self.open = True

    def write(self, _data: bytes) -> None: ...
    def writelines(self, _data: object) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return not self.open

    def abort(self) -> None:
        self.open = False


async def feed(pieces: list[bytes]) -> tuple[Connection, bytes, str]:
    """A connection that was fed the pieces and then ended; the body that came of it, and the fault, if there was one."""
    wire = Wire()
    connection = Connection(lambda _: None, most_head=4096)
    connection.connection_made(cast("Any", wire))
    connection.begin(b"x", b"", first_byte=10, idle=10)
    for piece in pieces:
        if wire.open:
            connection.data_received(piece)
    connection.connection_lost(None)
    body = bytearray()
    try:
        await connection.reply()
        while part := await connection.chunk():
            body += part
    except UpstreamFault as fault:
        return connection, bytes(body), str(fault)
    return connection, bytes(body), ""


@given(st.lists(st.one_of(st.sampled_from(HEADS), st.binary(max_size=20)), max_size=12))
@settings(max_examples=400)
def test_any_bytes_end_in_a_reply_or_a_fault(pieces: list[bytes]) -> None:
    """Whatever comes, it ends: in a whole reply, or in a fault of at most 200 characters that quotes none of it."""
    connection, _body, fault = asyncio.run(feed(pieces))
    assert len(fault) <= 200
    assert "\x00" not in fault
    assert not connection.release()


@given(st.lists(st.sampled_from(HEADS), min_size=1, max_size=8), st.integers(1, 5))
@settings(max_examples=300)
def test_pieces_make_no_difference(parts: list[bytes], size: int) -> None:
    """What comes of a reply does not depend on how the network cuts it."""
    raw = b"".join(parts)
    whole = asyncio.run(feed([raw]))
    cut = asyncio.run(feed([raw[start : start + size] for start in range(0, len(raw), size)]))
    assert (whole[0].status, bool(whole[2])) == (cut[0].status, bool(cut[2]))
    if not whole[2]:
        assert (whole[0].headers, whole[1]) == (cut[0].headers, cut[1])


def test_bytes_behind_a_reply_break_the_connection() -> None:
    """What follows a whole reply without having been asked for must not become the reply to the next request."""

    async def run(pieces: list[bytes]) -> tuple[bool, bool]:
        wire = Wire()
        connection = Connection(lambda _: None, most_head=4096)
        connection.connection_made(cast("Any", wire))
        connection.begin(b"x", b"", first_byte=10, idle=10)
        for piece in pieces:
            connection.data_received(piece)
        await connection.reply()
        while await connection.chunk():
            pass
        return connection.release(), wire.open

    good = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"
    assert asyncio.run(run([good])) == (True, True)
    for extra in (good, b"x", b"HTTP/1.1 200 OK\r\n"):
        assert asyncio.run(run([good + extra])) == (False, False), extra
        assert asyncio.run(run([good, extra])) == (False, False), extra
