"""Opening a connection to a name that has several addresses: Happy Eyeballs (RFC 8305).

The addresses are tried in turn, those of the two families alternately; the next one begins when the one before has failed, or has
not answered for a quarter of a second. The first that connects wins, and the others are given up.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from gateway.upstream.http1.request import Origin

STAGGER_SECONDS = 0.25
_Made = TypeVar("_Made", bound=asyncio.Protocol)
_Address = tuple[int, str, int]


async def connect(origin: Origin, factory: Callable[[], _Made], context: ssl.SSLContext | None) -> _Made:
    """A connected protocol, past the TLS handshake where there is one. Raises OSError (which SSLError is), UnicodeError.

    Being cancelled leaves nothing open.
    """
    addresses = await _addresses(origin)
    if len(addresses) == 1:
        return await _to(addresses[0], origin, factory, context)
    return await _first(addresses, origin, factory, context)


async def _addresses(origin: Origin) -> Sequence[_Address]:
    found = await asyncio.get_running_loop().getaddrinfo(
        origin.host, origin.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    if not found:
        raise OSError(f"{origin.host} has no address")
    distinct = dict.fromkeys((family.value, str(address[0]), int(address[1])) for family, _, _, _, address in found)
    first = next(iter(distinct))[0]
    of_first = [each for each in distinct if each[0] == first]
    others = [each for each in distinct if each[0] != first]
    return [each for each in chain.from_iterable(zip_longest(of_first, others)) if each is not None]


async def _to(address: _Address, origin: Origin, factory: Callable[[], _Made], context: ssl.SSLContext | None) -> _Made:
    _, host, port = address
    made: list[_Made] = []

    def protocol() -> _Made:
        made.append(factory())
        return made[-1]

    loop = asyncio.get_running_loop()
    server_hostname = origin.host if context is not None else None
    try:
        transport, connected = await loop.create_connection(protocol, host, port, ssl=context, server_hostname=server_hostname)
    except BaseException:
        _close(made)
        raise
    # A request leaves when it is written: uvloop would keep it until all that is ready in this turn of its loop has been done.
    transport.set_write_buffer_limits(high=0)
    return connected


def _close(made: Sequence[asyncio.Protocol]) -> None:
    """Close what was on its way: a handshake that was cut short leaves its connection open."""
    for each in made:
        transport: asyncio.Transport | None = getattr(each, "transport", None)
        if transport is not None:
            transport.abort()


async def _first(
    addresses: Sequence[_Address], origin: Origin, factory: Callable[[], _Made], context: ssl.SSLContext | None
) -> _Made:
    """The first address that connects. Raises the first failure if all fail."""
    under_way: set[asyncio.Task[_Made]] = set()
    failures: list[Exception] = []
    waiting: Iterator[_Address] = iter(addresses)
    try:
        following = next(waiting, None)
        while following is not None or under_way:
            if following is not None:
                under_way.add(asyncio.create_task(_to(following, origin, factory, context)))
                following = next(waiting, None)
            pause = STAGGER_SECONDS if following is not None else None
            done, under_way = await asyncio.wait(under_way, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            won = [task for task in done if task.exception() is None]
            failures += [error for task in done if isinstance(error := task.exception(), Exception)]
            if won:
                _close([task.result() for task in won[1:]])
                return won[0].result()
        raise failures[0]
    finally:
        for task in under_way:
            task.cancel()
        if under_way:
            for outcome in await asyncio.gather(*under_way, return_exceptions=True):
                if isinstance(outcome, asyncio.Protocol):  # it connected in the moment of being given up
                    _close([outcome])
