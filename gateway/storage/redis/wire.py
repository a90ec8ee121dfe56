"""redis-py's connections, which open and greet a server; then a `Link` takes over what is below them.

Opening (TCP, TLS, Unix sockets), AUTH, SELECT and the client's name are redis-py's work. Its way of reading is not made for many
calls under way on one connection, so after the greeting the transport is handed to a protocol of our own. What that needs of
redis-py's inside is in this module alone.
"""

import asyncio

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection


class _Handover(AbstractConnection):
    """What the three kinds of connection have in common."""

    def hand_over(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Let `protocol` have what comes from now on. Raises ConnectionError if the server said more than it was asked."""
        reader, writer = self._reader, self._writer
        if reader is None or writer is None or reader.at_eof() or reader._buffer:  # type: ignore[attr-defined]  # noqa: SLF001
            raise ConnectionError("the server closed the connection, or spoke out of turn")
        transport = writer.transport
        transport.set_protocol(protocol)
        return transport  # type: ignore[return-value]

    def forget(self) -> None:
        """Close at once, without a word to the server; what it still sends is lost."""
        writer = self._writer
        if writer is not None:
            writer.transport.abort()
            self._close()  # type: ignore[no-untyped-call]


class PlainConnection(_Handover, Connection):
    """TCP."""


class TlsConnection(_Handover, SSLConnection):
    """TCP and TLS."""


class UnixConnection(_Handover, UnixDomainSocketConnection):
    """A Unix socket."""
