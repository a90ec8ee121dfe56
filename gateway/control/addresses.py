"""Where a request comes from: the connection's other end or, behind trusted proxies, whom they say they were asked by."""

import ipaddress
from collections.abc import Sequence

from starlette.requests import HTTPConnection

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LONGEST = 64


def client_of(request: HTTPConnection, trusted: Sequence[Network]) -> str | None:
    """The address of whoever asks; None where the connection has none, as a Unix socket.

    Each proxy adds to X-Forwarded-For whom it was asked by. So the list is read from its end, and believed for as long as it was
    written by trusted ones; what stands before the first other address may be anybody's invention.
    """
    if request.client is None:
        return None
    found = _read(request.client.host)
    if found is None:
        return request.client.host[:_LONGEST]
    hops = [hop for field in request.headers.getlist("x-forwarded-for") for hop in field.split(",")]
    while hops and _is_trusted(found, trusted):
        before = _read(hops.pop().strip())
        if before is None:
            break
        found = before
    return str(found)


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address, as a connection gives it, is in one of the networks."""
    found = _read(address)
    return found is not None and _is_trusted(found, networks)


def _read(text: str) -> _Address | None:
    try:
        # Without a zone, which is of one machine only, and could be any text.
        found = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found


def _is_trusted(address: _Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)
