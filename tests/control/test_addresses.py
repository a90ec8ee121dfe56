"""Where a request comes from, with and without proxies in between."""

from ipaddress import ip_network

import pytest
from starlette.requests import Request

from gateway.control.addresses import client_of

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def request(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return Request({"type": "http", "client": None if peer is None else (peer, 1), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.1.1.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.1.1.1", ["198.51.100.7, 10.2.2.2"], "198.51.100.7"),
        ("10.1.1.1", ["198.51.100.7", "10.2.2.2"], "198.51.100.7"),
        ("10.1.1.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.1.1.1", ["198.51.100.7, nonsense"], "10.1.1.1"),
        ("::ffff:10.1.1.1", ["2001:db8::1"], "2001:db8::1"),
        ("::1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.1.1.1", ["fe80::1%" + "x" * 500], "fe80::1"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("testclient", ["198.51.100.7"], "testclient"),
        (None, ["198.51.100.7"], None),
    ],
)
def test_client_is_whom_trusted_proxies_name(peer: str | None, forwarded: list[str], client: str | None) -> None:
    """X-Forwarded-For counts from its end, for as long as trusted proxies wrote it; from anybody else it counts for nothing."""
    assert client_of(request(peer, *forwarded), TRUSTED) == client


def test_nobody_is_trusted_by_default() -> None:
    """Without trusted proxies the field is not read at all."""
    assert client_of(request("127.0.0.1", "198.51.100.7"), ()) == "127.0.0.1"
