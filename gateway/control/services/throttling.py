"""Attempts to sign in are slowed down, so that nobody finds a password by trying many.

Failures count for three things: the pair of e-mail and network address, the e-mail by itself (many addresses that try one person)
and the network address by itself (one that tries many people); of IPv6 its first half counts, since who has one address has all
that begin so. Beyond some free failures each has to wait twice as long as the
one before, up to a quarter of an hour. An attempt counts as failed from the moment it begins until it has succeeded, so that many
at once gain nothing. A person is never locked out for good, and other people at the same address only by very many failures.
"""

import hmac
import ipaddress
from dataclasses import dataclass

from gateway.control.context import Services
from gateway.control.problems import TooManyAttempts
from gateway.storage.sql import throttles
from gateway.storage.sql.engine import writing

_FORGOTTEN_MS = 3_600_000
_LONGEST_MS = 900_000
_IPV6_BITS = 64
_FREE = {"pair": 5, "email": 25, "client": 50}


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt under way: what its failure is counted for, by kind."""

    names: dict[str, str]


async def begin(services: Services, email: str, client: str | None) -> Attempt:
    """Count an attempt. Raises TooManyAttempts where it comes too soon, with how long to wait; then it does not count."""
    network = _network(client or "")
    names = {
        "pair": _name(services, "pair", f"{email}\0{network}"),
        "email": _name(services, "email", email),
        "client": _name(services, "client", network),
    }
    now = services.now_ms()
    # A flood of attempts waits here, and not for the database, where others would wait behind it.
    async with services.attempts, writing(services.engine) as conn:
        known = await throttles.hold(conn, list(names.values()), now)
        wait = max(_wait(_FREE[kind], known.get(name), now) for kind, name in names.items())
        if wait > 0:
            seconds = -(-wait // 1000)
            raise TooManyAttempts(
                f"Too many attempts failed; try again in {seconds} seconds.", headers={"retry-after": f"{seconds}"}
            )
        await throttles.strike(conn, list(names.values()), now, now - _FORGOTTEN_MS)
        await throttles.delete_old(conn, now - 24 * _FORGOTTEN_MS)
    return Attempt(names)


async def succeeded(services: Services, attempt: Attempt) -> None:
    """What had been counted for the person is forgotten; for the address, the attempt itself."""
    async with services.attempts, writing(services.engine) as conn:
        # In the order of the names, as they are held.
        await throttles.forgive(conn, attempt.names["client"])
        await throttles.clear(conn, attempt.names["email"])
        await throttles.clear(conn, attempt.names["pair"])


def _wait(free: int, counted: tuple[int, int] | None, now: int) -> int:
    """How long until the next attempt may begin, in milliseconds."""
    if counted is None:
        return 0
    failures, at = counted
    if failures < free or now - at >= _FORGOTTEN_MS:
        return 0
    return at + min(1000 << min(failures - free, 20), _LONGEST_MS) - now


def _network(client: str) -> str:
    try:
        found = ipaddress.ip_address(client)
    except ValueError:
        return client
    return client if found.version == 4 else str(ipaddress.ip_network((int(found), _IPV6_BITS), strict=False))  # noqa: PLR2004


def _name(services: Services, kind: str, text: str) -> str:
    """What stands in the database: nobody's e-mail address."""
    return f"{kind}:{hmac.digest(services.pepper, text.encode('utf-8', 'surrogateescape'), 'sha256').hex()[:48]}"
