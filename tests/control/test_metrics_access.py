"""Who may read `/metrics`."""

from ipaddress import ip_network

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from gateway.control.health import Access, health_routes
from gateway.control.problems import Problem

ADMIN, TOKEN = "the-admin-token", "the-token-of-the-metrics"
OPEN = Access(
    (ADMIN, TOKEN), networks=(ip_network("192.0.2.0/24"), ip_network("10.0.0.0/8")), trusted_proxies=(ip_network("10.1.0.0/16"),)
)


def asked(access: Access, peer: str | None, **fields: str) -> int:
    """The status of such a request."""
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    request = Request({"type": "http", "client": None if peer is None else (peer, 1), "headers": headers})
    try:
        access.check(request)
    except Problem as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may(peer: str) -> None:
    """Each address of the loopback is this machine."""
    assert asked(OPEN, peer) == 200


@pytest.mark.parametrize("peer", ["192.0.2.7", "::ffff:192.0.2.7", "10.9.0.1"])
def test_networks_of_the_settings_may(peer: str) -> None:
    """An address within a network that the settings name needs no token."""
    assert asked(OPEN, peer) == 200


@pytest.mark.parametrize("peer", ["198.51.100.1", "2001:db8::1", "testclient", None])
def test_others_may_not(peer: str | None) -> None:
    """Any other address, and what is none, needs the token."""
    assert asked(OPEN, peer) == 401


@pytest.mark.parametrize("field", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "192.0.2.7"])
def test_a_request_through_a_proxy_that_nobody_trusts_is_nobodys(peer: str, field: str) -> None:
    """A proxy on this machine, or in an open network, opens nothing to those whom it passes on."""
    assert asked(OPEN, peer, **{field: "192.0.2.7"}) == 401
    assert asked(OPEN, peer, **{field: "127.0.0.1"}) == 401


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("192.0.2.7", 200),
        ("198.51.100.1", 401),
        ("192.0.2.7, 198.51.100.1", 401),
        ("127.0.0.1", 401),
        ("127.0.0.1, 192.0.2.9", 200),
    ],
)
def test_behind_a_trusted_proxy_whom_it_names_counts(forwarded: str, status: int) -> None:
    """Whom a trusted proxy was asked by may read if its network may; and nobody is this machine because a field says so."""
    assert asked(OPEN, "10.1.1.1", x_forwarded_for=forwarded) == status


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (f"Bearer {ADMIN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer ", 401),
        ("Bearer \xff", 401),
        ("", 401),
    ],
)
def test_the_token_opens_them_from_anywhere(given: str, status: int) -> None:
    """The token of the settings does, and the admin token; nothing else does."""
    request = Request({"type": "http", "client": ("198.51.100.1", 1), "headers": [(b"authorization", given.encode("latin-1"))]})
    if status == 200:
        OPEN.check(request)
    else:
        with pytest.raises(Problem) as refused:
            OPEN.check(request)
        assert refused.value.status == status
        assert refused.value.headers == {"www-authenticate": "Bearer"}


def test_without_a_token_others_are_told_what_to_set() -> None:
    """Where no token is set, an empty one opens nothing, and the answer is 403."""
    closed = Access((ADMIN, ""))
    assert asked(closed, "198.51.100.1") == 403
    assert asked(closed, "198.51.100.1", authorization="Bearer ") == 403
    assert asked(closed, "198.51.100.1", authorization="Bearer wrong") == 403
    assert asked(closed, "192.0.2.7") == 403
    assert asked(closed, "127.0.0.1") == 200


def test_tokens_are_not_shown() -> None:
    """What is logged of the settings of access holds no token."""
    assert TOKEN not in repr(OPEN)
    assert ADMIN not in repr(OPEN)


def test_the_routes_are_three() -> None:
    """Only what an operator's machinery asks is there."""

    async def none() -> list[str]:
        return []

    routes = health_routes(problems=none, metrics=lambda: b"", access=OPEN)
    assert [getattr(route, "path", "") for route in Starlette(routes=routes).routes] == ["/livez", "/readyz", "/metrics"]
