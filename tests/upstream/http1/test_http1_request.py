"""A request's bytes: what is in them, and what never gets in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.faults import UnsendableRequest
from gateway.upstream.http1.request import Origin, head_of, target

TO = target("http://models.example:8000/v1/", "secret")


@pytest.mark.parametrize(
    ("base_url", "origin", "path", "host"),
    [
        ("http://h/v1", Origin(False, "h", 80), b"/v1", b"host: h\r\n"),
        ("https://h/", Origin(True, "h", 443), b"", b"host: h\r\n"),
        ("https://H:443/a//", Origin(True, "h", 443), b"/a", b"host: h\r\n"),
        ("http://[::1]:80/v1", Origin(False, "::1", 80), b"/v1", b"host: [::1]\r\n"),
        ("http://[::1]:81/v1", Origin(False, "::1", 81), b"/v1", b"host: [::1]:81\r\n"),
        ("http://bücher.example", Origin(False, "xn--bcher-kva.example", 80), b"", b"host: xn--bcher-kva.example\r\n"),
    ],
)
def test_an_address_is_read(base_url: str, origin: Origin, path: bytes, host: bytes) -> None:
    """Scheme, host and port of an address decide where connections lead; the default port is not named in the request."""
    to = target(base_url, None)
    assert (to.origin, to.path, to.host, to.credential) == (origin, path, host, b"")


@pytest.mark.parametrize(
    "base_url",
    ["ftp://h", "h/v1", "http://", "http://h:x", "http://h:99999", "http://h/a b", "http://h/\r\nx", "http://h?q", "http://h/#f"],
)
def test_an_address_that_cannot_be_sent(base_url: str) -> None:
    """An address that no request line can hold is a fault of ours, whose text quotes nothing of it."""
    with pytest.raises(UnsendableRequest, match="base URL or credential cannot be sent"):
        target(base_url, None)


@pytest.mark.parametrize("api_key", ["a\r\nb", "a b", "ä", "a\x00", " "])
def test_a_credential_that_cannot_be_sent(api_key: str) -> None:
    """A credential with a blank, an end of a line or anything beyond ASCII is not sent, and not quoted."""
    with pytest.raises(UnsendableRequest) as caught:
        target("http://h/v1", api_key)
    assert api_key.strip() == "" or api_key not in str(caught.value)


def test_own_fields_take_the_callers_place() -> None:
    """Host, framing and credential are the client's own, however the caller's are spelt."""
    given_fields = [
        (b"host", b"x"),
        (b"Content-Length", b"9"),
        (b"TRANSFER-ENCODING", b"chunked"),
        (b"Authorization", b"Bearer x"),
    ]
    head = head_of(b"POST", TO, b"/chat", [*given_fields, (b"accept", b"*/*")], 3)
    assert head == (
        b"POST /v1/chat HTTP/1.1\r\nhost: models.example:8000\r\nauthorization: Bearer secret\r\n"
        b"accept: */*\r\ncontent-length: 3\r\n\r\n"
    )


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_no_field_begins_a_line_of_its_own(name: bytes, value: bytes) -> None:
    """Whatever a field holds, the head has as many lines as it has fields, or nothing is sent (RFC 9112, section 11.1)."""
    try:
        head = head_of(b"POST", TO, b"/chat", [(name, value)], 3)
    except UnsendableRequest:
        return
    lines = head.split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    assert b"\r" not in head.replace(b"\r\n", b"")
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\0" not in head
    own = name.lower() in (b"host", b"content-length", b"transfer-encoding", b"authorization")
    assert len(lines) == 6 + (not own)
    assert lines[1] == b"host: models.example:8000"


@given(st.binary(max_size=12))
def test_no_path_begins_a_line_of_its_own(path: bytes) -> None:
    """Whatever a path holds, the request line is one line of three parts, or nothing is sent."""
    try:
        head = head_of(b"POST", TO, b"/" + path, [], None)
    except UnsendableRequest:
        return
    assert head.split(b"\r\n")[0].split(b" ") == [b"POST", b"/v1/" + path, b"HTTP/1.1"]
