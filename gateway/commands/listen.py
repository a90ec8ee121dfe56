"""The sockets that the gateway listens on."""

import errno
import ipaddress
import socket

from gateway.commands.output import Failure


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address of `host`, bound and not listening yet; with port 0 a single one. Raises Failure with a remedy."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise Failure(
            f"the host {host!r} is not known", "Set GATEWAY_HOST to an address of this machine, such as 127.0.0.1."
        ) from None
    bound: list[socket.socket] = []
    refused: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            bound.append(_bound(family, kind, protocol, address))
        except OSError as error:
            refused = refused or error
            if error.errno == errno.EADDRINUSE:
                break
        if port == 0 and bound:
            break
    if refused is not None and (not bound or refused.errno == errno.EADDRINUSE):
        for each in bound:
            each.close()
        raise cannot_listen(host, port, refused)
    return bound


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def cannot_listen(host: str, port: int, error: OSError) -> Failure:
    """Why an address cannot be had, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return Failure(
            f"port {port} on {host} is taken by another program",
            "Stop that one, or choose another port with --port or GATEWAY_PORT (0 takes a free one).",
        )
    if error.errno == errno.EACCES:
        return Failure(f"port {port} may not be used by this user", "Choose one above 1023 with --port or GATEWAY_PORT.")
    return Failure(f"{host} port {port} cannot be listened on: {error.strerror}", "Check GATEWAY_HOST and GATEWAY_PORT.")


def url_of(host: str, port: int) -> str:
    """The address at which this machine reaches a gateway that listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")  # noqa: PLR2004 — IP version 6
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"  # noqa: PLR2004 — as above
